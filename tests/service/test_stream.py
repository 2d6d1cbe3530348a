"""Streams give the same hits as Search, and resume after interruptions."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from typing import Any

import grpc
import pytest

from recalld import testing
from recalld.v1 import memory_pb2, search_service_pb2, search_service_pb2_grpc
from recalld.v1 import memory_service_pb2 as pb

SEASONS = ["spring", "summer", "autumn", "winter"]
TOWNS = ["Lisbon", "Oslo", "Kyoto", "Quito", "Cairo", "Perth", "Turin", "Bern"]
QUERY = "Which summer did they travel to Kyoto?"
MANY = 1_200  # hits of about 300 bytes
# Without probing for bandwidth only 64 KiB are under way: the server waits for a caller that has stopped reading.
SLOW_READER = [("grpc.http2.bdp_probe", 0)]


async def travels(api: Any) -> str:
    """A new user with 32 memories."""
    user: str = api.user()
    await api.remember(user, *(f"Went to {town} in {season}" for town in TOWNS for season in SEASONS))
    return user


def asked(user: str, query: str = QUERY, **fields: Any) -> search_service_pb2.SearchRequest:
    return search_service_pb2.SearchRequest(**{"query": query, "scope": {"user_id": user}, "limit": 30} | fields)


async def streamed(api: Any, request: search_service_pb2.SearchRequest) -> list[Any]:
    return [answer async for answer in api.search.StreamSearch(request)]


def ids(answers: list[Any]) -> list[str]:
    return [answer.hit.memory.id for answer in answers if answer.HasField("hit")]


async def test_a_stream_has_the_hits_of_one_answer_in_their_order(api: Any) -> None:
    user = await travels(api)
    for fields in ({}, {"mode": "SEARCH_MODE_KEYWORD"}, {"explain": True, "threshold": 0.5}, {"max_tokens": 40}):
        whole = await api.search.Search(asked(user, **fields))
        *found, last = await streamed(api, asked(user, **fields))
        assert found
        assert [answer.hit for answer in found] == list(whole.hits)
        assert all(answer.resume_token for answer in found)
        assert (last.WhichOneof("event"), last.resume_token) == ("done", "")
        assert (last.done.hit_count, last.done.truncated, last.done.changed) == (len(found), whole.truncated, False)
        assert (last.done.sequence, last.done.candidate_count) == (whole.sequence, whole.candidate_count)
        assert {"index", "ledger", "rank"} <= {stage.name for stage in last.done.stages}


@pytest.mark.parametrize("fields", [{}, {"max_tokens": 100}, {"mode": "SEARCH_MODE_VECTOR", "limit": 32}])
async def test_resumed_anywhere_it_gives_the_rest(api: Any, fields: dict[str, Any]) -> None:
    user = await travels(api)
    *whole, end = await streamed(api, asked(user, **fields))
    assert whole
    for position, answer in enumerate(whole):
        first, *rest, last = await streamed(api, asked(user, resume_token=answer.resume_token, **fields))
        assert first.HasField("checkpoint")
        assert not first.checkpoint.changed
        assert rest == whole[position + 1 :]
        assert (last.done.hit_count, last.done.changed) == (len(rest), False)
        assert last.done.truncated == end.done.truncated


async def test_a_resumed_stream_can_be_resumed(api: Any) -> None:
    user = await travels(api)
    *whole, _ = await streamed(api, asked(user))
    seen, token = ids(whole[:5]), whole[4].resume_token
    while len(seen) < len(whole):
        checkpoint, *rest, _ = await streamed(api, asked(user, resume_token=token))
        assert checkpoint.resume_token == token
        seen, token = [*seen, *ids(rest[:4])], rest[min(3, len(rest) - 1)].resume_token
    assert seen == ids(whole)


async def write_elsewhere(api: Any, user: str, hits: list[memory_pb2.Memory]) -> None:
    await api.remember(api.user(), "Went to Kyoto in summer")


async def add_a_better_one(api: Any, user: str, hits: list[memory_pb2.Memory]) -> None:
    await api.remember(user, QUERY)


async def add_words_that_change_every_score(api: Any, user: str, hits: list[memory_pb2.Memory]) -> None:
    await api.remember(user, *(f"The summer of {year} in Kyoto was hot" for year in range(1990, 2000)))


async def delete_one_that_was_sent(api: Any, user: str, hits: list[memory_pb2.Memory]) -> None:
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=hits[2].id))


async def delete_one_that_was_not(api: Any, user: str, hits: list[memory_pb2.Memory]) -> None:
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=hits[25].id))


async def turn_the_last_into_the_first(api: Any, user: str, hits: list[memory_pb2.Memory]) -> None:
    memory = memory_pb2.Memory(id=hits[-1].id, text=f"{QUERY} {QUERY}")
    await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=memory))


@pytest.mark.parametrize(
    "change",
    [
        write_elsewhere,
        add_a_better_one,
        add_words_that_change_every_score,
        delete_one_that_was_sent,
        delete_one_that_was_not,
        turn_the_last_into_the_first,
    ],
)
@pytest.mark.parametrize("position", [0, 9, 28])
async def test_after_a_change_no_hit_is_lost(api: Any, change: Any, position: int) -> None:
    user = await travels(api)
    *before, _ = await streamed(api, asked(user))
    await change(api, user, [answer.hit.memory for answer in before])
    first, *rest, last = await streamed(api, asked(user, resume_token=before[position].resume_token))
    assert first.checkpoint.changed
    assert last.done.changed
    *fresh, _ = await streamed(api, asked(user))
    assert set(ids(fresh)) <= set(ids(before[: position + 1])) | set(ids(rest))
    assert len(set(ids(rest))) == len(ids(rest))
    if change is write_elsewhere:
        assert ids(rest) == ids(before[position + 1 :])


async def test_a_token_is_for_its_own_request_only(api: Any) -> None:
    user = await travels(api)
    token = (await streamed(api, asked(user)))[3].resume_token
    refusal = await api.refused(api.search.Search(asked(user, resume_token=token)))
    assert (refusal.reason, refusal.fields) == ("FIELD_INVALID", ("resume_token",))
    others = [{"query": "Oslo"}, {"limit": 29}, {"mode": "SEARCH_MODE_KEYWORD"}, {"scope": {"user_id": api.user()}}]
    forged = [{"resume_token": text} for text in ("x", token[:-2], "A" + token[1:], token * 200, "é")]
    for fields in others + forged:
        refusal = await api.refused(streamed(api, asked(user, **{"resume_token": token} | fields)))
        assert (refusal.reason, refusal.fields) == ("RESUME_TOKEN_INVALID", ("resume_token",))


async def codes(server: testing.LocalServer, correlation_id: str) -> list[str]:
    """The codes that the server logged for a call, once there are any."""
    for _ in range(200):
        lines = [json.loads(line) for line in server.log.splitlines() if correlation_id in line]
        if lines:
            return [line["code"] for line in lines]
        await asyncio.sleep(0.02)
    return []


async def assert_fast(api: Any, user: str) -> None:
    """The server does nothing that would keep it from answering."""
    start = time.monotonic()
    await api.search.Search(asked(user, limit=1))
    assert time.monotonic() - start < 2


async def test_cancelling_ends_the_work(api: Any, server: testing.LocalServer) -> None:
    user = api.user()
    await api.fill(user, MANY)
    async with grpc.aio.insecure_channel(server.target, options=SLOW_READER) as channel:
        stub = search_service_pb2_grpc.SearchServiceStub(channel)
        call = stub.StreamSearch(asked(user, limit=MANY), metadata=[("x-correlation-id", user)])
        for _ in range(3):
            assert (await call.read()).HasField("hit")
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call.read()
    assert await codes(server, user) == ["CANCELLED"]
    await assert_fast(api, user)


async def test_a_caller_that_dies_leaves_nothing_behind(api: Any, server: testing.LocalServer) -> None:
    user = api.user()
    await api.fill(user, MANY)
    program = f"""
import grpc, time
from recalld.v1 import search_service_pb2 as pb, search_service_pb2_grpc as grpc_pb
stub = grpc_pb.SearchServiceStub(grpc.insecure_channel({server.target!r}, {SLOW_READER}))
request = pb.SearchRequest(query="hat", scope={{"user_id": {user!r}}}, limit={MANY})
for hit in stub.StreamSearch(request, metadata=[("x-correlation-id", {user!r})]):
    print("hit", flush=True)
    time.sleep(30)
"""
    caller = await asyncio.create_subprocess_exec(sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE)
    assert caller.stdout
    assert await caller.stdout.readline() == b"hit\n"
    caller.kill()
    await caller.wait()
    assert await codes(server, user) == ["CANCELLED"]
    await assert_fast(api, user)


async def test_a_deadline_ends_a_stream_too(api: Any, server: testing.LocalServer) -> None:
    user = api.user()
    await api.fill(user, MANY)
    async with grpc.aio.insecure_channel(server.target, options=SLOW_READER) as channel:
        stub = search_service_pb2_grpc.SearchServiceStub(channel)
        call = stub.StreamSearch(asked(user, limit=MANY), timeout=1, metadata=[("x-correlation-id", user)])
        assert (await call.read()).HasField("hit")
        assert await call.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    [code] = await codes(server, user)  # the caller's clock or the server's is first
    assert code in ("CANCELLED", "DEADLINE_EXCEEDED")
    await assert_fast(api, user)
