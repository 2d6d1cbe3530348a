"""The ledger's cache of search inputs: never older than the last commit, and unused if that is unknown."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, update

from recalld_server.adapters.ledger.reads import search_state_cache
from recalld_server.adapters.ledger.reads.search_state_cache import SearchStateCache
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.domain.errors import LedgerUnavailable, ProjectNotFound
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import Generation, SearchState

P = Access("p")
FIRST = Generation(1, "m", 8, 1)


class Engine:
    """An engine in front of a real one: counts reads, holds them up when told, and may not tell of commits."""

    def __init__(self, engine: Any) -> None:
        self.real = engine
        self.reads = 0
        self.blind = False
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()

    @property
    def version(self) -> int | None:
        return None if self.blind else self.real.version

    async def read(self, work: Callable[..., Any], line: str = "") -> Any:
        self.reads += 1
        found = await self.real.read(work, line)
        self.begun.set()
        await self.go.wait()
        return found


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    opened = await open_sqlite(tmp_path / "ledger.db")
    row = {"project": "p", "head": 0, "last_time": 0, "oldest": 0, "settings": "{}", "create_time": 0}
    await opened.write(lambda c: c.execute(insert(t.projects).values(generation=FIRST.name, **row)))
    yield Engine(opened)
    await opened.close()


async def rise(engine: Engine, head: int) -> None:
    await engine.real.write(lambda c: c.execute(update(t.projects).values(head=head)))


async def speak(engine: Engine, user: str, name: str) -> None:
    row = {"project": "p", "type": "user_id", "id": user, "name": name, "live": 1}
    await engine.real.write(lambda c: c.execute(insert(t.speakers).values(row)))


async def held_up(engine: Engine, kept: SearchStateCache) -> asyncio.Task[SearchState]:
    """A call that has read its state and does not have it yet, until the engine may go on."""
    engine.begun.clear()
    engine.go.clear()
    slow = asyncio.create_task(kept.get(P, Scope()))
    await engine.begun.wait()
    return slow


async def test_a_state_is_read_once_until_something_is_written(engine: Engine) -> None:
    kept = SearchStateCache(engine)
    for head in (0, 1, 2):
        await rise(engine, head)
        assert {(await kept.get(P, Scope())).positions.head for _ in range(3)} == {head}
        assert engine.reads == head + 1


async def test_what_another_process_writes_is_seen(engine: Engine, tmp_path: Path) -> None:
    """As `recalld projects reembed` does beside a server."""
    kept, beside = SearchStateCache(engine), await open_sqlite(tmp_path / "ledger.db")
    assert (await kept.get(P, Scope())).positions.head == 0
    await beside.write(lambda c: c.execute(update(t.projects).values(head=7)))
    assert (await kept.get(P, Scope())).positions.head == 7
    await beside.close()
    assert (await kept.get(P, Scope())).positions.head == 7


async def test_without_a_file_to_look_at_nothing_is_kept(engine: Engine, tmp_path: Path) -> None:
    kept = SearchStateCache(engine)
    await kept.get(P, Scope())
    await engine.real.close()
    assert engine.version is None
    with pytest.raises(LedgerUnavailable):
        await kept.get(P, Scope())


async def test_scopes_and_pins_are_kept_apart(engine: Engine) -> None:
    await speak(engine, "ann", "Ann")
    await speak(engine, "bob", "Bob")
    kept = SearchStateCache(engine)
    for _ in range(2):
        assert (await kept.get(P, Scope(user_id="ann"))).speakers == {"Ann"}
        assert (await kept.get(P, Scope(user_id="bob"))).speakers == {"Bob"}
        assert (await kept.get(Access("p", Scope(user_id="bob")), Scope())).speakers == {"Bob"}
        assert (await kept.get(Access("p", Scope(user_id="bob")), Scope(user_id="ann"))).speakers == set()
    assert engine.reads == 4


async def test_a_write_during_a_read_keeps_its_state_from_others(engine: Engine) -> None:
    kept = SearchStateCache(engine)
    slow = await held_up(engine, kept)
    await rise(engine, 1)
    after = asyncio.create_task(kept.get(P, Scope()))
    await asyncio.sleep(0)
    engine.go.set()
    assert ((await slow).positions.head, (await after).positions.head) == (0, 1)
    assert (await kept.get(P, Scope())).positions.head == 1


async def test_a_write_that_nobody_saw_yet_keeps_a_state_from_later_calls(engine: Engine) -> None:
    kept = SearchStateCache(engine)
    slow = await held_up(engine, kept)
    await rise(engine, 1)
    engine.go.set()
    assert (await slow).positions.head == 0
    assert (await kept.get(P, Scope())).positions.head == 1


async def test_what_was_read_before_it_was_cleared_is_gone(engine: Engine) -> None:
    kept = SearchStateCache(engine)
    await kept.get(P, Scope())
    kept.clear()
    slow = await held_up(engine, kept)
    kept.clear()
    engine.go.set()
    await slow
    await kept.get(P, Scope())
    assert engine.reads == 3


async def test_nothing_is_kept_where_nobody_can_tell(engine: Engine) -> None:
    kept, engine.blind = SearchStateCache(engine), True
    for _ in range(3):
        await kept.get(P, Scope())
    assert engine.reads == 3


async def test_a_project_that_is_not_there_is_asked_for_again(engine: Engine) -> None:
    kept = SearchStateCache(engine)
    for _ in range(2):
        with pytest.raises(ProjectNotFound):
            await kept.get(Access("q"), Scope())
    assert engine.reads == 2


async def test_there_is_a_bound(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search_state_cache, "KEPT", 3)
    kept = SearchStateCache(engine)
    for user in "abcd":
        await kept.get(P, Scope(user_id=user))
    await kept.get(P, Scope(user_id="d"))
    assert engine.reads == 4
    await kept.get(P, Scope(user_id="a"))
    assert engine.reads == 5
