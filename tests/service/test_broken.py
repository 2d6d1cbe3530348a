"""Streams over connections that break fifty times at random, with eight writers: nothing is lost or duplicated."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, cast

import grpc
import pytest

from recalld import AsyncMemoryClient, resuming, testing
from recalld.v1 import export_service_pb2, memory_pb2
from recalld.v1 import memory_service_pb2 as pb

BREAKS, WRITERS = 50, 8
LONGEST = 120.0  # seconds, on a busy machine


class Way:
    """A way to a server that is cut BREAKS times, each connection after as many bytes of answers as `most` says."""

    def __init__(self, server: str, most: Callable[[], int]) -> None:
        self.outage_count = 0
        self.target = ""
        self._host, _, port = server.rpartition(":")
        self._port = int(port)
        self._most = most
        self._running: set[asyncio.Task[Any]] = set()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Way]:
        listening = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.target = f"127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield self
        listening.close()
        for each in self._running:
            each.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to_reader, to_writer = await asyncio.open_connection(self._host, self._port)
        asking = asyncio.create_task(self._passed(reader, to_writer, None))
        self._running |= {asking, cast("asyncio.Task[Any]", asyncio.current_task())}
        most = self._most() if self.outage_count < BREAKS else None
        try:
            if await self._passed(to_reader, writer, most):
                self.outage_count += 1
        finally:
            for end in (writer, to_writer):
                end.transport.abort()
        await asking

    async def _passed(self, reader: Any, writer: Any, most: int | None) -> bool:
        """Whether it was cut after `most` bytes, and did not end by itself."""
        with suppress(OSError):
            while data := await reader.read(65536 if most is None else min(65536, most)):
                writer.write(data)
                await writer.drain()
                if most is not None:
                    most -= len(data)
                    if most <= 0:
                        return True
            writer.write_eof()
        return False


async def write(api: Any, users: list[str], writer: int, enough: Callable[[], bool]) -> None:
    """Adds, changes and deletes until it is enough."""
    choose = random.Random(writer)
    mine: list[memory_pb2.Memory] = []
    number, end = 0, time.monotonic() + LONGEST
    while not enough():
        assert time.monotonic() < end, "it took too long"
        number += 1
        what = choose.random()
        if mine and what < 0.3:
            changed = memory_pb2.Memory(id=choose.choice(mine).id, metadata={"n": number})
            await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
        elif mine and what < 0.5:
            await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=mine.pop().id))
        else:
            mine += await api.remember(choose.choice(users), f"{writer} has locker {number}")


async def test_a_watch_gives_every_change_once_and_in_order(
    server: testing.LocalServer, api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resuming, "FIRST_PAUSE", 0.01)
    choose, users = random.Random(5), [api.user() for _ in range(4)]
    only = {"user_id": {"in": users}}
    seen: list[tuple[int, str, str]] = []
    enough: list[int] = []

    async def follow(target: str) -> None:
        async with (
            AsyncMemoryClient(target) as client,
            client.watch(beginning=True, filters=only) as changes,
        ):
            async for change in changes:
                seen.append((change["sequence"], change["event"], change["memory_id"]))
                if enough and len(seen) >= enough[0]:
                    return

    async with Way(server.target, lambda: choose.randint(500, 6000)).open() as way:
        following = asyncio.create_task(follow(way.target))
        writers = (write(api, users, writer, lambda: way.outage_count >= BREAKS) for writer in range(WRITERS))
        await asyncio.gather(*writers)
        told: list[tuple[int, str, str]] = []
        for user in users:
            told += [(event.sequence, KINDS[event.kind], event.memory_id) for event in await api.events(user)]
        enough.append(len(told))
        await api.remember(users[0], "The last word")  # so that something comes after it is known what is enough
        await asyncio.wait_for(following, LONGEST)
    assert len(told) > BREAKS
    assert seen[: len(told)] == sorted(told)
    assert len(seen) <= len(told) + 1


KINDS = {memory_pb2.KIND_ADDED: "ADD", memory_pb2.KIND_UPDATED: "UPDATE", memory_pb2.KIND_DELETED: "DELETE"}


async def test_an_export_is_the_same_file_however_it_is_read(
    server: testing.LocalServer, api: Any, connect: Callable[[str], AbstractAsyncContextManager[Any]]
) -> None:
    choose, user = random.Random(6), api.user()
    await api.fill(user, 2500)
    export = await api.exported(scope={"user_id": user}, with_vectors=True)
    assert export.size_bytes > 2 * 1024 * 1024  # in three pieces at least
    files: list[bytes] = []

    async def read(reader: Any, way: Way) -> None:
        while way.outage_count < BREAKS:
            data = b""
            while len(data) < export.size_bytes:
                wanted = export_service_pb2.ReadExportRequest(export_id=export.export_id, offset=len(data))
                try:
                    async for piece in reader.export.ReadExport(wanted, timeout=5):
                        assert piece.offset == len(data)
                        data += piece.data
                except grpc.RpcError as error:
                    broken = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
                    assert error.code() in broken, error.details()  # noqa: PT017
                    await asyncio.sleep(0.02)
            files.append(data)

    async with (
        Way(server.target, lambda: choose.randint(2_000, 1_600_000)).open() as way,
        connect(way.target) as reader,
    ):
        reading = asyncio.create_task(read(reader, way))
        await asyncio.gather(reading, *(write(api, [user], writer, reading.done) for writer in range(WRITERS)))
    assert {hashlib.sha256(data).hexdigest() for data in files} == {export.sha256}
    assert (await api.exported(scope={"user_id": user}, with_vectors=True)).sha256 != export.sha256  # they did write
