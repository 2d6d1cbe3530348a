"""One project uses all streams, waits and calls that it can; other projects and the operator are not affected."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.rpc import error_details_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_status import rpc_status
from tests.attacks.conftest import KeyedServer, keys_of

from recalld import testing
from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import (
    memory_service_pb2_grpc,
    project_service_pb2,
    project_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.rpc.interceptors.admission import OPEN_STREAMS
from recalld_server.rpc.interceptors.quota import PROJECT_STREAMS, STREAMS

FLOODING = Path(__file__).with_name("flooding.py")
KEYS = 16  # of the project that floods
FLOOD = 8.0  # seconds
NOISE = 0.05  # seconds that other programs of the machine may add


def started(env: dict[str, str]) -> Iterator[KeyedServer]:
    """A server with the project `evil`, whose keys are evil0, evil1, …"""
    with testing.start_local(env=env) as running:
        keys = keys_of(running.data_dir, {"operator": ApiKey("", "", Role.OPERATOR)})
        time.sleep(0.6)
        operator = [("authorization", f"Bearer {keys['operator']}")]
        with grpc.insecure_channel(running.target) as channel:
            project = project_service_pb2_grpc.ProjectServiceStub(channel)
            create = project_service_pb2.CreateProjectRequest(project={"project_id": "evil"})
            project.CreateProject(create, metadata=operator)
        keys |= keys_of(running.data_dir, {f"evil{n}": ApiKey("", "evil", Role.ADMIN) for n in range(KEYS)})
        keys |= keys_of(running.data_dir, {"good": ApiKey("", "default", Role.ADMIN)})
        yield KeyedServer(running, keys)


@pytest.fixture(scope="module")
def shared() -> Iterator[KeyedServer]:
    yield from started({})


@pytest.fixture
def small() -> Iterator[KeyedServer]:
    """A server that takes few calls, and whose projects may have all streams that it takes."""
    yield from started({"RECALLD_MAX_CALLS": "64", "RECALLD_PROJECT_STREAMS": "1000"})


def reason(error: grpc.RpcError) -> str:
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()} {error.details()}"
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


async def opened(call: Any) -> str:
    """What became of a stream: OPEN, or why it was refused."""
    try:
        await call.read()
    except grpc.aio.AioRpcError as error:
        return reason(error)
    return "OPEN"


class Channels:
    """Connections of their own, closed together with all that goes over them."""

    def __init__(self, target: str) -> None:
        self._target = target
        self._held = AsyncExitStack()
        self._watches: list[Any] = []

    async def __aenter__(self) -> Channels:
        return self

    async def __aexit__(self, *_: object) -> None:
        for watch in self._watches:
            watch.cancel()  # the library closes no connection whose calls are still held
        await self._held.aclose()

    async def new(self) -> grpc.aio.Channel:
        options = [("grpc.use_local_subchannel_pool", 1)]
        return await self._held.enter_async_context(grpc.aio.insecure_channel(self._target, options=options))

    async def watches(self, many: int, metadata: Any) -> list[Any]:
        memory = memory_service_pb2_grpc.MemoryServiceStub(await self.new())
        watches = [memory.Watch(pb.WatchRequest(), metadata=metadata, timeout=120) for _ in range(many)]
        self._watches += watches
        return watches


async def end_of(watch: Any) -> str:
    """Why a stream ends; its status comes after all that was written before."""
    try:
        while await watch.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        return reason(error)
    return "OK"


async def test_a_project_has_its_streams_and_no_more(shared: KeyedServer, bystander: Any) -> None:
    """1,024 idle watches of the 16 keys of one project."""
    good, operator = shared.metadata("good"), shared.metadata("operator")
    with bystander(shared.server.target, shared.server.pid, good) as seen:
        async with asyncio.timeout(120), Channels(shared.server.target) as channels:
            evil = [await channels.watches(STREAMS, shared.metadata(f"evil{number}")) for number in range(KEYS)]
            watches = [watch for of_key in evil for watch in of_key]
            became = await asyncio.gather(*map(opened, watches))
            assert Counter(became) == {"OPEN": PROJECT_STREAMS, "STREAM_LIMIT": KEYS * STREAMS - PROJECT_STREAMS}
            channel = await channels.new()
            operations = operations_pb2_grpc.OperationsStub(channel)
            wait = operations_pb2.WaitOperationRequest(name="operations/none")
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await operations.WaitOperation(wait, metadata=shared.metadata("evil1"), timeout=20)
            assert reason(caught.value) == "STREAM_LIMIT"
            assert [await opened(watch) for watch in await channels.watches(2, good)] == ["OPEN", "OPEN"]
            memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
            own = pb.ListMemoriesRequest()
            await memory.ListMemories(own, metadata=shared.metadata("evil1"), timeout=20)  # it ends: it is no stream
            holder = next(number for number in range(KEYS) if became[number * STREAMS] == "OPEN")
            project = project_service_pb2_grpc.ProjectServiceStub(channel)
            revoke = project_service_pb2.RevokeApiKeyRequest(key_id=shared.keys[f"evil{holder}"].split("_")[1])
            await project.RevokeApiKey(revoke, metadata=operator, timeout=20)
            begun = time.monotonic()
            assert await end_of(evil[holder][0]) == "KEY_REVOKED"
            assert time.monotonic() - begun < 20  # 15 s, and more for the machine
        left = next(number for number in range(KEYS) if number != holder)
        became = []
        async with asyncio.timeout(30):
            while set(became) != {"OPEN"}:  # the callers have gone, and leave their places
                async with Channels(shared.server.target) as channels:
                    again = await channels.watches(STREAMS, shared.metadata(f"evil{left}"))
                    became = await asyncio.gather(*map(opened, again))
    assert not seen.failures
    assert seen.longest < 10  # a thousand streams begin at one moment


async def test_a_server_full_of_streams_answers_calls_and_its_operator(small: KeyedServer) -> None:
    async with Channels(small.server.target) as channels:
        watches = await channels.watches(60, small.metadata("evil0"))
        became = Counter(await asyncio.gather(*map(opened, watches)))
        assert became == {"OPEN": 48, "OVERLOADED": 12}
        channel = await channels.new()
        memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        for _ in range(20):
            await memory.ListMemories(pb.ListMemoriesRequest(), metadata=small.metadata("good"))
        project = project_service_pb2_grpc.ProjectServiceStub(channel)
        await project.ListProjects(project_service_pb2.ListProjectsRequest(), metadata=small.metadata("operator"))
        for watch in watches:
            watch.cancel()
        await asyncio.sleep(1)
        assert await opened((await channels.watches(1, small.metadata("good")))[0]) == "OPEN"


async def test_streams_without_a_key_are_few(shared: KeyedServer) -> None:
    async with Channels(shared.server.target) as channels:
        stub = health_pb2_grpc.HealthStub(await channels.new())
        follows = [stub.Watch(health_pb2.HealthCheckRequest(), timeout=60) for _ in range(2 * OPEN_STREAMS)]
        became = Counter(await asyncio.gather(*map(opened, follows)))
        assert became == {"OPEN": OPEN_STREAMS, "OVERLOADED": OPEN_STREAMS}
        answer = await stub.Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert await opened((await channels.watches(1, shared.metadata("good")))[0]) == "OPEN"


def measured(server: KeyedServer, kind: str, seconds: float) -> list[float]:
    """Seconds of each call of one caller of the other project, who pauses a little between two."""
    times = []
    with grpc.insecure_channel(server.server.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        search = search_service_pb2_grpc.SearchServiceStub(channel)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            begun = time.monotonic()
            if kind == "search":
                request = search_service_pb2.SearchRequest(query="who likes tea?", scope={"user_id": "alex"})
                search.Search(request, metadata=server.metadata("good"), timeout=20)
            else:
                memory.ListMemories(pb.ListMemoriesRequest(), metadata=server.metadata("good"), timeout=20)
            times.append(time.monotonic() - begun)
            time.sleep(0.01)
    return times


def shown(times: list[float]) -> dict[int, float]:
    """Seconds by percentile: 50, 90, 99."""
    ordered = sorted(times)
    return {percent: ordered[len(ordered) * percent // 100] for percent in (50, 90, 99)}


def test_a_flood_of_one_projects_adds_leaves_anothers_reads(shared: KeyedServer) -> None:
    measured(shared, "get", 1.0)
    alone = shown(measured(shared, "get", 3.0))
    command = [sys.executable, FLOODING, shared.server.target, shared.keys["evil3"], "add", "400", str(FLOOD)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attacker:
        time.sleep(2.5)  # its connections and first refusals
        beside = shown(measured(shared, "get", FLOOD - 3))  # raises if a single call is refused
        output, _ = attacker.communicate(timeout=60)
    codes = json.loads(output)
    assert codes["RESOURCE_EXHAUSTED"] > 0, codes
    print({percent: (alone[percent], beside[percent]) for percent in alone})  # noqa: T201
    for percent in (50, 90):
        assert beside[percent] < 3 * alone[percent] + NOISE, (alone, beside)


def test_a_flood_without_a_key_makes_nobody_wait_in_a_class(shared: KeyedServer) -> None:
    measured(shared, "get", 1.0)
    command = [sys.executable, FLOODING, shared.server.target, "", "get", "400", str(FLOOD)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as attacker:
        time.sleep(2)
        beside = measured(shared, "get", FLOOD - 3)  # raises if a single call is refused
        output, _ = attacker.communicate(timeout=60)
    assert set(json.loads(output)) == {"UNAUTHENTICATED"}
    assert len(beside) > FLOOD  # calls: more than one a second were answered all along
