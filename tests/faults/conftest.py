"""Servers that are killed, run out of disk, or start on damaged folders. Each test has its own folder."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests import profiles
from tests.faults.victim import Victim
from tests.faults.victim import items as whole_items

from recalld import testing
from recalld.v1 import memory_pb2, memory_service_pb2_grpc, search_service_pb2_grpc
from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import search_service_pb2 as spb

MODEL, DIMENSION = "minilm-l6-v2-int8", 384
OPTIONS = [("grpc.max_receive_message_length", 32 * 1024 * 1024)]
START = 60  # seconds for a program to start and end, on a busy machine


class Caller:
    """Blocking calls without the client's retries: what the server says is what the test sees."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        self._search = search_service_pb2_grpc.SearchServiceStub(channel)

    def texts(self, user: str) -> dict[str, str]:
        """A user's memories, text by id."""
        found: dict[str, str] = {}
        token = ""
        while True:
            request = pb.ListMemoriesRequest(scope={"user_id": user}, page_size=1000, page_token=token)
            page = self.memory.ListMemories(request)
            for memory in page.memories:
                assert memory.id not in found
                found[memory.id] = memory.text
            if not (token := page.next_page_token):
                return found

    def found(self, user: str, query: str = "hat", **fields: Any) -> set[str]:
        """The ids of everything a search finds in a user."""
        request = spb.SearchRequest(query=query, scope={"user_id": user}, limit=10_000, **fields)
        return {answer.hit.memory.id for answer in self._search.StreamSearch(request) if answer.HasField("hit")}

    def found_at_last(self, user: str, query: str = "hat") -> tuple[set[str], int]:
        """As `found`, once the index is whole again, and how often the server said that it is not."""
        for refused in range(600):
            try:
                return self.found(user, query), refused
            except grpc.RpcError as error:
                if reason(error) != "INDEX_BEHIND":
                    raise
                time.sleep(0.05)
        raise AssertionError("the index was not rebuilt in 30 s")

    def fill(self, user: str, count: int) -> set[str]:
        """Stores that many memories with made-up vectors; their ids."""
        *_, last = self.memory.ImportMemories(iter(items(user, count)))
        assert (last.stored, list(last.failed)) == (count, [])
        return set(self.texts(user))


def items(user: str, count: int) -> list[pb.ImportItem]:
    """Memories to import, the same ones in every call."""
    return [
        pb.ImportItem(
            memory=memory_pb2.Memory(text=f"Locker {number} holds a hat", user_id=user),
            vector=[float(place == number % DIMENSION) for place in range(DIMENSION)],
            vector_model=MODEL,
        )
        for number in range(count)
    ]


def reason(error: grpc.RpcError) -> str:
    """The reason of a refusal; empty when the library itself made the error."""
    status = rpc_status.from_call(error)
    if status is None:
        return ""
    info = error_details_pb2.ErrorInfo()
    return next((info.reason for detail in status.details if detail.Unpack(info)), "")


@contextmanager
def calling(target: str) -> Iterator[Caller]:
    """A caller on a channel of its own."""
    with grpc.insecure_channel(target, options=OPTIONS) as channel:
        yield Caller(channel)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[testing.LocalServer]:
    """A server that runs, in a folder of its own."""
    with testing.start_local(tmp_path / "data") as running:
        yield running


@pytest.fixture(scope="session")
def call() -> Callable[[str], Any]:
    """`with call(target) as caller`."""
    return calling


@pytest.fixture
def recalld() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `recalld …` to its end. Settings of the surroundings do not reach it."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RECALLD_")}

    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "recalld_server", *map(str, arguments)]
        return subprocess.run(command, env=env, capture_output=True, text=True, timeout=START, check=False)

    return run


@pytest.fixture
def refused() -> Callable[[grpc.RpcError], str]:
    """The reason of an error."""
    return reason


@pytest.fixture(name="items")
def memories() -> Callable[[str, int], list[pb.ImportItem]]:
    """Items of an import, by user and number."""
    return items


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, bool], Path]:
    """Data folders with that many memories, made once."""
    made: dict[tuple[int, bool], Path] = {}

    def folder(count: int, vectors: bool) -> Path:
        if (count, vectors) not in made:
            path = made[count, vectors] = tmp_path_factory.mktemp("filled")
            with testing.start_local(path) as server:
                victim = Victim(server, random.Random())
                *_, last = victim.memory.ImportMemories(whole_items(count, vectors))
                assert last.stored == count
        return made[count, vectors]

    return folder


@pytest.fixture
def kills() -> int:
    """How often work is killed."""
    return profiles.chosen().kills


@pytest.fixture
def victim(request: pytest.FixtureRequest, tmp_path: Path, filled: Callable[[int, bool], Path]) -> Iterator[Victim]:
    """A server on a copy of a filled folder: parametrize it with the number of memories."""
    seed = random.SystemRandom().randrange(2**32)
    print(f"seed {seed}")  # noqa: T201 - shown when the test fails
    folder = tmp_path / "data"
    if request.param:
        shutil.copytree(filled(request.param, True), folder)
    with testing.start_local(folder) as server:
        victim = Victim(server, random.Random(seed))
        yield victim
        victim.channel.close()
