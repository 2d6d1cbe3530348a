"""Requests repeated with their ids: after forgetting, and with default values given or omitted."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb

Write = Callable[[Any, str], Any]


async def forget(api: Any, user: str) -> None:
    receipt = await api.memory.ForgetMemories(pb.ForgetMemoriesRequest(scope={"user_id": user}))
    assert receipt.memory_count


WRITES: dict[str, Write] = {
    "UpdateMemory": lambda api, memory: api.memory.UpdateMemory(
        pb.UpdateMemoryRequest(memory={"id": memory, "text": "Likes rum"}, request_id=f"u-{memory}")
    ),
    "SetFeedback": lambda api, memory: api.memory.SetFeedback(
        pb.SetFeedbackRequest(memory_id=memory, feedback=memory_pb2.FEEDBACK_POSITIVE, request_id=f"f-{memory}")
    ),
    "RestoreMemory": lambda api, memory: api.memory.RestoreMemory(
        pb.RestoreMemoryRequest(memory_id=memory, revision=1, request_id=f"r-{memory}")
    ),
}


@pytest.mark.parametrize("name", WRITES)
async def test_a_write_of_one_memory_says_that_it_was_carried_out_and_the_memory_is_gone(api: Any, name: str) -> None:
    user = api.user()
    [memory] = await api.remember(user, "Likes tea")
    done = await WRITES[name](api, memory.id)
    assert (await WRITES[name](api, memory.id)).memory == done.memory
    await forget(api, user)
    refused = await api.refused(WRITES[name](api, memory.id))
    assert refused.reason == "MEMORY_NOT_FOUND"
    assert "already executed" in refused.message
    assert refused.metadata["memory_id"] == memory.id


async def test_a_write_of_several_shows_those_that_are_left(api: Any) -> None:
    user, other = api.user(), api.user()
    [gone], [kept] = await api.remember(user, "Likes tea"), await api.remember(other, "Likes tea")
    updates = [{"memory": {"id": memory.id, "text": "Likes rum"}} for memory in (gone, kept)]
    request = pb.BatchUpdateMemoriesRequest(updates=updates, request_id=f"b-{user}")
    assert len((await api.memory.BatchUpdateMemories(request)).memories) == 2
    await forget(api, user)
    answer = await api.memory.BatchUpdateMemories(request)
    assert [memory.id for memory in answer.memories] == [kept.id]
    assert answer.consistency_token


@pytest.mark.parametrize("infer", [True, False])
async def test_an_add_shows_those_that_are_left(api: Any, infer: bool) -> None:
    user = api.user()
    request = pb.AddRequest(scope={"user_id": user}, text="I like tea.", infer=infer, request_id=f"a-{user}")
    done = await api.memory.Add(request)
    await forget(api, user)
    again = await api.memory.Add(request)
    assert (list(again.results), again.add_id) == ([], done.add_id)
    assert list(again.verdicts) == list(done.verdicts)
    assert await api.listed(user) == []


async def test_a_default_that_is_given_makes_no_other_request(api: Any) -> None:
    user = api.user()
    first = await api.memory.Add(pb.AddRequest(scope={"user_id": user}, text="I like tea.", request_id=f"d-{user}"))
    again = pb.AddRequest(scope={"user_id": user}, text="I like tea.", request_id=f"d-{user}", infer=True)
    assert (await api.memory.Add(again)).add_id == first.add_id
    again.infer = False
    assert (await api.refused(api.memory.Add(again))).reason == "REQUEST_ID_REUSED"
