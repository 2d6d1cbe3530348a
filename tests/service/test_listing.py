"""ListMemories: filters, order, pages, the past."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from recalld.v1 import filter_pb2, memory_pb2
from recalld.v1 import memory_service_pb2 as pb

LATER = Timestamp(seconds=4_000_000_000)
EARLY = Timestamp(seconds=1_000_000_000)
ANYTHING = filter_pb2.Filter(all_of=filter_pb2.FilterList())


async def pages(api: Any, request: pb.ListMemoriesRequest) -> list[pb.ListMemoriesResponse]:
    """Every page from the first to the end."""
    return [answer async for answer in api.pages(api.memory.ListMemories, request)]


def listed(user: str, **fields: Any) -> pb.ListMemoriesRequest:
    return pb.ListMemoriesRequest(scope={"user_id": user}, **fields)


def ids(found: list[pb.ListMemoriesResponse]) -> list[str]:
    return [memory.id for page in found for memory in page.memories]


async def test_order(api: Any) -> None:
    user = api.user()
    one, two, three = [(await api.remember(user, text))[0].id for text in ("one", "two", "three")]
    await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory={"id": two, "text": "second"}))
    orders = {
        "": [three, two, one],
        "create_time": [one, two, three],
        "create_time desc": [three, two, one],
        "update_time": [one, three, two],
        "update_time desc": [two, three, one],
    }
    for order, expected in orders.items():
        answer = await api.memory.ListMemories(listed(user, order_by=order))
        assert [memory.id for memory in answer.memories] == expected, order
        by_page = await pages(api, listed(user, order_by=order, page_size=1))
        assert ids(by_page) == expected, order


@pytest.mark.parametrize("order", ["text", "create_time down", "create_time, update_time", "CREATE_TIME"])
async def test_an_unknown_order_is_refused(api: Any, order: str) -> None:
    refusal = await api.refused(api.memory.ListMemories(listed(api.user(), order_by=order)))
    assert (refusal.reason, refusal.fields) == ("FIELD_INVALID", ("order_by",))


@pytest.mark.parametrize("size", [1, 3, 7, 20, 21])
async def test_pages_have_everything_once_and_in_order(api: Any, size: int) -> None:
    user = api.user()
    await api.remember(user, *(f"Locker {n}" for n in range(20)))  # of one commit, so their times are equal
    expected = [memory.id for memory in await api.listed(user)]
    found = await pages(api, listed(user, order_by="create_time", page_size=size, with_total_size=True))
    assert ids(found) == expected
    assert {page.total_size for page in found} == {20}
    assert [len(page.memories) for page in found] == [size] * (20 // size) + ([20 % size] if 20 % size else [])


async def test_pages_miss_nothing_while_memories_come_and_go(api: Any) -> None:
    user = api.user()
    stay = await api.remember(user, *(f"Locker {n}" for n in range(9)))
    request = listed(user, page_size=3)
    seen = []
    async for answer in api.pages(api.memory.ListMemories, request):
        seen += [memory.id for memory in answer.memories]
        await api.remember(user, f"Added after {len(seen)}")
        if answer.memories[0].id in [memory.id for memory in stay]:
            await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=answer.memories[0].id))
    assert len(seen) == len(set(seen))
    assert {memory.id for memory in stay} <= set(seen)


async def test_skip_and_total(api: Any) -> None:
    user = api.user()
    memories = await api.remember(user, *(f"Locker {n}" for n in range(5)))
    expected = sorted((m.id for m in memories), reverse=True)
    found = await pages(api, listed(user, skip=2, page_size=2, with_total_size=True))
    assert (ids(found), {page.total_size for page in found}) == (expected[2:], {5})
    assert ids(await pages(api, listed(user, skip=5))) == []
    assert (await api.memory.ListMemories(listed(user))).total_size == 0
    assert (await api.memory.ListMemories(listed(user, skip=2**31 - 1))).next_page_token == ""
    for fields in ({"skip": -1}, {"page_size": -1}):
        refusal = await api.refused(api.memory.ListMemories(listed(user, **fields)))
        assert (refusal.reason, refusal.fields) == ("FIELD_INVALID", tuple(fields))


async def test_a_page_has_a_hundred_by_default_and_a_thousand_at_most(api: Any) -> None:
    user = api.user()
    await api.fill(user, 1001)
    sizes = {0: 100, 999: 999, 1000: 1000, 1001: 1000, 2**31 - 1: 1000}
    for asked, given in sizes.items():
        answer = await api.memory.ListMemories(listed(user, page_size=asked))
        assert (len(answer.memories), bool(answer.next_page_token)) == (given, True), asked


async def test_a_page_ends_at_three_mebibytes(api: Any) -> None:
    user = api.user()
    items = [api.whole(user, f"{n} " + "x" * 16_000, n, metadata={"more": "y" * 16_000}) for n in range(120)]
    *_, last = await api.imported(items)
    assert last.stored == 120
    found = await pages(api, listed(user, page_size=1000))
    assert [page.ByteSize() <= 3 * 1024 * 1024 + 1024 for page in found] == [True] * 2
    assert sorted(ids(found)) == sorted(item.memory.id for item in items)


async def test_a_token_belongs_to_its_call_and_arguments(api: Any) -> None:
    user, other = api.user(), api.user()
    await api.remember(user, "Likes tea", "Likes rain", "Likes fog")
    request = listed(user, page_size=1)
    token = (await api.memory.ListMemories(request)).next_page_token
    events = await api.memory.ListEvents(pb.ListEventsRequest(scope={"user_id": user}, page_size=1))
    kept = listed(user, page_size=2, page_token=token)  # the size alone may change
    assert len((await api.memory.ListMemories(kept)).memories) == 2
    mixed = [
        listed(other, page_token=token),
        listed(user, page_token=token, order_by="update_time"),
        listed(user, page_token=token, filter=ANYTHING),
        listed(user, page_token=token, with_total_size=True),
        listed(user, page_token=token, as_of=memory_pb2.AsOf(sequence=1)),
        listed(user, page_token=events.next_page_token),
        *(listed(user, page_token=bad) for bad in ("nonsense", token[:-2], token + "x", token.swapcase(), "é", " ")),
        listed(user, page_token="A" * 5000),
    ]
    for request in mixed:
        refusal = await api.refused(api.memory.ListMemories(request))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
        assert refusal.fields == ("page_token",)


async def test_the_past_by_sequence_and_by_time(api: Any) -> None:
    user = api.user()
    [tea] = await api.remember(user, "Likes tea")
    await asyncio.sleep(0.01)
    await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory={"id": tea.id, "text": "Likes coffee"}))
    await asyncio.sleep(0.01)
    await api.remember(user, "Likes rain")
    await api.memory.DeleteMemories(pb.DeleteMemoriesRequest(scope={"user_id": user}))
    events = await api.events(user)
    stages = [["Likes tea"], ["Likes coffee"], ["Likes coffee", "Likes rain"]]
    for event, expected in zip(events, stages, strict=False):
        by_sequence, by_time = memory_pb2.AsOf(sequence=event.sequence), memory_pb2.AsOf(time=event.time)
        assert await api.texts(user, as_of=by_sequence) == expected
        assert await api.texts(user, as_of=by_time) == expected
    before = memory_pb2.AsOf(sequence=events[0].sequence - 1)
    assert await api.texts(user, as_of=before) == []
    assert await api.texts(user, as_of=memory_pb2.AsOf(time=EARLY)) == []
    assert await api.texts(user) == []
    then = memory_pb2.AsOf(sequence=events[2].sequence)
    found = await pages(api, listed(user, as_of=then, page_size=1, with_total_size=True))
    assert ([len(page.memories) for page in found], found[1].total_size) == ([1, 1], 2)


async def test_the_future_and_no_moment_are_refused(api: Any) -> None:
    user = api.user()
    for moment in (memory_pb2.AsOf(sequence=2**62), memory_pb2.AsOf(time=LATER)):
        refusal = await api.refused(api.memory.ListMemories(listed(user, as_of=moment)))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "AS_OF_FUTURE")
    for moment, field in ((memory_pb2.AsOf(), "as_of"), (memory_pb2.AsOf(sequence=-1), "as_of.sequence")):
        refusal = await api.refused(api.memory.ListMemories(listed(user, as_of=moment)))
        assert (refusal.reason, refusal.fields) == ("FIELD_INVALID", (field,))
