"""ListEvents."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from recalld.v1 import filter_pb2, memory_pb2
from recalld.v1 import memory_service_pb2 as pb


def update(id: str, request_id: str = "", **fields: Any) -> pb.UpdateMemoryRequest:
    return pb.UpdateMemoryRequest(memory={"id": id, **fields}, request_id=request_id)


def category(name: str) -> filter_pb2.Filter:
    comparison = filter_pb2.Comparison(
        field="categories", operator=filter_pb2.OPERATOR_EQ, value=filter_pb2.Value(string_value=name)
    )
    return filter_pb2.Filter(comparison=comparison)


def kinds(events: list[memory_pb2.Event]) -> list[str]:
    return [memory_pb2.Kind.Name(event.kind).removeprefix("KIND_") for event in events]


async def test_the_life_of_a_memory(api: Any) -> None:
    user = api.user()
    [one] = await api.remember(user, "Likes tea", request_id=f"add-{user[-12:]}")
    await api.remember(user, "Likes rain")
    two = (await api.memory.UpdateMemory(update(one.id, text="Likes coffee"))).memory
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=one.id))
    four = (await api.memory.RestoreMemory(pb.RestoreMemoryRequest(memory_id=one.id))).memory
    events = list((await api.memory.ListEvents(pb.ListEventsRequest(memory_id=one.id))).events)
    assert kinds(events) == ["ADDED", "UPDATED", "DELETED", "RESTORED"]
    befores = [event.memory_before if event.HasField("memory_before") else None for event in events]
    afters = [event.memory_after if event.HasField("memory_after") else None for event in events]
    assert befores == [None, one, two, None]
    assert afters == [one, two, None, four]
    causes = [memory_pb2.CAUSE_UNSPECIFIED, memory_pb2.CAUSE_UNSPECIFIED, memory_pb2.CAUSE_CALLER]
    assert [event.cause for event in events] == [*causes, memory_pb2.CAUSE_UNSPECIFIED]
    assert {event.memory_id for event in events} == {one.id}
    assert events[0].request_id == f"add-{user[-12:]}"
    assert events[0].time == one.create_time
    assert events[1].time == two.update_time
    assert [source.content for source in events[0].sources] == ["Likes tea"]
    sequences = [event.sequence for event in events]
    times = [event.time.ToNanoseconds() for event in events]
    assert (sequences, times) == (sorted(set(sequences)), sorted(set(times)))


async def test_sequence_numbers_have_no_gaps(api: Any) -> None:
    user = api.user()
    start = await api.memory.ListEvents(pb.ListEventsRequest(scope={"user_id": user}))
    assert list(start.events) == []
    [memory, _] = await api.remember(user, "Likes tea", "Likes rain")
    await api.memory.UpdateMemory(update(memory.id, text="Likes coffee"))
    await api.memory.DeleteMemories(pb.DeleteMemoriesRequest(scope={"user_id": user}))
    sequences = [event.sequence for event in await api.events(user)]
    assert sequences == list(range(sequences[0], sequences[0] + 5))


async def test_a_filter_matches_what_was_or_what_came(api: Any) -> None:
    user = api.user()
    [memory] = await api.remember(user, "Likes tea", categories=["hot"])
    await api.memory.UpdateMemory(update(memory.id, categories=["cold"]))
    await api.memory.UpdateMemory(update(memory.id, categories=["lukewarm"]))
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.id))
    everything = await api.events(user)
    matched = {"hot": [0, 1], "cold": [1, 2], "lukewarm": [2, 3], "frozen": []}
    for name, places in matched.items():
        assert await api.events(user, filter=category(name)) == [everything[place] for place in places], name


async def test_pages_and_a_start(api: Any) -> None:
    user = api.user()
    [memory] = await api.remember(user, "Likes number 0")
    for n in range(1, 7):
        await api.memory.UpdateMemory(update(memory.id, text=f"Likes number {n}"))
    everything = await api.events(user)
    request = pb.ListEventsRequest(scope={"user_id": user}, page_size=3)
    found = [list(answer.events) async for answer in api.pages(api.memory.ListEvents, request)]
    assert [len(page) for page in found] == [3, 3, 1]
    assert [event for page in found for event in page] == everything
    assert await api.events(user, after_sequence=everything[3].sequence) == everything[4:]
    ahead = pb.ListEventsRequest(scope={"user_id": user}, after_sequence=2**62)
    assert (await api.refused(api.memory.ListEvents(ahead))).reason == "AS_OF_FUTURE"


async def test_a_page_ends_at_three_mebibytes(api: Any) -> None:
    user = api.user()
    more = {"more": "y" * 16_000}
    await api.imported([api.whole(user, f"{n} " + "x" * 16_000, n, metadata=more) for n in range(120)])
    request = pb.ListEventsRequest(scope={"user_id": user}, page_size=1000)
    seen = []
    async for answer in api.pages(api.memory.ListEvents, request):
        assert answer.ByteSize() < 3 * 1024 * 1024 + 1024
        seen += [event.sequence for event in answer.events]
    assert len(seen) == len(set(seen)) == 120


async def test_what_does_not_go_together_is_refused(api: Any) -> None:
    [memory] = await api.remember(api.user(), "Likes tea")
    refused = {
        "memory_id": pb.ListEventsRequest(memory_id=memory.id, filter=category("hot")),
        "page_size": pb.ListEventsRequest(memory_id=memory.id, page_size=-1),
        "after_sequence": pb.ListEventsRequest(memory_id=memory.id, after_sequence=-1),
    }
    for field, request in refused.items():
        refusal = await api.refused(api.memory.ListEvents(request))
        assert (refusal.reason, refusal.fields) == ("FIELD_INVALID", (field,))
    with_scope = pb.ListEventsRequest(memory_id=memory.id, scope={"user_id": "x"})
    assert (await api.refused(api.memory.ListEvents(with_scope))).fields == ("memory_id",)


@pytest.mark.parametrize("change", [{"after_sequence": 1}, {"scope": {"user_id": "somebody"}}, {"page_token": "x"}])
async def test_a_token_belongs_to_its_arguments(api: Any, change: dict[str, Any]) -> None:
    user = api.user()
    await api.remember(user, "Likes tea", "Likes rain")
    first = await api.memory.ListEvents(pb.ListEventsRequest(scope={"user_id": user}, page_size=1))
    fields: dict[str, Any] = {"scope": {"user_id": user}, "page_token": first.next_page_token} | change
    refusal = await api.refused(api.memory.ListEvents(pb.ListEventsRequest(**fields)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID")
