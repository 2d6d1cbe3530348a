"""Health by service and /readyz follow the stores, and change before the server stops."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.congruence.small_world import OwnClock, opened

from recalld import testing
from recalld.v1 import memory_service_pb2, memory_service_pb2_grpc
from recalld_server.background.readiness import Readiness, Ready
from recalld_server.domain.errors import IndexUnavailable, LedgerUnavailable
from recalld_server.rpc.interceptors.key_authenticator import KeyAuthenticator
from recalld_server.rpc.server import start
from recalld_server.telemetry.setup import Telemetry
from recalld_server.wiring import app
from recalld_server.wiring.collectors import Collectors
from recalld_server.wiring.settings import Settings

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SEARCH, MEMORY = "recalld.v1.SearchService", "recalld.v1.MemoryService"
SERVICES = ("", MEMORY, SEARCH, "recalld.v1.EntityService", "recalld.v1.ExportService", "google.longrunning.Operations")
SOON = 10.0  # seconds


class Store:
    """A store that can be taken away: then every call of it fails with `error`, or without one never answers."""

    def __init__(self, store: Any, error: type[Exception]) -> None:
        self._store = store
        self._error = error
        self.state = "well"

    def __getattr__(self, name: str) -> Any:
        async def call(*arguments: Any) -> Any:
            if self.state == "silent":
                await asyncio.sleep(3600)
            if self.state == "failing":
                raise self._error
            return await getattr(self._store, name)(*arguments)

        return call


@dataclass
class World:
    """A server whose stores are in the hands of the test."""

    ledger: Store
    index: Store
    health: Any
    http: str

    async def states(self) -> dict[str, int]:
        """The health of every service."""
        return {s: (await self.health.Check(health_pb2.HealthCheckRequest(service=s))).status for s in SERVICES}

    async def becomes(self, *ill: str) -> None:
        """Wait until just these services do not serve, and compare /readyz with them."""
        expected = {service: NOT_SERVING if service in ill else SERVING for service in SERVICES}
        end = asyncio.get_running_loop().time() + SOON
        while (found := await self.states()) != expected:
            assert asyncio.get_running_loop().time() < end, found
            await asyncio.sleep(0.02)


def ready(http: str) -> tuple[int, dict[str, bool]]:
    try:
        with urllib.request.urlopen(f"{http}/readyz", timeout=SOON) as answer:  # noqa: S310 - our own server
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    settings = Settings(data_dir=tmp_path, grpc_port=0, http_port=0)
    recalld = await opened(tmp_path, OwnClock())
    ledger, index = Store(recalld.ledger, LedgerUnavailable), Store(recalld.index, IndexUnavailable)
    made: Any = (ledger, index, recalld.readiness._features, recalld.projector, Pace())
    object.__setattr__(recalld, "readiness", Readiness(*made))
    telemetry = Telemetry({})
    server = await start(app._services(recalld), "127.0.0.1", 0, authenticator=KeyAuthenticator(recalld.keys))
    http = await app._http(
        settings, recalld, server, Collectors(recalld, server, telemetry.instruments), telemetry, None
    )
    await app._tell(server, Ready(ledger=True))  # as a server begins: searches wait for the first look
    background = [
        asyncio.create_task(recalld.projector.run()),
        asyncio.create_task(recalld.readiness.run(lambda found: app._tell(server, found))),
    ]
    async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as channel:
        yield World(ledger, index, health_pb2_grpc.HealthStub(channel), f"http://127.0.0.1:{http.port}")
    for task in background:
        task.cancel()
    await asyncio.gather(*background, return_exceptions=True)
    await server.stop(0)
    await http.stop()
    await recalld.close()


class Pace:
    """Looks follow each other quickly."""

    def now(self) -> int:
        return 0

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0.02)


async def test_each_service_follows_the_stores_it_needs(world: World) -> None:
    await world.becomes()
    assert await asyncio.to_thread(ready, world.http) == (200, dict.fromkeys(PARTS, True))
    for state in ("failing", "silent"):
        world.index.state = state
        await world.becomes(SEARCH)
        status, parts = await asyncio.to_thread(ready, world.http)
        assert (status, [name for name, well in parts.items() if not well]) == (503, ["index"])
        world.index.state = "well"
        await world.becomes()
        world.ledger.state = state
        await world.becomes(*SERVICES)
        status, parts = await asyncio.to_thread(ready, world.http)
        assert (status, [name for name, well in parts.items() if not well]) == (503, ["ledger"])
        world.ledger.state = "well"
        await world.becomes()
        assert (await asyncio.to_thread(ready, world.http))[0] == 200


PARTS = ("ledger", "index", "model", "caught_up")


async def test_searches_are_not_said_to_be_served_before_the_first_look(tmp_path: Path) -> None:
    own = await app.App.start(Settings(data_dir=tmp_path, grpc_port=0, http_port=0))
    try:
        found = [
            (await own.server.health.Check(health_pb2.HealthCheckRequest(service=name), None)).status
            for name in (SEARCH, MEMORY)
        ]
        assert found == [NOT_SERVING, SERVING]
    finally:
        await own.stop()


async def test_a_server_that_stops_says_so_while_its_calls_end() -> None:
    async with testing.start_local() as own, grpc.aio.insecure_channel(own.target) as channel:
        health = health_pb2_grpc.HealthStub(channel)
        watched = {name: health.Watch(health_pb2.HealthCheckRequest(service=name)) for name in ("", SEARCH, MEMORY)}
        for call in watched.values():
            while (
                await asyncio.wait_for(call.read(), SOON)
            ).status != SERVING:  # searches wait until they can be answered
                pass
        # A call that the server waits for, up to its grace: its caller goes on only when all below was seen.
        unfinished = memory_service_pb2_grpc.MemoryServiceStub(channel).ImportMemories()
        await unfinished.write(memory_service_pb2.ImportItem(text={"text": "Likes tea", "scope": {"user_id": "ann"}}))
        stopping = asyncio.create_task(asyncio.to_thread(own.stop))
        for call in watched.values():
            assert (await asyncio.wait_for(call.read(), SOON)).status == NOT_SERVING
        assert (await health.Check(health_pb2.HealthCheckRequest())).status == NOT_SERVING
        assert await asyncio.to_thread(ready, own.http_url) == (503, dict.fromkeys(PARTS, False))
        assert not stopping.done()
        await unfinished.done_writing()
        with suppress(grpc.RpcError):
            while (progress := await unfinished.read()) is not grpc.aio.EOF:
                assert progress.stored == 1
        assert await unfinished.code() is grpc.StatusCode.UNAVAILABLE  # resumed by what it was told, or begun again
        await asyncio.wait_for(stopping, SOON)
