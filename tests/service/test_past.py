"""Searches of the past."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from recalld.v1 import memory_pb2, search_service_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.usecases.search import past as searching
from recalld_server.wiring.app import App
from recalld_server.wiring.settings import Settings

QUERY = "Which instrument is played?"


def asked(user: str, query: str = QUERY, **fields: Any) -> search_service_pb2.SearchRequest:
    return search_service_pb2.SearchRequest(query=query, scope={"user_id": user}, **fields)


async def head(api: Any, user: str) -> int:
    """The newest sequence number."""
    return (await api.search.Search(asked(user, "?"))).sequence


async def now(api: Any, user: str) -> Timestamp:
    """The moment of the user's newest event."""
    return (await api.events(user))[-1].time


async def test_the_past_stays_as_it_was(api: Any) -> None:
    user = api.user()
    piano, violin, organ = await api.remember(user, "Plays the piano", "Plays the violin", "Plays the organ")
    then, moment = await head(api, user), await now(api, user)
    before = await api.search.Search(asked(user))
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=piano.id))
    changed = memory_pb2.Memory(id=violin.id, text="Gave up the violin")
    await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
    await api.remember(user, "Plays the flute")
    assert {hit.memory.text for hit in (await api.search.Search(asked(user))).hits} == {
        "Gave up the violin",
        "Plays the organ",
        "Plays the flute",
    }
    for point in ({"sequence": then}, {"time": moment}):
        answer = await api.search.Search(asked(user, as_of=point))
        assert [hit.memory for hit in answer.hits] == [hit.memory for hit in before.hits]
        for hit, was in zip(answer.hits, before.hits, strict=True):  # a product of other rows rounds differently
            assert (hit.score, hit.relevance) == pytest.approx((was.score, was.relevance), abs=1e-5)
        assert answer.sequence == then
    assert {hit.memory.id for hit in before.hits} == {piano.id, violin.id, organ.id}


async def test_every_step_of_a_history_can_be_searched(api: Any) -> None:
    user = api.user()
    [memory] = await api.remember(user, "Plays in band 0")
    for number in range(1, 5):
        changed = memory_pb2.Memory(id=memory.id, text=f"Plays in band {number}")
        await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.id))
    events = await api.events(user)
    for number, event in enumerate(events):
        found = await api.found(user, "band", as_of={"sequence": event.sequence})
        assert found == ([f"Plays in band {number}"] if number < 5 else [])
        assert await api.found(user, "band", as_of={"time": event.time}) == found
    assert await api.found(user, "band", as_of={"sequence": events[0].sequence - 1}) == []
    assert await api.found(user, "band", as_of={"sequence": 0}) == []
    assert await api.found(user, "band", as_of={"time": Timestamp(seconds=1)}) == []


async def test_a_search_of_the_past_takes_every_argument(api: Any) -> None:
    user = api.user()
    await api.remember(user, *(f"Plays tune {number}" for number in range(80)), metadata={"set": 1})
    await api.remember(user, *(f"Sings song {number}" for number in range(20)), metadata={"set": 2})
    then = {"sequence": await head(api, user)}
    value = {"int64_value": 2}
    second = {"comparison": {"field": "metadata.set", "operator": "OPERATOR_EQ", "value": value}}
    for fields in (
        {"limit": 100},
        {"limit": 100, "threshold": 0.5},
        {"limit": 100, "mode": "SEARCH_MODE_KEYWORD"},
        {"limit": 100, "mode": "SEARCH_MODE_VECTOR"},
        {"limit": 100, "filter": second},
        {"limit": 7, "explain": True},
        {"limit": 100, "max_tokens": 50},
    ):
        today = await api.search.Search(asked(user, "Which tune or song 7?", **fields))
        past = await api.search.Search(asked(user, "Which tune or song 7?", as_of=then, **fields))
        assert [hit.memory for hit in past.hits] == [hit.memory for hit in today.hits]
        assert past.truncated == today.truncated
        keys = [(-hit.score, hit.memory.id) for hit in past.hits]
        assert keys == sorted(keys)
    assert {hit.memory.metadata["set"] for hit in (await api.search.Search(asked(user, filter=second))).hits} == {2}


async def test_a_stream_of_the_past_resumes_whatever_happens_since(api: Any) -> None:
    user = api.user()
    await api.remember(user, *(f"Plays tune {number}" for number in range(12)))
    request = asked(user, as_of={"sequence": await head(api, user)}, limit=12)
    *whole, _ = [answer async for answer in api.search.StreamSearch(request)]
    await api.memory.DeleteMemories(pb.DeleteMemoriesRequest(scope={"user_id": user}))
    request.resume_token = whole[4].resume_token
    first, *rest, last = [answer async for answer in api.search.StreamSearch(request)]
    assert (first.checkpoint.changed, last.done.changed) == (False, False)
    assert rest == whole[5:]


async def test_refusals_of_the_past(api: Any) -> None:
    user = api.user()
    await api.remember(user, "Plays the lute")
    newest = await head(api, user)
    for as_of, reason, code in (
        ({"sequence": newest + 1_000_000}, "AS_OF_FUTURE", grpc.StatusCode.OUT_OF_RANGE),
        ({"time": Timestamp(seconds=int(time.time()) + 600)}, "AS_OF_FUTURE", grpc.StatusCode.OUT_OF_RANGE),
        ({"sequence": -1}, "FIELD_INVALID", grpc.StatusCode.INVALID_ARGUMENT),
        ({}, "FIELD_INVALID", grpc.StatusCode.INVALID_ARGUMENT),
        ({"time": Timestamp(nanos=-1)}, "FIELD_INVALID", grpc.StatusCode.INVALID_ARGUMENT),
    ):
        refusal = await api.refused(api.search.Search(asked(user, as_of=as_of)))
        assert (refusal.reason, refusal.code) == (reason, code)
    nobody = search_service_pb2.SearchRequest(query=QUERY, as_of={"sequence": newest})
    refusal = await api.refused(api.search.Search(nobody))
    assert (refusal.reason, refusal.code) == ("AS_OF_NEEDS_SCOPE", grpc.StatusCode.FAILED_PRECONDITION)
    assert "PreconditionFailure" in refusal.details


@pytest.mark.parametrize("field", ["user_id", "agent_id", "app_id", "run_id"])
async def test_any_scope_id_is_enough(api: Any, field: str) -> None:
    name = api.user()
    message = memory_pb2.Message(role="user", content="Plays the harp")
    await api.memory.Add(pb.AddRequest(scope={field: name}, messages=[message], infer=False))
    request = search_service_pb2.SearchRequest(query=QUERY, scope={field: name})
    request.as_of.sequence = (await api.search.Search(request)).sequence
    assert [hit.memory.text for hit in (await api.search.Search(request)).hits] == ["Plays the harp"]


async def test_more_rows_than_the_limit_are_refused(
    tmp_path: Path, connect: Callable[[str], AbstractAsyncContextManager[Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a smaller limit, at both of its sides; the real one would take a minute to fill."""
    assert searching.SEARCH_LIMIT == 10_000
    monkeypatch.setattr(searching, "SEARCH_LIMIT", 60)
    app = await App.start(Settings(data_dir=tmp_path, grpc_port=0))
    async with connect(f"127.0.0.1:{app.port}") as api:
        await api.imported(
            [api.whole("ann", f"Plays {number}", number, run_id=f"{number % 2}") for number in range(61)]
        )
        refusal = await api.refused(api.search.Search(asked("ann", as_of={"sequence": 61})))
        assert (refusal.reason, refusal.code) == ("AS_OF_TOO_WIDE", grpc.StatusCode.FAILED_PRECONDITION)
        assert refusal.metadata["limit"] == "60"
        assert len((await api.search.Search(asked("ann", as_of={"sequence": 60}, limit=50))).hits) == 50
        half = search_service_pb2.SearchRequest(query="7", scope={"user_id": "ann", "run_id": "1"})
        half.as_of.sequence = 61
        assert {hit.memory.run_id for hit in (await api.search.Search(half)).hits} == {"1"}
    await app.stop()
