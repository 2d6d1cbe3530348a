"""A new generation is built while searches and writes continue; the switch is invisible to callers."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update

from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.system import SystemClock
from recalld_server.domain.analysis import ANALYSER_VERSION
from recalld_server.domain.commands import AddCommand, ReindexCommand, encoded
from recalld_server.domain.errors import FieldInvalid
from recalld_server.domain.memory import Access, Memory, Message, Scope
from recalld_server.domain.operations import Operation, OperationKind, OperationState
from recalld_server.domain.ranking import Mode
from recalld_server.domain.revision import Generation, IndexEntry, RequestKey
from recalld_server.domain.vectors import FloatMatrix
from recalld_server.ports.index import Index
from recalld_server.usecases.projection import Projection
from recalld_server.usecases.search.results import SearchQuery
from recalld_server.wiring.composition import build
from recalld_server.wiring.parts import Recalld
from recalld_server.wiring.settings import Settings

HERE, USER = Access("default", principal="key"), Scope(user_id="u")


class Hashed:
    """A second model: a vector for each text, of another dimension than the real one."""

    model, dimension = "test/hashed", 32

    async def embed(self, texts: Sequence[str], **_: object) -> FloatMatrix:
        await asyncio.sleep(0.002)
        seeds = [int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts]
        rows = [np.random.default_rng(seed).standard_normal(self.dimension) for seed in seeds]
        made = np.array(rows, np.float32).reshape(len(texts), self.dimension)
        return made / np.linalg.norm(made, axis=1, keepdims=True)

    async def close(self) -> None:
        """Holds nothing."""


ELSEWHERE = [pytest.mark.needs_postgres, pytest.mark.needs_weaviate]


@pytest.fixture(params=["embedded", pytest.param("elsewhere", marks=ELSEWHERE)])
def engines(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    if request.param == "embedded":
        return Settings(data_dir=tmp_path)
    url, node = request.getfixturevalue("postgres_url"), request.getfixturevalue("weaviate")
    return Settings(data_dir=tmp_path, ledger=url, index=node.url)


@pytest.fixture
async def recalld(engines: Settings) -> AsyncIterator[Recalld]:
    wired = await build(engines, more_embedders={Hashed.model: Hashed()})
    background = [asyncio.create_task(work) for work in (wired.projector.run(), wired.worker.run())]
    await wired.projection.wait(HERE, 0, 20)
    yield wired
    for task in reversed(background):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    await wired.close()


async def remember(recalld: Recalld, *texts: str) -> list[str]:
    messages = [Message("user", text) for text in texts]
    added = await recalld.add.add(HERE, AddCommand(USER, messages, infer=False))
    return [result.memory.id for result in added.results]


async def found(recalld: Recalld, text: str) -> list[str]:
    ranked = await recalld.search.rank(HERE, SearchQuery(text, scope=USER, limit=5))
    return [place.id for place in ranked.hits]


async def start(recalld: Recalld, kind: OperationKind, model: str = "") -> Operation:
    payload = encoded(ReindexCommand(model))
    return await recalld.operations.start(
        HERE, kind, RequestKey(kind.value, "", model), subject="default", payload=payload
    )


async def ended(recalld: Recalld, operation: Operation) -> Operation:
    done = await recalld.operations.wait(HERE, operation.id, 30)
    assert done.state is OperationState.SUCCEEDED, done.error
    return done


@pytest.mark.parametrize("kind", [OperationKind.REBUILD_INDEX, OperationKind.REEMBED_PROJECT])
async def test_searches_and_writes_go_on(recalld: Recalld, kind: OperationKind) -> None:
    texts = [f"Shelf {number} holds {number % 7} jars" for number in range(300)]
    ids = dict(zip(texts, await remember(recalld, *texts), strict=True))
    building, searches = True, 0

    async def write(writer: int) -> None:
        number = 0
        while building:
            text = f"Writer {writer} says {number}"
            [ids[text]] = await remember(recalld, text)
            number += 1

    async def search(number: int) -> None:
        nonlocal searches
        while building:
            text = f"Shelf {number} holds {number % 7} jars"
            assert ids[text] in await found(recalld, text)
            searches += 1

    others = [asyncio.create_task(work) for work in (*map(write, range(4)), *map(search, (3, 250)))]
    try:
        done = await ended(recalld, await start(recalld, kind, Hashed.model))
    finally:
        building = False
    await asyncio.gather(*others)
    assert searches > 2
    generation = await recalld.ledger.generation("default")
    wanted = Hashed.model if kind is OperationKind.REEMBED_PROJECT else "minilm-l6-v2-int8"
    assert (generation.number, generation.model, done.result["model"]) == (2, wanted, wanted)
    engine = (await recalld.projects.index_standing(HERE, "default")).engine
    assert done.result["engine"] == engine == recalld.index.name  # and not where it is
    assert engine in {"embedded", "weaviate"}
    report = await recalld.index_audit.examine("default")
    assert (report.wrong, report.pending, report.live) == (0, 0, len(ids))
    assert set(await recalld.ledger.features(HERE, list(ids.values()), generation)) == set(ids.values())
    for text in (texts[0], texts[299], "Writer 0 says 0", "Writer 3 says 0"):
        assert ids[text] in await found(recalld, text)


async def test_a_project_of_an_older_analyser_is_served_until_it_is_rebuilt(recalld: Recalld) -> None:
    older = replace(await recalld.ledger.generation("default"), analyser=1).name
    row = update(t.projects).where(t.projects.c.project == "default").values(generation=older)
    await recalld.ledger._engine.write(lambda connection: connection.execute(row))
    texts = ("José wrote his résumé", "🍕🍕", "İstanbul'da yaşıyorum")
    ids = await remember(recalld, *texts)

    async def by_words(text: str) -> list[str]:
        ranked = await recalld.search.rank(HERE, SearchQuery(text, scope=USER, mode=Mode.KEYWORD))
        return [place.id for place in ranked.hits]

    for before, text in zip(ids, ("josé", "🍕", "yaşıyorum"), strict=True):
        assert await by_words(text) == ([] if text == "🍕" else [before])
    assert [await by_words(text) for text in ("jose", "resume", "istanbul")] == [[], [], []]
    done = await ended(recalld, await start(recalld, OperationKind.REBUILD_INDEX))
    assert done.result["analyser_version"] == ANALYSER_VERSION > 1
    for after, asked in zip(ids, (("josé", "Jose", "RESUME"), ("🍕?",), ("istanbul", "YASIYORUM")), strict=True):
        for text in asked:
            assert await by_words(text) == [after]


async def test_the_past_stays_searchable_and_restorable(recalld: Recalld) -> None:
    [id] = await remember(recalld, "The harbour is in Lisbon")
    before = (await recalld.ledger.positions(HERE)).head
    await recalld.memories.delete(HERE, [id], None)
    await ended(recalld, await start(recalld, OperationKind.REEMBED_PROJECT, Hashed.model))
    from recalld_server.usecases.queries import AsOf

    past = SearchQuery("harbour in Lisbon", scope=USER, limit=5, as_of=AsOf(seq=before))
    assert [place.id for place in (await recalld.search.rank(HERE, past)).hits] == [id]
    await recalld.memories.restore(HERE, id, None, None)
    assert await found(recalld, "The harbour is in Lisbon") == [id]


class Breaking:
    """An index that breaks off once, after everything was put, and loses it."""

    def __init__(self, index: Index, following: Generation) -> None:
        self._index = index
        self._following = following
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    async def outage_count(self) -> int:
        self.asked += 1
        if self.asked == 2:
            await self._index.drop("default", self._following)
        return min(self.asked, 2)


async def test_what_the_engine_lost_of_a_build_is_put_again(recalld: Recalld, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = await remember(recalld, *(f"Shelf {number} holds jars" for number in range(5)))
    current = await recalld.ledger.generation("default")
    breaking = Breaking(recalld.reindex._index, replace(current, number=current.number + 1))
    monkeypatch.setattr(recalld.reindex, "_index", breaking)
    await ended(recalld, await start(recalld, OperationKind.REBUILD_INDEX))
    assert breaking.asked == 4
    assert sorted(await found(recalld, "Which shelf holds jars?")) == sorted(ids)


class Strayed:
    """An index in which an earlier attempt left entries of memories that are gone, and which gives them in no order."""

    def __init__(self, index: Index, following: Generation, strays: Sequence[IndexEntry]) -> None:
        self._index = index
        self._following = following
        self._strays = strays

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    async def outage_count(self) -> int:
        strays, self._strays = self._strays, []
        await self._index.apply("default", self._following, strays, [], 0)
        return 0

    async def entries(self, project: str, generation: Generation) -> AsyncIterator[tuple[str, int]]:
        found = [entry async for entry in self._index.entries(project, generation)]
        for entry in sorted(found, key=lambda entry: hashlib.sha256(entry[0].encode()).digest()):
            yield entry


async def test_what_an_earlier_attempt_left_is_removed(recalld: Recalld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever it stands among the others."""
    ids = await remember(recalld, *(f"Shelf {number} holds jars" for number in range(300)))
    current = await recalld.ledger.generation("default")
    features = (await recalld.ledger.features(HERE, ids[:1], current))[ids[0]]
    strays = [
        IndexEntry(Memory(id, "gone", USER, create_time=1, update_time=1, revision=1), features, 1)
        for id in ("0", "m", "zz", *map(str, range(300)))
    ]
    strayed = Strayed(recalld.reindex._index, replace(current, number=current.number + 1), strays)
    monkeypatch.setattr(recalld.reindex, "_index", strayed)
    await ended(recalld, await start(recalld, OperationKind.REBUILD_INDEX))
    report = await recalld.index_audit.examine("default")
    assert (report.wrong, report.entries, report.live, report.probed) == (0, 300, 300, 300)


async def test_what_a_cancelled_build_left_is_not_used(recalld: Recalld) -> None:
    texts = [f"Crate {number}" for number in range(400)]
    await remember(recalld, *texts)
    build = await start(recalld, OperationKind.REEMBED_PROJECT, Hashed.model)
    async with asyncio.timeout(10):
        while not (await recalld.operations.wait(HERE, build.id, 0)).completed:
            pass
    await recalld.operations.cancel(HERE, build.id)
    stopped = await recalld.operations.wait(HERE, build.id, 10)
    if stopped.state is OperationState.CANCELLED:  # a quick machine may have finished it
        assert (await recalld.ledger.generation("default")).number == 1
    done = await ended(recalld, await start(recalld, OperationKind.REBUILD_INDEX))
    assert done.result["model"] == (await recalld.ledger.generation("default")).model
    report = await recalld.index_audit.examine("default")
    assert (report.wrong, report.live) == (0, 400)
    assert await found(recalld, "Crate 7")


async def test_a_model_nobody_configured_is_refused(recalld: Recalld) -> None:
    with pytest.raises(FieldInvalid, match="test/hashed"):
        recalld.reindex.embedder("unknown")


async def test_a_write_that_is_late_for_the_switch_leaves_nothing_behind(recalld: Recalld) -> None:
    [id] = await remember(recalld, "The lamp is green")
    old = await recalld.ledger.generation("default")
    entries, stand = await recalld.ledger.entries("default", old, [id])
    await ended(recalld, await start(recalld, OperationKind.REBUILD_INDEX))
    index, ledger = recalld.index, recalld.ledger

    class Late:
        """The ledger as the writer read it before the switch."""

        async def entries(self, *_: object) -> object:
            return entries, stand

        def __getattr__(self, name: str) -> object:
            return getattr(ledger, name)

    assert [entry async for entry in index.entries("default", old)] == []
    late = Projection(Late(), index, SystemClock(), recalld.readiness._features)  # type: ignore[arg-type]
    assert await late.apply("default", old, [id])
    assert [entry async for entry in index.entries("default", old)] == []
    assert await found(recalld, "The lamp is green") == [id]
