"""Random messages to every call never give INTERNAL or UNKNOWN, and the server stays healthy."""

from __future__ import annotations

import asyncio
import importlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from tests.service.random_requests import Maker

from recalld import testing
from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import project_service_pb2 as project
from recalld_server.admin.offline import open_keys
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Access
from recalld_server.rpc.roles import RULES
from recalld_server.wiring.settings import Settings

FILES = sorted((Path(pb.__file__).parent).glob("*_service_pb2.py"))
MODULES = [importlib.import_module(f"recalld.v1.{path.stem}") for path in FILES]
METHODS: list[MethodDescriptor] = [
    method
    for module in (*MODULES, operations_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
UNKNOWN = "0192f0c1-5b7e-7c3a-9d52-3f1a8be0c4d7"
LONGEST = {"Watch": 0.5, "WaitOperation": 0.5}  # seconds, of calls that wait
SECONDS = 0.8  # for each method
LEAST, MOST = 20, 300  # messages for each method, however slow or fast the machine
FAULTS = {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN, grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
# What the caller's own library says when the server refused the first message while it sent the next.
OF_CALLER = "Internal error from Core"


@dataclass(frozen=True)
class Target:
    """A server, and its keys by whose they are: an admin's and an operator's."""

    server: testing.LocalServer
    keys: Mapping[str, str]

    def key(self, method: MethodDescriptor) -> str:
        """The key of whom a call is for."""
        rule = RULES[f"/{method.containing_service.full_name}/{method.name}"]
        return self.keys["operator" if rule.least is None else "admin"]


@pytest.fixture(scope="module")
def target() -> Iterator[Target]:
    """A server of its own: some requests delete whatever there is. With keys, so that keys can be made."""

    async def keys() -> dict[str, str]:
        async with open_keys(Settings(data_dir=running.data_dir)) as ring:
            admin, operator = ApiKey("", "default", Role.ADMIN), ApiKey("", "", Role.OPERATOR)
            return {each.role.name.lower(): (await ring.create(Access(""), each))[1] for each in (admin, operator)}

    with testing.start_local() as running:
        yield Target(running, asyncio.run(keys()))


async def known(api: Any) -> dict[str, Sequence[str]]:
    """Ids of what there is, by the fields that name it, and one of what there is not."""
    memories = [
        memory.id for user in ("fuzz", "other") for memory in await api.remember(user, "Likes figs", "Likes tea")
    ]
    made = (await api.exported(scope={"user_id": "fuzz"})).export_id
    operations = (await api.operations.ListOperations(operations_pb2.ListOperationsRequest(page_size=5))).operations
    keys = (await api.project.ListApiKeys(project.ListApiKeysRequest(page_size=1000))).api_keys
    spare = [key.key_id for key in keys if key.display_name]  # those of this test have no name
    return {
        **{name: [*memories, UNKNOWN] for name in ("id", "memory_id", "memory_ids")},
        "export_id": [made, "", UNKNOWN],
        "name": [*(operation.name for operation in operations), f"operations/{UNKNOWN}", "Ann", ""],
        "key_id": [*spare[:5], "0" * 16],
    }


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


async def fuzzed(
    channel: grpc.aio.Channel, values: Mapping[str, Sequence[str]], method: MethodDescriptor, server: Any
) -> Counter[grpc.StatusCode]:
    """How often each code came."""
    maker, codes = Maker(method.full_name, values), Counter[grpc.StatusCode]()
    deadline = monotonic() + SECONDS
    while codes.total() < LEAST or (monotonic() < deadline and codes.total() < MOST):
        requests = [maker.next(method.input_type) for _ in range(3 if method.client_streaming else 1)]
        code = await sent(channel, method, requests)
        if code in FAULTS:
            shown = "\n--\n".join(printed(method.input_type, data) for data in requests)
            pytest.fail(f"{code.name} after {codes.total()} messages:\n{shown}\n{server.log[-3000:]}")
        codes[code] += 1
    return codes


def test_every_call_is_tried() -> None:
    assert {f"/{method.containing_service.full_name}/{method.name}" for method in METHODS} == RULES.keys()


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name.removeprefix("recalld.v1."))
async def test_nothing_that_is_sent_breaks_a_call(connect: Any, target: Target, method: MethodDescriptor) -> None:
    address = target.server.target
    async with connect(address, target.keys["admin"]) as api, connect(address, target.key(method)) as caller:
        codes = await fuzzed(caller.channel, await known(api), method, target.server)
        health = health_pb2_grpc.HealthStub(api.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest())
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    if grpc.StatusCode.UNIMPLEMENTED not in codes:
        assert codes[grpc.StatusCode.INVALID_ARGUMENT] > 0
        assert codes.keys() - {grpc.StatusCode.INVALID_ARGUMENT}, "nothing got past the checks"


async def test_the_server_still_remembers(connect: Any, target: Target) -> None:
    async with connect(target.server.target, target.keys["admin"]) as api:
        user = api.user()
        await api.remember(user, "Drives a red tractor")
        assert await api.found(user, "tractor") == ["Drives a red tractor"]
