"""Attacks on a server: the tests check what is refused, the latency of others, memory use, and the state afterwards.

Every attack is limited in count and time, and uses only loopback.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import psutil
import pytest

from recalld import testing
from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import memory_service_pb2_grpc
from recalld_server.admin.offline import open_keys
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Access
from recalld_server.wiring.settings import Settings

EVERY = 0.02  # seconds between two calls of a bystander
MIB = 1024 * 1024
OPTIONS = [("grpc.max_receive_message_length", 64 * MIB), ("grpc.max_send_message_length", 64 * MIB)]


@dataclass
class Bystander:
    """Somebody else's GetMemory, again and again while an attack runs, and the memory that the server holds.

    `waits` are seconds of each call that was answered, `failures` the codes of those that were not; `resident` is the
    highest resident size in bytes.
    """

    target: str
    pid: int
    metadata: Sequence[tuple[str, str]] = ()
    patience: float = 30.0  # seconds for one call
    waits: list[float] = field(default_factory=list)
    failures: list[grpc.StatusCode] = field(default_factory=list)
    resident: int = 0
    _ended: threading.Event = field(default_factory=threading.Event)

    @property
    def longest(self) -> float:
        """Seconds of the longest wait."""
        assert self.waits, "the bystander was never answered"
        return max(self.waits)

    @property
    def megabytes(self) -> float:
        """The highest resident size in MiB."""
        return self.resident / MIB

    def run(self) -> None:
        process = psutil.Process(self.pid)
        with grpc.insecure_channel(self.target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
            request = pb.GetMemoryRequest(memory_id="nobody-has-this")
            while not self._ended.is_set():
                begun = time.monotonic()
                try:
                    memory.GetMemory(request, timeout=self.patience, metadata=list(self.metadata))
                except grpc.RpcError as error:
                    if error.code() is grpc.StatusCode.NOT_FOUND:
                        self.waits.append(time.monotonic() - begun)
                    else:
                        self.failures.append(error.code())
                try:
                    self.resident = max(self.resident, process.memory_info().rss)
                except psutil.NoSuchProcess:
                    return
                self._ended.wait(EVERY)

    def end(self) -> None:
        self._ended.set()


@contextmanager
def bystanding(target: str, pid: int, metadata: Sequence[tuple[str, str]] = ()) -> Iterator[Bystander]:
    """A bystander for as long as the block runs; its figures are complete after it."""
    bystander = Bystander(target, pid, metadata)
    thread = threading.Thread(target=bystander.run, name="bystander")
    thread.start()
    try:
        time.sleep(3 * EVERY)  # it has been answered before the attack begins
        yield bystander
    finally:
        bystander.end()
        thread.join(bystander.patience + 5)


@pytest.fixture
def bystander() -> Callable[..., Any]:
    """`with bystander(target, pid) as seen`."""
    return bystanding


@pytest.fixture
def server() -> Iterator[testing.LocalServer]:
    """A server of the test's own on the embedded engines."""
    with testing.start_local() as running:
        yield running


@dataclass(frozen=True)
class KeyedServer:
    """A server and keys of it by name: reader, writer and admin of the project `default`, and operator."""

    server: testing.LocalServer
    keys: dict[str, str]

    @property
    def port(self) -> int:
        return int(self.server.target.rpartition(":")[2])

    def metadata(self, name: str) -> list[tuple[str, str]]:
        """What a caller sends who has the key of this name, or this key."""
        return [("authorization", f"Bearer {self.keys.get(name, name)}")]


def keys_of(data_dir: Path, wanted: dict[str, ApiKey]) -> dict[str, str]:
    """New keys, made beside a running server as an operator does it."""

    async def made() -> dict[str, str]:
        async with open_keys(Settings(data_dir=data_dir)) as keys:
            return {name: (await keys.create(Access(key.project), key))[1] for name, key in wanted.items()}

    return asyncio.run(made())


@contextmanager
def keyed_server() -> Iterator[KeyedServer]:
    """A server that asks for keys."""
    with testing.start_local() as running:
        wanted = {role.name.lower(): ApiKey("", "default", role) for role in (Role.READER, Role.WRITER, Role.ADMIN)}
        keys = keys_of(running.data_dir, {**wanted, "operator": ApiKey("", "", Role.OPERATOR)})
        time.sleep(0.6)  # until the server knows that there are keys
        yield KeyedServer(running, keys)


@pytest.fixture
def keyed() -> Iterator[KeyedServer]:
    """A server of the test's own that asks for keys."""
    with keyed_server() as server:
        yield server
