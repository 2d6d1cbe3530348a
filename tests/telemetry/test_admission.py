"""Admission limits, quotas, and a server with ten times the load that it can answer."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from recalld import testing
from recalld.v1 import memory_service_pb2, memory_service_pb2_grpc, search_service_pb2, search_service_pb2_grpc
from recalld_server.bench import overload
from recalld_server.domain.errors import Overloaded
from recalld_server.rpc.interceptors import concurrency_limiter
from recalld_server.rpc.interceptors.concurrency_limiter import MOST, ConcurrencyLimiter


async def test_a_crowd_waits_and_one_too_many_proves_overload(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(concurrency_limiter, "monotonic", lambda: now)
    gate = ConcurrencyLimiter("search", tight=2, crowd=4)
    calls = [asyncio.create_task(gate.enter("a")) for _ in range(MOST)]
    await asyncio.sleep(0)
    assert (gate.running, gate.waiting) == (4, MOST - 4)
    with pytest.raises(Overloaded):
        await gate.enter("a")
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert outcomes[:4] == [None] * 4
    assert all(isinstance(outcome, Overloaded) for outcome in outcomes[4:])  # late answers help nobody
    for _ in range(3):
        gate.leave("a")
    await gate.enter("a")  # the second of two
    with pytest.raises(Overloaded):
        await gate.enter("a")
    now += concurrency_limiter.CALM
    await gate.enter("a")  # calm again: a third
    assert gate.running == 3


async def test_who_leaves_while_waiting_takes_no_place() -> None:
    gate = ConcurrencyLimiter("search", tight=1, crowd=1)
    await gate.enter("a")
    first, second = (asyncio.create_task(gate.enter("a")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    third = asyncio.create_task(gate.enter("a"))
    await asyncio.sleep(0)
    gate.leave("a")
    second.cancel()  # between getting the place and using it
    await asyncio.gather(second, return_exceptions=True)
    await third
    gate.leave("a")
    assert (gate.running, gate.waiting) == (0, 0)


async def test_ten_times_too_much() -> None:
    report = await overload.run(5.0, 10.0, lambda _: None)
    assert report.other_errors == {}
    assert report.without_retry_info == 0
    assert report.refusals > report.admitted * report.seconds
    assert report.admitted > 0
    filled, most = report.resident
    assert filled is not None
    assert most is not None
    assert most - filled < 128  # MiB
    assert report.after.p50 < 5 * report.before.p50  # of a machine that others may use as well


@pytest.fixture(scope="module")
def limited() -> Iterator[testing.LocalServer]:
    """A server where each key may call five times a second."""
    with testing.start_local(env={"RECALLD_RATE_LIMIT": "5"}) as server:
        yield server


def details(error: grpc.RpcError) -> tuple[str, set[str]]:
    status = rpc_status.from_call(error)
    assert status is not None
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason, {detail.type_url.rpartition(".")[2] for detail in status.details}


def test_a_key_has_a_rate(limited: testing.LocalServer) -> None:
    with grpc.insecure_channel(limited.target) as channel:
        stub = memory_service_pb2_grpc.MemoryServiceStub(channel)
        refusals = []
        for _ in range(20):
            try:
                stub.ListMemories(memory_service_pb2.ListMemoriesRequest())
            except grpc.RpcError as error:
                refusals.append((error.code(), *details(error)))
        kinds = {"ErrorInfo", "QuotaFailure", "RetryInfo"}
        assert refusals
        assert all(refusal == (grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", kinds) for refusal in refusals)
        time.sleep(1.1)
        stub.ListMemories(memory_service_pb2.ListMemoriesRequest())


async def test_a_key_has_64_streams(plain: testing.LocalServer) -> None:
    async with grpc.aio.insecure_channel(plain.target) as channel:
        stub = memory_service_pb2_grpc.MemoryServiceStub(channel)
        streams: list[Any] = []
        for _ in range(65):
            stream = stub.ImportMemories()
            await stream.write(memory_service_pb2.ImportItem())
            streams.append(stream)
        over = await asyncio.gather(*map(ended, streams))
        refused = [stream for stream, end in zip(streams, over, strict=True) if end]
        assert len(refused) == 1
        with pytest.raises(grpc.RpcError) as caught:
            await refused[0].read()
        assert details(caught.value) == ("STREAM_LIMIT", {"ErrorInfo", "QuotaFailure", "RetryInfo"})
        for stream in streams:
            stream.cancel()


async def ended(stream: Any) -> bool:
    try:
        return await asyncio.wait_for(asyncio.shield(asyncio.ensure_future(stream.code())), 2) is not None
    except TimeoutError:
        return False


async def test_a_stopping_server_ends_streams_where_they_can_be_resumed() -> None:
    async with testing.start_local() as server, grpc.aio.insecure_channel(server.target) as channel:
        stub = memory_service_pb2_grpc.MemoryServiceStub(channel)
        *_, last = [progress async for progress in stub.ImportMemories(iter(map(shelf, range(80))))]
        assert last.stored == 80
        request = search_service_pb2.SearchRequest(query="jars", scope={"user_id": "drain"}, limit=80)
        stream = search_service_pb2_grpc.SearchServiceStub(channel).StreamSearch(request)
        first = await stream.read()
        assert first.resume_token
        stopping = asyncio.create_task(asyncio.to_thread(server.stop))
        await asyncio.sleep(0.3)
        with pytest.raises(grpc.RpcError) as caught:
            [answer async for answer in rest(stream)]
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details(caught.value) == ("SHUTTING_DOWN", {"ErrorInfo", "RetryInfo"})
        await stopping


def shelf(number: int) -> Any:
    """A long memory with a vector of its own: more than a stream's window holds, and nothing to embed."""
    vector = [0.0] * 384
    vector[0], vector[1 + number] = 1.0, 0.5
    memory = {"text": f"Shelf {number} holds {'jars ' * 2000}", "user_id": "drain", "id": str(uuid.uuid4())}
    return memory_service_pb2.ImportItem(memory=memory, vector=vector, vector_model="minilm-l6-v2-int8")


async def rest(stream: Any) -> AsyncIterator[Any]:
    while (answer := await stream.read()) is not grpc.aio.EOF:
        yield answer
