"""Reads see the caller's own writes, also while the index is unavailable."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from recalld.v1 import memory_pb2, search_service_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.adapters.index.embedded.store import EmbeddedIndex
from recalld_server.background import project_tasks
from recalld_server.domain.commands import AddCommand
from recalld_server.domain.errors import IndexUnavailable
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.domain.page_tokens import Tokens
from recalld_server.usecases.search import live as searching
from recalld_server.wiring import composition, stores
from recalld_server.wiring.app import App
from recalld_server.wiring.settings import Settings

ACCESS = Access("default", Scope(), "anonymous")


class Index(EmbeddedIndex):
    """The embedded index, on a line that can be cut."""

    down = False

    async def apply(self, *given: Any, **named: Any) -> None:
        self._reach()
        await super().apply(*given, **named)

    async def nominate(self, *given: Any) -> Any:
        self._reach()
        return await super().nominate(*given)

    async def mark(self, *given: Any) -> int:
        self._reach()
        return await super().mark(*given)

    def _reach(self) -> None:
        if type(self).down:
            raise IndexUnavailable


class Clock:
    """Time that stands still until it is told to go on."""

    def __init__(self) -> None:
        self._now = 1_800_000_000_000_000
        self._sleeping: list[asyncio.Future[None]] = []
        self._asleep = asyncio.Event()

    def now(self) -> int:
        return self._now

    async def sleep(self, seconds: float) -> None:
        woken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._sleeping.append(woken)
        self._asleep.set()
        await woken
        self._now += int(seconds * 1_000_000)

    async def tick(self) -> None:
        """Let whoever sleeps wake, and wait until they sleep again."""
        await self._asleep.wait()
        self._asleep.clear()
        woken, self._sleeping = self._sleeping, []
        for each in woken:
            each.set_result(None)
        await asyncio.wait_for(self._asleep.wait(), 10)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch) -> type[Index]:
    """The class of the index that a server started from here on uses; `down` cuts the line."""
    monkeypatch.setattr(stores, "EmbeddedIndex", Index)
    monkeypatch.setattr(Index, "down", False)
    return Index


@pytest.fixture
async def app(tmp_path: Path, index: type[Index]) -> AsyncIterator[App]:
    """A server in this process."""
    running = await App.start(Settings(data_dir=tmp_path, grpc_port=0))
    await running.recalld.projection.wait(ACCESS, 0, 10)
    yield running
    index.down = False
    await running.stop()


@pytest.fixture
async def mine(app: App, connect: Callable[[str], AbstractAsyncContextManager[Any]]) -> AsyncIterator[Any]:
    """Stubs of the server in this process."""
    async with connect(f"127.0.0.1:{app.port}") as api:
        yield api


def note(user: str, text: str) -> pb.AddRequest:
    message = memory_pb2.Message(role="user", content=text)
    return pb.AddRequest(scope={"user_id": user}, messages=[message], infer=False)


def fresh(user: str, query: str, token: str) -> search_service_pb2.SearchRequest:
    return search_service_pb2.SearchRequest(query=query, scope={"user_id": user}, at_least_as_fresh=token)


async def test_every_write_can_be_read_at_once(api: Any) -> None:
    user = api.user()
    for number in range(40):
        added = await api.memory.Add(note(user, f"Keeps bee hive {number}"))
        assert added.index_state == memory_pb2.INDEX_STATE_APPLIED
        answer = await api.search.Search(fresh(user, f"hive {number}", added.consistency_token))
        assert answer.hits[0].memory.text == f"Keeps bee hive {number}"


async def test_what_was_written_at_once_can_be_read_at_once(api: Any) -> None:
    user = api.user()

    async def keep(number: int) -> None:
        added = await api.memory.Add(note(user, f"Keeps bee hive {number}"))
        answer = await api.search.Search(fresh(user, f"hive {number}", added.consistency_token))
        assert f"Keeps bee hive {number}" in [hit.memory.text for hit in answer.hits]

    await asyncio.gather(*(keep(number) for number in range(40)))


async def test_tokens_of_elsewhere_are_refused(app: App, mine: Any) -> None:
    tokens: Tokens = app.recalld.page_tokens
    ahead, other = tokens.consistency("default", 1_000), tokens.consistency("other project", 0)
    for token in (ahead, other, Tokens("another", tokens.secret).consistency("default", 0)):
        refusal = await mine.refused(mine.search.Search(fresh("u", "x", token)))
        assert (refusal.reason, refusal.code) == ("CONSISTENCY_TOKEN_FOREIGN", grpc.StatusCode.FAILED_PRECONDITION)
    sound = tokens.consistency("default", 0)
    forged = Tokens(tokens.ledger, b"another secret").consistency("default", 0)
    page = tokens.page(["default"], [tokens.ledger, "default", 0])
    for token in ("x", "é", sound[:-1], sound + "AA", page, forged):
        refusal = await mine.refused(mine.search.Search(fresh("u", "x", token)))
        assert (refusal.reason, refusal.fields) == ("CONSISTENCY_TOKEN_INVALID", ("at_least_as_fresh",))
    assert not (await mine.search.Search(fresh("u", "x", sound))).hits


async def test_without_the_index_only_searches_wait(app: App, mine: Any, index: type[Index]) -> None:
    index.down = True
    added = await mine.memory.Add(note("ann", "Keeps bees"))
    assert added.index_state == memory_pb2.INDEX_STATE_PENDING
    [result] = added.results
    read = await mine.memory.GetMemory(pb.GetMemoryRequest(memory_id=result.memory_id))
    assert read.memory == result.memory
    assert await mine.texts("ann") == ["Keeps bees"]
    moved = memory_pb2.Memory(id=result.memory_id, text="Keeps wasps")
    updated = await mine.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=moved))
    assert updated.index_state == memory_pb2.INDEX_STATE_PENDING
    refusal = await mine.refused(mine.search.Search(fresh("ann", "bees", "")))
    assert (refusal.reason, refusal.code) == ("INDEX_UNAVAILABLE", grpc.StatusCode.UNAVAILABLE)
    assert refusal.details["RetryInfo"].retry_delay.ToNanoseconds() > 0
    index.down = False
    answer = await mine.search.Search(fresh("ann", "wasps", updated.consistency_token))  # waits for the projector
    assert [hit.memory.text for hit in answer.hits] == ["Keeps wasps"]


@pytest.mark.parametrize("seconds", [0.3, 1.0])
async def test_a_search_that_waits_answers_before_its_deadline(
    app: App, mine: Any, index: type[Index], seconds: float
) -> None:
    index.down = True
    token = (await mine.memory.Add(note("ann", "Keeps bees"))).consistency_token
    for search in (mine.search.Search, lambda *given, **more: mine.search.StreamSearch(*given, **more).read()):
        start = time.monotonic()
        refusal = await mine.refused(search(fresh("ann", "bees", token), timeout=seconds))
        assert (refusal.reason, refusal.code) == ("INDEX_BEHIND", grpc.StatusCode.UNAVAILABLE)
        assert refusal.details["RetryInfo"].retry_delay.ToNanoseconds() > 0
        assert (
            time.monotonic() - start > seconds - 0.1
        )  # and before the deadline, which the caller would tell otherwise


async def test_a_search_without_a_deadline_waits_its_own_time(
    app: App, mine: Any, index: type[Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert searching.FRESH_WITHIN == 5.0
    monkeypatch.setattr(searching, "FRESH_WITHIN", 0.3)
    index.down = True
    token = (await mine.memory.Add(note("ann", "Keeps bees"))).consistency_token
    start = time.monotonic()
    refusal = await mine.refused(mine.search.Search(fresh("ann", "bees", token)))
    assert refusal.reason == "INDEX_BEHIND"
    assert 0.3 <= time.monotonic() - start < 2


async def test_the_projector_catches_up_by_itself(
    tmp_path: Path, index: type[Index], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_tasks, "FIRST_PAUSE", 0.0)  # of the loop's own clock
    clock = Clock()
    recalld = await composition.build(Settings(data_dir=tmp_path), clock)
    projecting = asyncio.create_task(recalld.projector.run())
    await clock.tick()
    index.down = True
    added = [
        await recalld.add.add(ACCESS, AddCommand(Scope("ann"), [Message("user", text)], infer=False))
        for text in ("Keeps bees", "Keeps wasps")
    ]
    assert [each.applied for each in added] == [False, False]
    for _ in range(3):
        await clock.tick()
    stand = await recalld.ledger.positions(ACCESS)
    assert (stand.head, stand.applied) == (2, 0)
    index.down = False
    await clock.tick()
    stand = await recalld.ledger.positions(ACCESS)
    assert (stand.head, stand.applied) == (2, 2)
    report = await recalld.index_audit.examine("default")
    assert (report.entries, report.pending, report.wrong) == (2, 0, 0)
    projecting.cancel()
    with suppress(asyncio.CancelledError):
        await projecting
    await recalld.close()


async def test_an_index_that_is_away_at_the_start_is_awaited(
    tmp_path: Path, index: type[Index], connect: Callable[[str], AbstractAsyncContextManager[Any]]
) -> None:
    index.down = True
    app = await App.start(Settings(data_dir=tmp_path, grpc_port=0))
    async with connect(f"127.0.0.1:{app.port}") as api:
        token = (await api.memory.Add(note("ann", "Keeps bees"))).consistency_token
        refusal = await api.refused(api.search.Search(fresh("ann", "bees", "")))
        assert (refusal.reason, refusal.code) == ("INDEX_BEHIND", grpc.StatusCode.UNAVAILABLE)
        index.down = False
        for _ in range(100):
            with suppress(grpc.RpcError):
                answer = await api.search.Search(fresh("ann", "bees", token))
                break
            await asyncio.sleep(0.05)
        assert [hit.memory.text for hit in answer.hits] == ["Keeps bees"]
    await app.stop()
