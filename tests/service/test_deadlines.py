"""Deadlines of unary calls stop the work; an interrupted write is either complete or absent."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import grpc
import pytest

from recalld import testing
from recalld.v1 import memory_pb2, search_service_pb2
from recalld.v1 import memory_service_pb2 as pb

COUNT = 1_200


def wide(user: str) -> search_service_pb2.SearchRequest:
    """A search that takes some tenths of a second."""
    return search_service_pb2.SearchRequest(query="Who has a hat?", scope={"user_id": user}, limit=10_000)


async def test_a_search_past_its_deadline_is_given_up(api: Any, server: testing.LocalServer) -> None:
    user = api.user()
    await api.fill(user, COUNT)
    start = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        await api.search.Search(wide(user), timeout=0.05, metadata=[("x-correlation-id", user)])
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert time.monotonic() - start < 1
    for _ in range(200):
        lines = [json.loads(line) for line in server.log.splitlines() if user in line]
        if lines:
            break
        await asyncio.sleep(0.02)
    [line] = lines
    assert line["code"] in ("CANCELLED", "DEADLINE_EXCEEDED")
    assert len((await api.search.Search(wide(user), timeout=30)).hits) == COUNT


async def test_many_searches_given_up_do_not_slow_the_next(api: Any) -> None:
    user = api.user()
    await api.fill(user, COUNT)
    small = search_service_pb2.SearchRequest(query="Who has a hat?", scope={"user_id": user}, limit=1)
    calls = [api.search.Search(wide(user)) for _ in range(50)]
    await asyncio.sleep(0.05)
    for call in calls:
        call.cancel()
    start = time.monotonic()
    assert len((await api.search.Search(small)).hits) == 1
    assert time.monotonic() - start < 2  # fifty of them would take ten


def note(user: str, text: str, request_id: str) -> pb.AddRequest:
    message = memory_pb2.Message(role="user", content=text)
    return pb.AddRequest(scope={"user_id": user}, messages=[message], infer=False, request_id=request_id)


async def test_an_add_past_its_deadline_is_whole_or_not_there(api: Any) -> None:
    """Whenever the caller leaves: the retry with the same request id answers as if nothing had happened."""
    user = api.user()
    codes = []
    for step in range(30):
        request = note(user, f"Owns hat number {step}", f"{user}-{step}"[-64:])
        try:
            first = await api.memory.Add(request, timeout=0.001 * step)
            codes.append(grpc.StatusCode.OK)
        except grpc.RpcError as error:
            first = None
            codes.append(error.code())
        again = await api.memory.Add(request)
        assert [result.change for result in again.results] == [memory_pb2.CHANGE_ADD]
        assert first is None or list(first.results) == list(again.results)
    assert grpc.StatusCode.DEADLINE_EXCEEDED in codes
    assert set(codes) <= {grpc.StatusCode.OK, grpc.StatusCode.DEADLINE_EXCEEDED}
    assert sorted(await api.texts(user)) == sorted(f"Owns hat number {step}" for step in range(30))
    assert len(await api.events(user)) == 30


async def test_an_add_that_is_cancelled_is_whole_or_not_there(api: Any) -> None:
    user = api.user()
    for step in range(20):
        request = note(user, f"Owns glove number {step}", f"{user}-{step}"[-64:])
        call = api.memory.Add(request)
        await asyncio.sleep(0.0005 * step)
        call.cancel()
        again = await api.memory.Add(request)
        assert [result.change for result in again.results] == [memory_pb2.CHANGE_ADD]
    assert len(await api.texts(user)) == 20
    assert len(await api.events(user)) == 20


async def test_the_same_write_twice_at_once_is_one(api: Any) -> None:
    user = api.user()
    request = note(user, "Owns one scarf", f"{user}-once"[-64:])
    answers = await asyncio.gather(*(api.memory.Add(request) for _ in range(20)))
    assert all(answer == answers[0] for answer in answers)
    assert await api.texts(user) == ["Owns one scarf"]
