"""The interceptors around every call, tested with a service of our own.

test_call_endings.py tests how calls end on a real server.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status

from recalld_server.domain.errors import (
    KeyMissing,
    KeyRevoked,
    LedgerUnavailable,
    MemoryNotFound,
    OriginRefused,
    RecalldError,
)
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Access, Scope
from recalld_server.rpc.interceptors import auth
from recalld_server.rpc.interceptors.auth import Auth, access, development
from recalld_server.rpc.interceptors.correlation import HEADER, correlation_id
from recalld_server.rpc.server import Service, start
from recalld_server.telemetry.span import span

SHAPES = ("unary_unary", "unary_stream", "stream_unary", "stream_stream")


def answer(text: str) -> StringValue:
    """What the handlers see, or the error they are asked for."""
    if text == "fail":
        raise MemoryNotFound(memory_id="x")
    if text == "break":
        raise ZeroDivisionError("secret")
    with span("rank"):
        return StringValue(value=f"{text} {access().principal} {correlation_id()}")


async def waiting(text: str) -> None:
    """A while, if it is asked for."""
    if text == "wait":
        await asyncio.sleep(0.5)


class Echo:
    """One handler of each shape."""

    async def unary_unary(self, request: StringValue, context: Any) -> StringValue:
        await waiting(request.value)
        return answer(request.value)

    async def unary_stream(self, request: StringValue, context: Any) -> AsyncIterator[StringValue]:
        await waiting(request.value)
        yield answer(request.value)

    async def stream_unary(self, requests: AsyncIterator[StringValue], context: Any) -> StringValue:
        text = "".join([request.value async for request in requests])
        await waiting(text)
        return answer(text)

    async def stream_stream(self, requests: AsyncIterator[StringValue], context: Any) -> AsyncIterator[StringValue]:
        async for request in requests:
            await waiting(request.value)
            yield answer(request.value)

    def add_to(self, _: Any, server: grpc.aio.Server) -> None:
        codec = (StringValue.FromString, StringValue.SerializeToString)
        handlers = {
            shape: getattr(grpc, f"{shape}_rpc_method_handler")(getattr(self, shape), *codec) for shape in SHAPES
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))


async def asked(method: str, metadata: Mapping[str, str]) -> ApiKey:
    """An authenticator that knows everybody but who has no name."""
    if not (name := metadata.get("name")):
        raise KeyMissing
    return ApiKey(name, "default", Role.ADMIN)


@asynccontextmanager
async def serving(authenticator: Any) -> AsyncIterator[grpc.aio.Channel]:
    echo = Echo()
    server = await start([Service(echo.add_to, echo, "test.Echo")], "127.0.0.1", 0, authenticator=authenticator)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
            yield channel
    finally:
        await server.stop(0.1)


def sent(channel: grpc.aio.Channel, shape: str, data: bytes, metadata: Mapping[str, str]) -> Any:
    call = getattr(channel, shape)(f"/test.Echo/{shape}", response_deserializer=StringValue.FromString)
    # A caller's library makes its own INTERNAL of a message it sends when it was refused already.
    return call(
        iter([data] if data else []) if shape.startswith("stream") else data,
        metadata=tuple(metadata.items()),
        timeout=5,
    )


async def value(call: Any, shape: str) -> str:
    found = await call if shape.endswith("unary") else await call.read()
    return str(found.value)


async def refused(call: Any, shape: str) -> tuple[grpc.StatusCode, error_details_pb2.ErrorInfo]:
    with pytest.raises(grpc.RpcError) as caught:
        await value(call, shape)
    infos = [d for d in rpc_status.from_call(caught.value).details if d.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
    [info] = [error_details_pb2.ErrorInfo.FromString(packed.value) for packed in infos]
    return caught.value.code(), info


@pytest.mark.parametrize("shape", SHAPES)
async def test_every_shape_of_call_is_surrounded(shape: str) -> None:
    async with serving(asked) as channel:
        given = {"name": "ann", HEADER: "mine"}
        data = StringValue(value="hello").SerializeToString()
        call = sent(channel, shape, data, given)
        assert await value(call, shape) == "hello ann mine"
        if shape.endswith("stream"):
            assert (await call.initial_metadata()).get(HEADER) == "mine"
            assert await call.read() is grpc.aio.EOF
        else:
            assert (await call.trailing_metadata()).get(HEADER) == "mine"
        assert str((await call.trailing_metadata()).get("server-timing")).startswith("rank;dur=")
        for text, code, reason in (
            ("fail", grpc.StatusCode.NOT_FOUND, "MEMORY_NOT_FOUND"),
            ("break", grpc.StatusCode.INTERNAL, "INTERNAL"),
        ):
            call = sent(channel, shape, StringValue(value=text).SerializeToString(), given)
            found, info = await refused(call, shape)
            assert (found, info.reason, info.metadata["correlation_id"]) == (code, reason, "mine")
        found, info = await refused(sent(channel, shape, b"\xff", given), shape)
        assert (found, info.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED")


@pytest.mark.parametrize("shape", SHAPES)
async def test_who_is_refused_is_refused_before_the_work(shape: str) -> None:
    async with serving(asked) as channel:
        data = b"" if shape.startswith("stream") else StringValue(value="break").SerializeToString()
        found, info = await refused(sent(channel, shape, data, {}), shape)
        assert (found, info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_MISSING")
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("given", ["x" * 129, ""])
async def test_a_correlation_id_that_does_not_fit_is_replaced(given: str) -> None:
    async with serving(development) as channel:
        call = sent(channel, "unary_unary", b"", {HEADER: given})
        own = (await value(call, "unary_unary")).split()[-1]
        assert own != given
        assert len(own) == 16
        assert (await call.trailing_metadata()).get(HEADER) == own


async def test_calls_without_a_correlation_id_get_different_ones() -> None:
    async with serving(development) as channel:
        seen = {await value(sent(channel, "unary_unary", b"", {}), "unary_unary") for _ in range(3)}
    assert len(seen) == 3


@pytest.mark.parametrize(
    "header",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"forwarded": "for=192.0.2.1"},
        {"x-forwarded-for": "127.0.0.1"},
        {"x-forwarded-host": "localhost"},
        {"via": "1.1 proxy"},
        {"origin": "http://localhost:1,http://evil.example"},  # what two headers are taken for
    ],
)
async def test_without_keys_no_page_and_no_proxy_is_answered(header: dict[str, str]) -> None:
    async with serving(development) as channel:
        found, info = await refused(sent(channel, "unary_unary", b"", header), "unary_unary")
        assert (found, info.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ORIGIN_REFUSED")


@pytest.mark.parametrize("origin", ["http://localhost:3000", "http://127.0.0.1", "http://[::1]:80"])
async def test_without_keys_pages_of_this_machine_are_answered(origin: str) -> None:
    async with serving(development) as channel:
        call = sent(channel, "unary_unary", b"", {"origin": origin})
        assert await value(call, "unary_unary")


@pytest.mark.parametrize(
    ("peer", "admitted"),
    [
        ("ipv4:127.0.0.1:5000", True),
        ("ipv4:127.8.8.8:5000", True),
        ("ipv6:%5B::1%5D:5000", True),
        ("unix:/tmp/socket", True),
        ("unix:", True),
        ("ipv4:192.0.2.1:5000", False),
        ("ipv6:%5B2001:db8::1%5D:5000", False),
        ("ipv4:127.0.0.1.evil.example:5000", False),
        ("", False),
    ],
)
async def test_without_keys_only_this_machine_is_admitted(peer: str, admitted: bool) -> None:
    async def continuation(_: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(answered)

    async def answered(request: Any, context: Any) -> Access:
        return access()

    details = SimpleNamespace(method="/x", invocation_metadata=())
    handler = await Auth(development).intercept_service(continuation, details)
    called = handler.unary_unary(None, SimpleNamespace(peer=lambda: peer))
    if admitted:
        assert await called == Access("default", Scope(), "")
        return
    with pytest.raises(OriginRefused, match="machine"):
        await called


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("ending", [KeyRevoked(), LedgerUnavailable()])
async def test_a_call_that_goes_on_ends_with_its_key(
    shape: str, ending: RecalldError, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever it waits for; a ledger that does not answer ends none."""
    monkeypatch.setattr(auth, "RECHECK", 0.05)
    times = 0

    async def once(method: str, metadata: Mapping[str, str]) -> ApiKey:
        nonlocal times
        times += 1
        if times > 1:
            raise ending
        return ApiKey("ann", "default", Role.ADMIN)

    async with serving(once) as channel:
        call = sent(channel, shape, StringValue(value="wait").SerializeToString(), {})
        if isinstance(ending, KeyRevoked):
            found, info = await refused(call, shape)
            assert (found, info.reason) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_REVOKED")
        else:
            assert (await value(call, shape)).startswith("wait ann")
            assert times > 3
