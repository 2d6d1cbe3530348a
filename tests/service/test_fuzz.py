"""Random messages to every call: never INTERNAL, never UNKNOWN, and the server stays well."""

from __future__ import annotations

import importlib
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from tests.service.random_requests import Maker

from recalld import testing
from recalld.v1 import memory_service_pb2 as pb

FILES = sorted((Path(pb.__file__).parent).glob("*_service_pb2.py"))
METHODS: list[MethodDescriptor] = [
    method
    for path in FILES
    for service in importlib.import_module(f"recalld.v1.{path.stem}").DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
# The calls of a project have tests of their own: the first key they make would end this server's openness.
TRIED = [method for method in METHODS if method.containing_service.name != "ProjectService"]
LONGEST = {"Watch": 0.5}  # seconds, of a call that does not end
SECONDS = 0.8  # for each method
LEAST, MOST = 20, 300  # messages for each method, however slow or fast the machine
FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
# What the caller's own library says when the server refused the first message while it sent the next.
OF_CALLER = "Internal error from Core"


@pytest.fixture(scope="module")
def target() -> Iterator[testing.LocalServer]:
    """A server of its own: some requests delete whatever there is."""
    with testing.start_local() as running:
        yield running


@pytest.fixture
async def api(target: testing.LocalServer, connect: Any) -> AsyncIterator[Any]:
    """Stubs of that server."""
    async with connect(target.target) as found:
        yield found


async def sent(channel: grpc.aio.Channel, method: MethodDescriptor, requests: list[bytes]) -> grpc.StatusCode:
    """The code a call ends with; its error must carry our details."""
    kind = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
    path = f"/{method.containing_service.full_name}/{method.name}"
    seconds = LONGEST.get(method.name, 20)
    call = getattr(channel, kind)(path)(iter(requests) if method.client_streaming else requests[0], timeout=seconds)
    try:
        if method.server_streaming:
            async for _ in call:
                pass
        else:
            await call
    except grpc.RpcError as error:
        if error.details() == OF_CALLER and len(requests) > 1:
            return await sent(channel, method, requests[:1])
        if method.name in LONGEST and error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return error.code()  # type: ignore[no-any-return]
        assert rpc_status.from_call(error) is not None, error.details()  # noqa: PT017
        return error.code()  # type: ignore[no-any-return]
    return grpc.StatusCode.OK


def printed(descriptor: Descriptor, data: bytes) -> str:
    """A request as text, or its bytes where they are none."""
    try:
        return str(GetMessageClass(descriptor).FromString(data))[:4000]
    except (DecodeError, UnicodeDecodeError):
        return data.hex()


async def fuzzed(api: Any, target: testing.LocalServer, method: MethodDescriptor) -> Counter[grpc.StatusCode]:
    """How often each code came."""
    texts = [f"Likes dish {n}" for n in range(4)]
    ids = [memory.id for user in ("fuzz", "other") for memory in await api.remember(user, *texts)]
    maker, codes = Maker(method.full_name, ids), Counter[grpc.StatusCode]()
    deadline = monotonic() + SECONDS
    while codes.total() < LEAST or (monotonic() < deadline and codes.total() < MOST):
        requests = [maker.next(method.input_type) for _ in range(3 if method.client_streaming else 1)]
        code = await sent(api.channel, method, requests)
        if code in FAULTS:
            shown = "\n--\n".join(printed(method.input_type, data) for data in requests)
            pytest.fail(f"{code.name} after {codes.total()} messages:\n{shown}\n{target.log[-3000:]}")
        codes[code] += 1
    return codes


@pytest.mark.parametrize("method", TRIED, ids=lambda method: method.full_name.removeprefix("recalld.v1."))
async def test_nothing_that_is_sent_breaks_a_call(
    api: Any, target: testing.LocalServer, method: MethodDescriptor
) -> None:
    codes = await fuzzed(api, target, method)
    if grpc.StatusCode.UNIMPLEMENTED not in codes:
        assert codes[grpc.StatusCode.INVALID_ARGUMENT] > 0
        assert codes.keys() - {grpc.StatusCode.INVALID_ARGUMENT}, "nothing got past the checks"
    health = health_pb2_grpc.HealthStub(api.channel)
    answer = await health.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


async def test_the_server_still_remembers(api: Any) -> None:
    user = api.user()
    await api.remember(user, "Drives a red tractor")
    assert await api.found(user, "tractor") == ["Drives a red tractor"]
