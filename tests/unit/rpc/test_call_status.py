"""How calls end on a real server: retries, cancellation, deadlines, sizes; and the cost of refusals."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from recalld.v1 import filter_pb2, memory_service_pb2, search_service_pb2
from recalld_server.domain.errors import FieldInvalid, FilterInvalid, LedgerUnavailable, LimitExceeded
from recalld_server.domain.limits import CALL_BYTES
from recalld_server.domain.memory import Access
from recalld_server.rpc.interceptors.auth import access, development
from recalld_server.rpc.interceptors.correlation import HEADER, correlation_id
from recalld_server.rpc.parse import filters
from recalld_server.rpc.parse.validate import MAX_FOUND, check
from recalld_server.rpc.server import Service, start
from recalld_server.telemetry.span import current, span

RETRIES = {
    "maxAttempts": 4,
    "initialBackoff": "0.01s",
    "maxBackoff": "0.02s",
    "backoffMultiplier": 1,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
CONFIG = json.dumps({"methodConfig": [{"name": [{}], "retryPolicy": RETRIES}]})
GET = "/test.Calls/Get"
STREAM = "/test.Calls/Stream"


class Calls:
    """Ends a call as its request says, and keeps what it saw."""

    def __init__(self) -> None:
        self.attempts = 0
        self.began = asyncio.Event()
        self.ended = asyncio.Event()
        self.seen: list[tuple[str, Access, set[str]]] = []

    async def get(self, request: memory_service_pb2.GetMemoryRequest, context: Any) -> Message:
        self.attempts += 1
        if request.memory_id == "third time" and self.attempts < 3:
            raise LedgerUnavailable
        if request.memory_id == "wait":
            self.began.set()
            await asyncio.sleep(60)
        return memory_service_pb2.GetMemoryResponse()

    async def stream(self, request: search_service_pb2.SearchRequest, context: Any) -> AsyncIterator[Message]:
        try:
            while True:
                with span("rank"):
                    answer = search_service_pb2.StreamSearchResponse(resume_token="x" * 10_000)
                yield answer
        finally:
            self.seen.append((correlation_id(), access(), set(current())))
            self.ended.set()

    def add_to(self, _: Any, server: grpc.aio.Server) -> None:
        get = grpc.unary_unary_rpc_method_handler(
            self.get,
            memory_service_pb2.GetMemoryRequest.FromString,
            memory_service_pb2.GetMemoryResponse.SerializeToString,
        )
        stream = grpc.unary_stream_rpc_method_handler(
            self.stream,
            search_service_pb2.SearchRequest.FromString,
            search_service_pb2.StreamSearchResponse.SerializeToString,
        )
        handlers = {"Get": get, "Stream": stream}
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Calls", handlers),))


@asynccontextmanager
async def serving(calls: Calls) -> AsyncIterator[grpc.aio.Channel]:
    """A channel that retries to a server of `calls`."""
    server = await start([Service(calls.add_to, calls, "test.Calls")], "127.0.0.1", 0, authenticator=development)
    options = (("grpc.service_config", CONFIG), ("grpc.max_send_message_length", -1))
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", options=options) as channel:
            yield channel
    finally:
        await server.stop(0.1)


def get(channel: grpc.aio.Channel, memory_id: str, **options: Any) -> Any:
    request = memory_service_pb2.GetMemoryRequest(memory_id=memory_id)
    return channel.unary_unary(GET, memory_service_pb2.GetMemoryRequest.SerializeToString)(request, **options)


async def status_of(call: Any) -> tuple[grpc.aio.AioRpcError, status_pb2.Status]:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value, rpc_status.from_call(caught.value)


async def logged_code(caplog: pytest.LogCaptureFixture, rpc: str) -> str:
    """The code the log gives a call; it is written a moment after the caller knows."""
    for _ in range(100):
        codes = [record.__dict__["code"] for record in caplog.records if record.__dict__.get("rpc") == rpc]
        if codes:
            return str(codes[-1])
        await asyncio.sleep(0.02)
    return "nothing"


async def test_a_unary_call_is_retried_by_the_callers_library() -> None:
    calls = Calls()
    async with serving(calls) as channel:
        call = get(channel, "third time", metadata=((HEADER, "mine"),))
        await call
        assert calls.attempts == 3
        assert (await call.trailing_metadata()).get(HEADER) == "mine"


async def test_a_call_that_fails_for_good_names_its_correlation_id() -> None:
    async with serving(Calls()) as channel:
        unread = channel.unary_unary(GET)(b"\xff\xff", metadata=((HEADER, "mine"),))
        error, status = await status_of(unread)
        info = error_details_pb2.ErrorInfo()
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert status.details[0].Unpack(info)
        assert (info.reason, info.metadata["correlation_id"]) == ("REQUEST_MALFORMED", "mine")
        assert info.metadata["type"] == "recalld.v1.GetMemoryRequest"
        assert error.trailing_metadata().get(HEADER) == "mine"


async def test_health_can_be_watched() -> None:
    async with serving(Calls()) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="test.Calls"))
        answer = await asyncio.wait_for(watching.read(), 5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        watching.cancel()


async def test_a_stream_whose_caller_goes_is_closed_at_once_in_its_own_context(
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls, troubles = Calls(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: troubles.append(context))
    caplog.set_level(logging.INFO)
    async with serving(calls) as channel:
        stream = channel.unary_stream(STREAM, search_service_pb2.SearchRequest.SerializeToString)
        call = stream(search_service_pb2.SearchRequest(query="x"), metadata=((HEADER, "mine"),))
        await call.read()
        call.cancel()
        await asyncio.wait_for(calls.ended.wait(), 5)
        assert await logged_code(caplog, STREAM) == "CANCELLED"
    assert calls.seen == [("mine", Access("default"), {"rank"})]
    assert not troubles
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize(("timeout", "code"), [(0.3, "DEADLINE_EXCEEDED"), (None, "CANCELLED")])
async def test_the_log_tells_who_ended_a_call(
    timeout: float | None,  # noqa: ASYNC109  of the call
    code: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls = Calls()
    caplog.set_level(logging.INFO)
    async with serving(calls) as channel:
        call = get(channel, "wait", timeout=timeout)
        waiting = asyncio.create_task(status_of(call)) if timeout else None
        await asyncio.wait_for(calls.began.wait(), 5)
        if waiting:
            error, _ = await waiting
            assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        else:
            call.cancel()
        assert await logged_code(caplog, GET) == code


async def test_our_own_limit_of_a_message_speaks_before_the_librarys() -> None:
    async with serving(Calls()) as channel:
        error, status = await status_of(channel.unary_unary(GET)(bytes(CALL_BYTES + 1)))
        info = error_details_pb2.ErrorInfo()
        assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert status.details[0].Unpack(info)
        assert (info.reason, info.metadata["limit"]) == ("LIMIT_EXCEEDED", str(CALL_BYTES))


def test_a_huge_list_is_refused_without_a_look_at_its_items() -> None:
    request = memory_service_pb2.AddRequest(text="x", categories=[""] * 100_000)
    with pytest.raises(LimitExceeded) as caught:
        check(request)
    assert [field for field, _ in caught.value.violations] == ["categories"]
    assert caught.value.metadata["actual"] == "100000"


def test_the_search_for_violations_ends() -> None:
    request = memory_service_pb2.AddRequest(messages=[{"role": "nobody"}] * 500)
    request.scope.user_id = "alex"
    with pytest.raises(FieldInvalid) as caught:
        check(request)
    assert len(caught.value.violations) == MAX_FOUND


def test_a_filter_of_many_groups_is_refused_without_reading_it_all(monkeypatch: pytest.MonkeyPatch) -> None:
    condition = filter_pb2.Filter()
    for _ in range(150):
        outer = condition.all_of.filters.add()
        for _ in range(150):
            outer.any_of.filters.add().all_of.SetInParent()
    read = 0
    original = filters._Reader.filter

    def counting(*arguments: Any) -> Any:
        nonlocal read
        read += 1
        return original(*arguments)

    monkeypatch.setattr(filters._Reader, "filter", counting)
    with pytest.raises(FilterInvalid):
        filters.filter_of(condition)
    assert read < 4_000
