"""Derived values change with a new text; values given by callers stay."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from recalld.v1 import filter_pb2, memory_pb2, search_service_pb2
from recalld.v1 import memory_service_pb2 as pb


async def renamed(api: Any, memory: memory_pb2.Memory, text: str, **fields: Any) -> memory_pb2.Memory:
    wanted = memory_pb2.Memory(id=memory.id, text=text, **fields)
    paths = ["text", *fields]
    request = pb.UpdateMemoryRequest(memory=wanted, update_mask={"paths": paths})
    return (await api.memory.UpdateMemory(request)).memory


async def one(api: Any, user: str, text: str, **fields: Any) -> memory_pb2.Memory:
    request = pb.AddRequest(text=text, scope={"user_id": user}, **fields)
    [result] = (await api.memory.Add(request)).results
    return result.memory


async def in_category(api: Any, user: str, name: str) -> list[str]:
    value = filter_pb2.Value(string_value=name)
    comparison = filter_pb2.Comparison(field="categories", operator=filter_pb2.OPERATOR_EQ, value=value)
    return await api.texts(user, filter=filter_pb2.Filter(comparison=comparison))


def day(stamp: Any) -> str:
    return stamp.ToDatetime(UTC).date().isoformat()


@pytest.mark.parametrize("infer", [True, False])
async def test_categories_follow_the_text(api: Any, infer: bool) -> None:
    user = api.user()
    memory = await one(api, user, "I love pizza", infer=infer)
    assert "food" in memory.categories
    changed = await renamed(api, memory, "Works as a nurse at St Mary's")
    assert list(changed.categories) == ["professional_details"]
    assert await in_category(api, user, "food") == []
    assert await in_category(api, user, "professional_details") == ["Works as a nurse at St Mary's"]
    request = search_service_pb2.SearchRequest(query="nurse", scope={"user_id": user})
    [hit] = (await api.search.Search(request)).hits
    assert list(hit.memory.categories) == ["professional_details"]


async def test_categories_that_a_caller_gave_stay(api: Any) -> None:
    user = api.user()
    memory = await one(api, user, "I love pizza", infer=False, categories=["mine"])
    assert list((await renamed(api, memory, "Works as a nurse")).categories) == ["mine"]
    named = await one(api, user, "I love pasta", infer=False)
    given = await renamed(api, named, "I love rice", categories=["yours"])
    assert list(given.categories) == ["yours"]
    assert list((await renamed(api, given, "Works as a cook")).categories) == ["yours"]


async def test_of_given_and_derived_categories_only_the_derived_change(api: Any) -> None:
    user = api.user()
    await one(api, user, "I love pizza", infer=False)
    merged = await one(api, user, "I love pizza", infer=False, categories=["mine"])
    assert {"food", "mine"} <= set(merged.categories)
    changed = await renamed(api, merged, "Works as a nurse")
    assert list(changed.categories) == ["mine", "professional_details"]


async def test_a_batch_derives_for_each_of_its_memories(api: Any) -> None:
    user = api.user()
    [pizza, hat] = await api.remember(user, "I love pizza", "Owns a hat")
    updates = [
        pb.BatchUpdateItem(memory={"id": pizza.id, "text": "Works as a nurse"}, update_mask={"paths": ["text"]}),
        pb.BatchUpdateItem(memory={"id": hat.id, "immutable": True}, update_mask={"paths": ["immutable"]}),
    ]
    answer = await api.memory.BatchUpdateMemories(pb.BatchUpdateMemoriesRequest(updates=updates))
    assert [list(memory.categories) for memory in answer.memories] == [["professional_details"], list(hat.categories)]


@pytest.mark.parametrize("infer", [True, False])
async def test_the_event_time_follows_the_text(api: Any, infer: bool) -> None:
    user = api.user()
    memory = await one(api, user, "I moved to Rome on 2020-05-05", infer=infer)
    assert day(memory.event_time) == "2020-05-05"
    changed = await renamed(api, memory, "Moved to Paris on 2023-01-01")
    assert day(changed.event_time) == "2023-01-01"
    assert not (await renamed(api, memory, "Moved to Paris")).HasField("event_time")
    request = search_service_pb2.SearchRequest(
        query="What happened in May 2020?", scope={"user_id": user}, explain=True
    )
    assert all(hit.explanation.date == 0 for hit in (await api.search.Search(request)).hits)


async def test_a_relative_date_is_reckoned_from_when_it_was_said(api: Any) -> None:
    user = api.user()
    said = pb.AddRequest(text="I saw the dentist yesterday", scope={"user_id": user}, infer=False)
    said.timestamp.FromDatetime(datetime(2024, 3, 2, 10, tzinfo=UTC))
    [result] = (await api.memory.Add(said)).results
    assert day(result.memory.event_time) == "2024-03-01"
    item = pb.ImportItem(text=pb.ImportText(text="I saw the doctor yesterday", scope={"user_id": user}))
    item.text.message_time.FromDatetime(datetime(2024, 3, 2, 10, tzinfo=UTC))
    await api.imported([item])
    assert {day(memory.event_time) for memory in await api.listed(user)} == {"2024-03-01"}


async def test_a_restored_revision_has_what_was_derived_from_it(api: Any) -> None:
    user = api.user()
    memory = await one(api, user, "I ate pizza on 2020-05-05", infer=False)
    await renamed(api, memory, "Works as a nurse")
    back = (await api.memory.RestoreMemory(pb.RestoreMemoryRequest(memory_id=memory.id, revision=1))).memory
    assert (back.text, list(back.categories)) == (memory.text, list(memory.categories))
    assert back.event_time == memory.event_time


async def test_custom_categories_are_chosen_for_verbatim_texts_too(api: Any) -> None:
    user = api.user()
    custom = [
        memory_pb2.CustomCategory(name="vehicles", description="cars, bikes and trains"),
        memory_pb2.CustomCategory(name="pets", description="dogs and cats"),
    ]
    memory = await one(api, user, "Has two dogs", infer=False, custom_categories=custom)
    assert list(memory.categories) == ["pets"]
    other = await one(api, user, "Owns a hat", infer=False, custom_categories=custom)
    assert list(other.categories) == []
