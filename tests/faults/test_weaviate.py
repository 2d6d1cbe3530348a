"""Weaviate is killed or not yet available: only searches fail, and afterwards every memory is found again."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from tests.weaviate_node import Node, running
from weaviate.classes.data import DataObject

from recalld import testing
from recalld.v1 import memory_pb2, memory_service_pb2_grpc, search_service_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.adapters.index.weaviate import store, writes
from recalld_server.adapters.index.weaviate.client import Address
from recalld_server.adapters.index.weaviate.store import WeaviateIndex
from recalld_server.adapters.index.weaviate.writes import Tenant
from recalld_server.domain.bm25 import NO_TERMS
from recalld_server.domain.errors import IndexUnavailable
from recalld_server.domain.memory import Access, Memory, Scope
from recalld_server.domain.revision import Features, Generation, IndexEntry
from recalld_server.ports.index import IndexQuery

pytestmark = pytest.mark.needs_weaviate

BEFORE = 3_000  # memories when the load begins
WRITERS = 8
DIMENSION = 384
GENERATION = Generation(number=1, model="test", dimension=DIMENSION, analyser=1)
KILL_AFTER = 200  # adds
MENDED = 90  # seconds in which everything must be found again, on a busy machine
VECTOR = search_service_pb2.SEARCH_MODE_VECTOR


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with running(tmp_path / "weaviate") as node:
        yield node


@pytest.fixture
def server(node: Node, tmp_path: Path) -> Iterator[testing.LocalServer]:
    """A server whose index is the node."""
    with testing.start_local(tmp_path / "data", arguments=["--index", node.url]) as running:
        yield running


class Load:
    """Writers that add one memory after the other until they are stopped; what was acknowledged, id by text."""

    def __init__(self, target: str, user: str) -> None:
        self.added: dict[str, str] = {}
        self.failures: list[grpc.RpcError] = []
        self._target = target
        self._user = user
        self._stopping = threading.Event()
        self._threads = [threading.Thread(target=self._write, args=(number,)) for number in range(WRITERS)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def wait(self, count: int) -> None:
        """Until so many were acknowledged."""
        until = time.monotonic() + 60
        while len(self.added) < count:
            assert time.monotonic() < until, f"{len(self.added)} of {count} in a minute"
            time.sleep(0.01)

    def _write(self, writer: int) -> None:
        with grpc.insecure_channel(self._target) as channel:
            memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
            number = 0
            while not self._stopping.is_set():
                text = f"Writer {writer} owns hat number {number}"
                message = memory_pb2.Message(role="user", content=text)
                request = pb.AddRequest(scope={"user_id": self._user}, messages=[message], infer=False)
                try:
                    self.added[text] = memory.Add(request).results[0].memory_id
                except grpc.RpcError as error:
                    self.failures.append(error)
                    return
                number += 1


def refused_within(seconds: float, caller: Any, refused: Callable[[grpc.RpcError], str]) -> None:
    """A search is refused as it must be, in time."""
    started = time.monotonic()
    with pytest.raises(grpc.RpcError) as caught:
        caller.found("ann")
    took = time.monotonic() - started
    assert (caught.value.code(), refused(caught.value)) == (grpc.StatusCode.UNAVAILABLE, "INDEX_UNAVAILABLE")
    assert took < seconds


def found_in_the_end(caller: Any, user: str, wanted: set[str]) -> None:
    """Every memory is found by its vector, sooner or later."""
    until = time.monotonic() + MENDED
    left = wanted
    while time.monotonic() < until:
        try:
            left = wanted - caller.found(user, mode=VECTOR)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
        if not left:
            return
        time.sleep(0.5)
    raise AssertionError(f"{len(left)} of {len(wanted)} memories are not found by their vectors")


def test_a_kill_under_load_loses_nothing(
    node: Node,
    server: testing.LocalServer,
    call: Callable[[str], Any],
    refused: Callable[[grpc.RpcError], str],
    recalld: Callable[..., Any],
) -> None:
    with call(server.target) as caller:
        older = caller.fill("bob", BEFORE)
        with Load(server.target, "ann") as load:
            load.wait(KILL_AFTER)
            node.kill()
            during = len(load.added)
            load.wait(during + 100)
            refused_within(2.0, caller, refused)
            gone = load.added["Writer 0 owns hat number 0"]
            caller.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=gone))
            assert len(caller.texts("ann")) >= during
            node.start()
            load.wait(len(load.added) + 50)
        assert load.failures == []
        there = caller.texts("ann")
        assert set(there) == set(load.added.values()) - {gone}
        found_in_the_end(caller, "ann", set(there))
        found_in_the_end(caller, "bob", older)
        assert gone not in caller.found("ann")
    server.stop()
    done = recalld("doctor", "--data-dir", server.data_dir, "--index", node.url)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
async def index(node: Node) -> AsyncIterator[WeaviateIndex]:
    index = WeaviateIndex(Address.parse(node.url))
    yield index
    await index.close()


def alike(count: int) -> list[IndexEntry]:
    """Entries that are near each other."""
    random = np.random.default_rng(1)
    near = random.normal(size=DIMENSION) + 0.02 * random.normal(size=(count, DIMENSION))
    return [
        IndexEntry(
            Memory(id=f"m{number}", text="", scope=Scope("ann"), revision=1),
            Features(NO_TERMS, (vector / np.linalg.norm(vector)).astype(np.float32)),
            1,
        )
        for number, vector in enumerate(near)
    ]


async def unfound(index: WeaviateIndex, puts: Sequence[IndexEntry]) -> list[IndexEntry]:
    """Those that no search by vector finds."""
    query = IndexQuery(Scope("ann"), None, NO_TERMS, puts[0].features.vector, 0)
    until = time.monotonic() + MENDED
    while True:
        try:
            found = await index.nominate(Access("p"), GENERATION, query, len(puts))
        except IndexUnavailable:
            assert time.monotonic() < until
            await asyncio.sleep(0.1)
            continue
        return [put for put in puts if put.memory.id not in dict(found.vector)]


async def test_what_a_kill_lost_of_an_entry_is_made_good_by_putting_it_again(node: Node, index: WeaviateIndex) -> None:
    """Entries stay, but the vectors put last can't be found."""
    puts, lost = alike(200), list[IndexEntry]()
    for _ in range(5):  # of kills, one that loses something
        for at in range(0, len(puts), 50):
            await index.apply("p", GENERATION, puts[at : at + 50], [], 1)
        assert await unfound(index, puts) == []
        node.kill()
        node.start()
        if lost := await unfound(index, puts):
            break
    assert lost
    assert len([entry async for entry in index.entries("p", GENERATION)]) == len(puts)
    await index.apply("p", GENERATION, lost, [], 1)
    assert await unfound(index, puts) == []


async def test_a_put_whose_caller_gives_up_is_done_to_its_end(
    index: WeaviateIndex, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine leaves objects without their vectors when it sees that nobody waits any more."""
    puts = alike(500)
    await index.apply("p", GENERATION, puts[:100], [], 1)
    begun = asyncio.Event()

    async def put(tenant: Tenant, objects: Sequence[DataObject[Any, Any]]) -> None:
        begun.set()
        await writes.put(tenant, objects)

    monkeypatch.setattr(store, "put", put)
    for at in range(100, 500, 100):
        putting = asyncio.create_task(index.apply("p", GENERATION, puts[at : at + 100], [], 1))
        await begun.wait()
        begun.clear()
        putting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putting
    await asyncio.gather(*index._putting)
    assert len([entry async for entry in index.entries("p", GENERATION)]) == len(puts)
    assert await unfound(index, puts) == []


def test_a_server_starts_before_its_index(
    tmp_path: Path, call: Callable[[str], Any], refused: Callable[[grpc.RpcError], str]
) -> None:
    node = Node(tmp_path / "weaviate")
    with testing.start_local(tmp_path / "data", arguments=["--index", node.url]) as server:
        try:
            assert "searches are refused until it is available" in server.log
            with call(server.target) as caller:
                with pytest.raises(grpc.RpcError) as caught:
                    caller.found("ann")
                assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
                ids = caller.fill("ann", 20)
                node.start()
                assert caller.found_at_last("ann")[0] == ids
                found_in_the_end(caller, "ann", ids)
        finally:
            node.stop()


def test_a_lost_index_is_made_anew(node: Node, server: testing.LocalServer, call: Callable[[str], Any]) -> None:
    """The engine comes back with an empty folder."""
    with call(server.target) as caller:
        ids = caller.fill("ann", 500)
        found_in_the_end(caller, "ann", ids)
        node.kill()
        (node.folder / "data").rename(node.folder / "lost")
        node.start()
        found_in_the_end(caller, "ann", ids)
