"""The reconciler restores lost index entries, and runs only after an outage."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.congruence.small_world import SECOND, OwnClock, opened

from recalld_server.adapters.ledger.leases import SqlLeases
from recalld_server.background import reconciler
from recalld_server.background.reconciler import MARGIN, Reconciler
from recalld_server.domain.commands import AddCommand
from recalld_server.domain.errors import IndexUnavailable, LeaseLost
from recalld_server.domain.memory import Access, Memory, Message, Scope
from recalld_server.domain.revision import Generation, IndexEntry
from recalld_server.ports.index import Index, Nominations
from recalld_server.usecases import index_audit
from recalld_server.usecases.index_audit import IndexAudit
from recalld_server.usecases.projection import Projection
from recalld_server.wiring.parts import Recalld

HERE = Access("default")


class Forgetful:
    """An index that loses vectors and keeps the entries, until they are put again."""

    def __init__(self, index: Index) -> None:
        self._index = index
        self.lost: set[str] = set()
        self.put: list[str] = []
        self.outages = 0
        self.away = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    async def outage_count(self) -> int:
        if self.away:
            raise IndexUnavailable
        return self.outages

    async def apply(
        self, project: str, generation: Generation, puts: Sequence[IndexEntry], deletes: Sequence[str], mark: int
    ) -> None:
        self.put += [put.memory.id for put in puts]
        self.lost.difference_update(self.put)
        await self._index.apply(project, generation, puts, deletes, mark)

    async def nominate(self, *arguments: Any) -> Nominations:
        found = await self._index.nominate(*arguments)
        return replace(found, vector=[(id, score) for id, score in found.vector if id not in self.lost])


class World:
    """A recalld with memories, and a reconciler over its forgetful index."""

    def __init__(self, recalld: Recalld, clock: OwnClock) -> None:
        self.recalld = recalld
        self.clock = clock
        self.index = Forgetful(recalld.index)
        self.examiner = IndexAudit(recalld.ledger, self.index)
        self.turns = SqlLeases(recalld.ledger._engine, clock, "reconciling")
        self.reconciler = self.another()

    def another(self) -> Reconciler:
        """That of another server."""
        projection = Projection(self.recalld.ledger, self.index, self.clock, self.recalld.readiness._features)
        return Reconciler(self.recalld.ledger, self.index, projection, self.examiner, self.turns, self.clock)

    async def keep(self, *texts: str) -> list[str]:
        said = [Message("user", text) for text in texts]
        added = await self.recalld.add.add(HERE, AddCommand(Scope("ann"), said, infer=False))
        return [result.memory.id for result in added.results]

    async def wrong(self) -> int:
        return (await self.examiner.examine("default")).wrong


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    clock = OwnClock()
    recalld = await opened(tmp_path, clock)
    await recalld.projection.catch_up("default")
    yield World(recalld, clock)
    await recalld.close()


async def test_every_difference_is_mended_at_the_start(world: World) -> None:
    missing, stale, unfound, sound = await world.keep("one", "two", "three", "four")
    generation = await world.recalld.ledger.generation("default")
    features = (await world.recalld.ledger.features(HERE, [stale], generation))[stale]
    old = IndexEntry(
        Memory(id=stale, text="old", scope=Scope("ann"), create_time=1, update_time=1, revision=9), features, 1
    )
    orphan = IndexEntry(
        Memory(id="orphan", text="x", scope=Scope("ann"), create_time=1, update_time=1, revision=1), features, 1
    )
    await world.recalld.index.apply("default", generation, [old, orphan], [missing], 4)
    world.index.lost.add(unfound)
    report = await world.examiner.examine("default")
    assert (report.missing, report.stale, report.unfound, report.orphaned) == (1, 1, 1, 1)
    await world.reconciler.look()
    assert await world.wrong() == 0
    assert sound not in world.index.put


async def test_more_differences_than_are_listed_at_once_are_mended_over_several_looks(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A list that was cut shows other entries the next time: those of both lists are not all that is wrong."""
    kept = await world.keep(*(f"text {number}" for number in range(11)))
    for module in (reconciler, index_audit):
        monkeypatch.setattr(module, "LISTED", 2)
    await world.recalld.index.apply("default", await world.recalld.ledger.generation("default"), [], kept[1:], 11)
    assert await world.wrong() == 10
    looks = 0
    while await world.wrong():
        looks += 1
        await world.reconciler.look()
    assert looks > 1
    assert set(world.index.put) == set(kept[1:])


async def test_nobody_looks_without_an_outage(world: World) -> None:
    await world.keep("one", "two")
    await world.reconciler.look()
    world.index.lost.update(await world.keep("three"))
    await world.reconciler.look()
    assert await world.wrong() == 1
    world.index.outages += 1
    await world.reconciler.look()
    assert await world.wrong() == 0


async def test_what_was_applied_shortly_before_an_outage_is_applied_again(world: World) -> None:
    """Also what can be found: the engine may have lost what ties it to the rest."""
    (early,) = await world.keep("one")
    world.clock.time += 10 * SECOND + MARGIN
    (late,) = await world.keep("two")
    world.clock.time += 10 * SECOND
    await world.reconciler.look()
    assert world.index.put == []
    world.clock.time += 5 * SECOND
    world.index.away = True
    for _ in range(3):
        with pytest.raises(IndexUnavailable):
            await world.reconciler.look()
        world.clock.time += MARGIN
    (during,) = await world.keep("three")
    world.index.away, world.index.outages = False, 1
    await world.reconciler.look()
    assert (early in world.index.put, set(world.index.put)) == (False, {late, during})


async def test_an_index_that_lost_everything_is_rebuilt(world: World) -> None:
    await world.keep("one", "two", "three")
    await world.reconciler.look()
    await world.recalld.index.drop("default", await world.recalld.ledger.generation("default"))
    world.index.outages += 1
    await world.reconciler.look()
    assert await world.wrong() == 0


async def test_an_engine_that_breaks_off_again_is_looked_at_again(world: World) -> None:
    await world.keep("one")
    await world.reconciler.look()
    world.index.outages += 1
    answers = iter([1, 2, 2, 2])

    async def outage_count() -> int:
        return next(answers)

    world.index.outage_count = outage_count  # type: ignore[method-assign]
    await world.reconciler.look()
    before = len(world.index.put)
    await world.reconciler.look()
    assert len(world.index.put) > before


async def test_one_of_many_servers_mends(world: World) -> None:
    """All see the outage; the second to come finds a turn that began before it looked, and the third none."""
    await world.keep("one", "two")
    servers = [world.reconciler, *(world.another() for _ in range(3))]
    for server in servers:
        await server.look()
    world.clock.time += 5 * SECOND
    world.index.outages += 1
    before = (await world.turns.state()).taken
    for server in servers:
        assert await world.turns.acquire(10) is not None  # somebody else is at it
        await server.look()
        await world.turns.release((await world.turns.state()).taken, None)
    assert world.index.put == []
    for server in servers:
        await server.look()
        await server.look()
    assert (await world.turns.state()).taken == before + len(servers) + 1
    assert len(world.index.put) == 2


async def test_a_turn_of_a_server_that_looked_later_mends_nothing_for_the_others(world: World) -> None:
    """It went back less far: it was there for a moment only."""
    await world.keep("one", "two")
    await world.reconciler.look()
    world.index.outages += 1
    world.clock.time += MARGIN
    await world.turns.acquire(10)
    await world.reconciler.look()
    await world.turns.release(2, None)
    await world.another().look()
    assert world.index.put == []
    await world.reconciler.look()
    assert len(world.index.put) == 2


async def test_a_server_that_lost_its_turn_stops(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reconciler, "RENEWAL", 0.01)
    await world.keep("one")
    begun, ended = asyncio.Event(), asyncio.Event()

    async def breaks_off(*arguments: Any) -> bool:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()
        return True

    monkeypatch.setattr(world.reconciler, "_mended", breaks_off)
    looking = asyncio.create_task(world.reconciler.look())
    await begun.wait()
    world.clock.time += 20 * SECOND
    while await world.turns.acquire(15) is None:
        await asyncio.sleep(0)
        world.clock.time += 20 * SECOND
    with pytest.raises(LeaseLost):
        await looking
    assert ended.is_set()
