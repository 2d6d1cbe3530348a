"""Background problems of one project do not affect the projection, expiry, repair and readiness of others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import delete
from tests.congruence.small_world import SECOND, OwnClock, opened

from recalld_server.adapters.index.weaviate import schema
from recalld_server.adapters.ledger.leases import SqlLeases
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.background import project_tasks
from recalld_server.background.projector import AGE, Projector
from recalld_server.background.readiness import Readiness
from recalld_server.background.reconciler import Reconciler
from recalld_server.background.retention import Retention
from recalld_server.domain.commands import AddCommand
from recalld_server.domain.errors import IndexBehind, IndexUnavailable, LedgerUnavailable
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.domain.revision import Generation
from recalld_server.ports.index import Index
from recalld_server.usecases.commits import CommitCoordinator
from recalld_server.usecases.index_audit import IndexAudit
from recalld_server.usecases.projection import Projection
from recalld_server.usecases.search.results import SearchQuery
from recalld_server.wiring.parts import Recalld

ELSEWHERE = [pytest.mark.needs_postgres, pytest.mark.needs_weaviate]
ANN = Scope(user_id="ann")
SICK, WELL, LAST = "a-sick", "b-well", "default"  # the sick one comes first in every round


class Sickly:
    """A store every call of which fails for the sick project, in the way the test chooses, or hangs."""

    def __init__(self, store: Any, *calls: str) -> None:
        self._store = store
        self._calls = calls
        self.error: Exception | None = None
        self.hangs = False

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if name not in self._calls:
            return found

        async def call(of: str | Access, *arguments: Any, **named: Any) -> Any:
            project = of.project if isinstance(of, Access) else of
            if project == SICK and self.hangs:
                await asyncio.Event().wait()
            if project == SICK and self.error:
                raise self.error
            return await found(of, *arguments, **named)

        return call


class World:
    """Three projects with a memory each, and the background over stores in the hands of the test."""

    def __init__(self, recalld: Recalld, clock: OwnClock) -> None:
        self.recalld, self.clock = recalld, clock
        self.index = Sickly(recalld.index, "apply", "mark")
        index: Any = self.index
        self.projection = Projection(recalld.ledger, index, clock, recalld.readiness._features)
        self.projector = Projector(self.projection, recalld.ledger, index, clock)
        self.writer = CommitCoordinator(recalld.ledger, self.projection)
        self.clearer = Sickly(recalld.commits, "write")
        turns = SqlLeases(recalld.ledger._engine, clock, "clearing")
        self.janitor = Retention(recalld.ledger, self.clearer, turns, clock)  # type: ignore[arg-type]

    def refusing(self) -> Projection:
        index: Any = Refusing()
        return Projection(self.recalld.ledger, index, self.clock, self.recalld.readiness._features)

    async def keep(self, project: str, text: str, **fields: Any) -> str:
        said = [Message("user", text)]
        added = await self.recalld.add.add(
            Access(project, principal="key"), AddCommand(ANN, said, infer=False, **fields)
        )
        return added.results[0].memory.id

    async def entries(self, project: str) -> set[str]:
        generation = await self.recalld.ledger.generation(project)
        return {id async for id, _ in self.recalld.index.entries(project, generation)}

    async def lose(self, project: str) -> None:
        await self.recalld.index.drop(project, await self.recalld.ledger.generation(project))


@pytest.fixture(params=["embedded", pytest.param("elsewhere", marks=ELSEWHERE)])
def engines(request: pytest.FixtureRequest) -> Sequence[str]:
    """The ledger and the index."""
    if request.param == "embedded":
        return ()
    return (request.getfixturevalue("postgres_url"), request.getfixturevalue("weaviate").url)


@pytest.fixture
async def world(tmp_path: Path, engines: Sequence[str], monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    monkeypatch.setattr(project_tasks, "PATIENCE", 0.5)
    clock = OwnClock()
    recalld = await opened(tmp_path, clock, *engines)
    for project in (SICK, WELL):
        await recalld.ledger.ensure_project(project, await recalld.ledger.generation("default"))
    for project in (SICK, WELL, LAST):
        await recalld.projection.catch_up(project)
    yield World(recalld, clock)
    await recalld.close()


TROUBLES = [ValueError("poisoned"), IndexUnavailable(), LedgerUnavailable(), RuntimeError("unforeseen"), None]


@pytest.mark.parametrize("error", TROUBLES, ids=lambda error: type(error).__name__)
async def test_what_fails_or_hangs_in_one_project_is_projected_in_the_others(
    world: World, error: Exception | None, caplog: pytest.LogCaptureFixture
) -> None:
    kept = {project: await world.keep(project, "Likes tea") for project in (SICK, WELL, LAST)}
    for project in kept:
        await world.lose(project)
    world.index.error, world.index.hangs = error, error is None
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            await world.projector._round()
    assert await world.entries(WELL) == {kept[WELL]}
    assert await world.entries(LAST) == {kept[LAST]}
    assert [world.projection.caught_up(project) for project in (SICK, WELL, LAST)] == [False, True, True]
    assert world.projector.begun
    with pytest.raises(IndexBehind):
        world.projection.require(SICK)
    world.projection.require(WELL)
    if error:
        assert world.projector.stalled == [SICK]
        stalls = [record for record in caplog.records if record.message == "project stalled"]
        assert len(stalls) == 1, "said when it begins, not in every round"
    world.index.error, world.index.hangs = None, False
    await world.projector._tasks.close()
    monotonic = asyncio.get_running_loop().time
    deadline = monotonic() + 10
    while not world.projection.caught_up(SICK):
        assert monotonic() < deadline
        await world.projector._round()
    assert await world.entries(SICK) == {kept[SICK]}
    assert world.projector.stalled == []


async def test_what_is_pending_of_the_others_is_applied(world: World) -> None:
    """A change that its writer could not apply is the projector's, whatever project comes before."""
    await world.projector._round()
    world.index.error = ValueError("poisoned")
    failing = world.recalld.add._commits._projection
    pending = {}
    for project in (SICK, WELL):
        world.recalld.add._commits._projection = world.refusing()
        pending[project] = await world.keep(project, "Likes tea")
        world.recalld.add._commits._projection = failing
        assert await world.entries(project) == set()
    world.clock.time += int(2 * AGE * SECOND)
    await world.projector._round()
    assert await world.entries(WELL) == {pending[WELL]}
    assert await world.entries(SICK) == set()
    assert world.projector.stalled == [SICK]


class Refusing:
    """An index that raises what no port promises."""

    async def apply(self, *_: Any) -> None:
        raise ValueError("not foreseen")


async def test_a_durable_change_is_answered_whatever_the_index_raises(world: World) -> None:
    writer = world.recalld.add._commits
    sound, writer._projection = writer._projection, world.refusing()
    try:
        said = [Message("user", "Likes tea")]
        added = await world.recalld.add.add(Access(WELL, principal="key"), AddCommand(ANN, said, infer=False))
    finally:
        writer._projection = sound
    assert (added.results[0].memory.text, added.applied) == ("Likes tea", False)


@pytest.mark.parametrize("error", TROUBLES, ids=lambda error: type(error).__name__)
async def test_the_others_expire(world: World, error: Exception | None) -> None:
    expires = world.clock.now() + SECOND
    kept = {project: await world.keep(project, "Likes tea", expire_time=expires) for project in (SICK, WELL, LAST)}
    world.clock.time += 2 * SECOND
    world.clearer.error, world.clearer.hangs = error, error is None
    for _ in range(2):
        await world.janitor.round()
    left = {p: set(await world.recalld.ledger.latest(Access(p), [id])) for p, id in kept.items()}
    live = {p: await world.recalld.ledger.memories(Access(p), list(ids)) for p, ids in left.items()}
    assert [len(live[p]) for p in (SICK, WELL, LAST)] == [1, 0, 0]
    assert world.janitor.stalled == ([SICK] if error else [])
    await world.janitor._tasks.close()


async def test_the_others_are_repaired_and_only_once(world: World) -> None:
    kept = {project: await world.keep(project, "Likes tea") for project in (SICK, WELL, LAST)}
    for project in kept:
        await world.lose(project)
    world.index.error = ValueError("poisoned")
    index: Index = world.index  # type: ignore[assignment]
    turns = SqlLeases(world.recalld.ledger._engine, world.clock, "reconciling")
    examiner = IndexAudit(world.recalld.ledger, index)
    reconciler = Reconciler(world.recalld.ledger, index, world.projection, examiner, turns, world.clock)
    await reconciler.look()
    assert await world.entries(WELL) == {kept[WELL]}
    assert await world.entries(LAST) == {kept[LAST]}
    assert reconciler.stalled == [SICK]
    await world.lose(WELL)
    await reconciler.look()
    assert await world.entries(WELL) == set(), "what is repaired is not compared again for the sake of another"
    world.index.error = None
    deadline = asyncio.get_running_loop().time() + 10
    while await world.entries(SICK) != {kept[SICK]}:
        assert asyncio.get_running_loop().time() < deadline
        await reconciler.look()
    assert reconciler.stalled == []


async def test_no_project_makes_the_server_unready(world: World) -> None:
    readiness = Readiness(
        world.recalld.ledger,
        world.index,  # type: ignore[arg-type]
        world.recalld.readiness._features,
        world.projector,
        world.clock,
    )
    world.index.error = ValueError("poisoned")
    assert not (await readiness.look()).searches, "the first round is not done"
    await world.projector._round()
    assert (await readiness.look()).searches
    for project in ("c-new", "d-new"):  # made at another server
        await world.recalld.ledger.ensure_project(project, await world.recalld.ledger.generation("default"))
    assert (await readiness.look()).searches
    with pytest.raises(IndexBehind):
        world.projection.require("c-new")
    rebuilding = asyncio.create_task(world.projection.rebuild(WELL))
    await asyncio.sleep(0)
    assert not world.projection.caught_up(WELL)
    assert (await readiness.look()).searches
    await rebuilding
    other = Generation(1, "no such model", 4, 1)
    await world.recalld.ledger.ensure_project("e-foreign", other)
    assert (await readiness.look()).searches


async def test_a_project_deleted_since_the_round_began_is_no_failure(world: World) -> None:
    await world.projector._tasks.visit([SICK, "long-gone"], world.projector._visit)
    assert world.projector.stalled == []


async def test_a_project_without_work_costs_no_statement(world: World) -> None:
    """However many projects there are."""
    await world.projector._round()
    asked: list[str] = []

    class Counting:
        def __getattr__(self, name: str) -> Any:
            asked.append(name)
            return getattr(world.recalld.ledger, name)

    counted: Any = Counting()
    world.projector._ledger = counted
    await world.projector._round()
    assert asked == ["projects", "behind"]
    readiness = Readiness(counted, world.recalld.index, world.recalld.readiness._features, world.projector, world.clock)
    await readiness.look()
    asked.clear()
    await readiness.look()
    assert asked == ["ping", "projects"]


@pytest.mark.parametrize("engines", [pytest.param("elsewhere", marks=ELSEWHERE)], indirect=True)
@pytest.mark.parametrize("found_by", ["search", "write"])
async def test_a_project_whose_tenant_vanished_is_behind_until_it_is_made_anew(world: World, found_by: str) -> None:
    """Whoever meets it first, a search or a write; the other projects go on."""
    recalld, index = world.recalld, cast(Any, world.recalld.index)
    kept = {p: {await world.keep(p, text) for text in ("Likes tea", "Likes cake")} for p in (SICK, WELL)}

    async def found(project: str) -> set[str]:
        ranked = await recalld.search.rank(Access(project, principal="key"), SearchQuery("Likes", ANN, limit=5))
        return {place.id for place in ranked.hits}

    assert await found(SICK) == kept[SICK]
    name = schema.collection(await recalld.ledger.generation(SICK), index._ledger)
    await index._client.call(lambda driver: driver.collections.use(name).tenants.remove([SICK]), 10)
    if found_by == "write":
        kept[SICK].add(await world.keep(SICK, "Likes milk"))
    with pytest.raises(IndexBehind):
        await found(SICK)
    assert await found(WELL) == kept[WELL]
    await recalld.projector._round()
    assert await found(SICK) == kept[SICK]
    assert (await recalld.index_audit.examine(SICK)).wrong == 0


async def test_a_live_memory_without_features_is_embedded_again(world: World) -> None:
    """It would stay pending for good, and its project behind after each start."""
    kept = {await world.keep(SICK, text) for text in ("Likes tea", "Likes cake")}
    await world.lose(SICK)
    lost = sorted(kept)[0]
    gone = delete(t.features).where(t.features.c.project == SICK, t.features.c.memory_id == lost)
    await world.recalld.ledger._engine.write(lambda c: c.execute(gone))
    await world.projector._round()
    assert world.projection.caught_up(SICK)
    assert await world.entries(SICK) == kept
    generation = await world.recalld.ledger.generation(SICK)
    assert set(await world.recalld.ledger.features(Access(SICK), list(kept), generation)) == kept


async def test_those_who_wait_for_the_index_share_what_is_read(world: World) -> None:
    """However many they are; and they are told at once of what is applied here."""
    here = Access(WELL)
    await world.projector._round()
    head = (await world.recalld.ledger.positions(here)).head
    asked = 0

    class Counting:
        async def positions(self, access: Access) -> Any:
            nonlocal asked
            asked += 1
            return await world.recalld.ledger.positions(access)

        def __getattr__(self, name: str) -> Any:
            return getattr(world.recalld.ledger, name)

    counting: Any = Counting()
    projection = Projection(counting, world.recalld.index, world.clock, world.recalld.readiness._features)
    await projection.catch_up(WELL)
    waiting = [asyncio.create_task(projection.wait(here, head + 1, 30.0)) for _ in range(200)]
    await asyncio.sleep(1.0)
    before, asked = asked, 0
    await asyncio.sleep(1.0)
    assert before < 60, "the steps grow"
    assert asked < 20, "one read serves all"
    added = world.recalld.add._commits
    sound, added._projection = added._projection, projection
    try:
        await world.keep(WELL, "Likes tea")
    finally:
        added._projection = sound
    told = asyncio.get_running_loop().time()
    await asyncio.gather(*waiting)
    assert asyncio.get_running_loop().time() - told < 0.2
