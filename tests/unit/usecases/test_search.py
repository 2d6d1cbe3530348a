"""The order in which a search calls its engines."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recalld_server.domain.commands import AddCommand
from recalld_server.domain.errors import EmbedderUnavailable, IndexUnavailable
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.domain.ranking import Mode
from recalld_server.domain.vectors import FloatMatrix
from recalld_server.usecases.search.results import SearchQuery
from recalld_server.wiring.composition import build
from recalld_server.wiring.parts import Recalld
from recalld_server.wiring.settings import Settings

HERE, USER = Access("default", principal="key"), Scope(user_id="u")


class Model:
    """Waits as long as it is told, or fails."""

    model, dimension = "test/model", 4

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.begun, self.go = asyncio.Event(), asyncio.Event()
        self.go.set()
        self.broken = False

    async def embed(self, texts: Sequence[str], **_: object) -> FloatMatrix:
        self.asked += texts
        self.begun.set()
        await asyncio.sleep(0)  # as one does that works elsewhere
        await self.go.wait()
        if self.broken:
            raise EmbedderUnavailable
        return np.tile(np.array([1, 0, 0, 0], np.float32), (len(texts), 1))

    async def close(self) -> None:
        """Holds nothing."""


class Watched:
    """An index in front of the real one: notes which legs were asked for, and may be away."""

    def __init__(self, index: Any) -> None:
        self._index = index
        self.legs: list[str] = []
        self.away = self.breaks_off = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._index, name)

    def require(self) -> None:
        if self.away:
            raise IndexUnavailable

    async def nominate(self, access: Any, generation: Any, query: Any, depth: int) -> Any:
        self.legs.append("words" * bool(len(query.terms)) + "meaning" * (query.vector is not None))
        if self.breaks_off:
            raise IndexUnavailable
        return await self._index.nominate(access, generation, query, depth)


@pytest.fixture
async def model() -> Model:
    return Model()


@pytest.fixture
async def recalld(tmp_path: Path, model: Model) -> AsyncIterator[Recalld]:
    wired = await build(Settings(data_dir=tmp_path), model=model)
    await wired.projection.catch_up("default")
    messages = [Message("user", text) for text in ("The cat sleeps", "A dog barks", "Nothing else")]
    await wired.add.add(HERE, AddCommand(USER, messages, infer=False))
    model.asked.clear()
    model.begun.clear()
    yield wired
    await wired.close()


@pytest.fixture
def index(recalld: Recalld, monkeypatch: pytest.MonkeyPatch) -> Watched:
    watched = Watched(recalld.index)
    monkeypatch.setattr(recalld.search, "_index", watched)
    return watched


async def found(recalld: Recalld, mode: Mode = Mode.HYBRID) -> set[str]:
    query = SearchQuery("What does the cat do?", USER, mode=mode)
    ranked = await recalld.search.rank(HERE, query)
    return {hit.memory.text async for hit in recalld.search.hits(HERE, ranked, query)}


async def test_words_are_looked_for_while_the_model_works(recalld: Recalld, model: Model, index: Watched) -> None:
    model.go.clear()
    search = asyncio.create_task(found(recalld))
    await model.begun.wait()
    assert index.legs == ["words"]
    model.go.set()
    assert await search == {"The cat sleeps", "A dog barks", "Nothing else"}
    assert index.legs == ["words", "meaning"]


@pytest.mark.parametrize(("mode", "legs"), [(Mode.KEYWORD, ["words"]), (Mode.VECTOR, ["meaning"])])
async def test_a_mode_asks_for_its_own_leg_alone(
    recalld: Recalld, model: Model, index: Watched, mode: Mode, legs: list[str]
) -> None:
    assert "The cat sleeps" in await found(recalld, mode)
    assert index.legs == legs
    assert bool(model.asked) is (mode is Mode.VECTOR)


async def test_without_an_index_the_model_is_not_asked(recalld: Recalld, model: Model, index: Watched) -> None:
    index.away = True
    with pytest.raises(IndexUnavailable):
        await found(recalld)
    assert model.asked == []


async def test_when_the_model_fails_nothing_is_left_running(recalld: Recalld, model: Model, index: Watched) -> None:
    model.broken = True
    before = asyncio.all_tasks()
    with pytest.raises(EmbedderUnavailable):
        await found(recalld)
    assert asyncio.all_tasks() == before
    assert index.legs == ["words"]


async def test_a_leg_that_fails_while_the_model_works_fails_the_search(
    recalld: Recalld, model: Model, index: Watched
) -> None:
    index.breaks_off = True
    before = asyncio.all_tasks()
    with pytest.raises(IndexUnavailable):
        await found(recalld)
    assert asyncio.all_tasks() == before
    assert "words" in index.legs


async def test_a_model_that_fails_at_once_leaves_no_leg_behind(
    recalld: Recalld, model: Model, index: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def embed(*_: object, **__: object) -> FloatMatrix:
        raise EmbedderUnavailable

    monkeypatch.setattr(model, "embed", embed)
    before = asyncio.all_tasks()
    with pytest.raises(EmbedderUnavailable):
        await found(recalld)
    assert asyncio.all_tasks() == before
    assert index.legs == []


async def test_a_cancelled_search_takes_its_leg_along(recalld: Recalld, model: Model, index: Watched) -> None:
    model.go.clear()
    before = asyncio.all_tasks()
    search = asyncio.create_task(found(recalld))
    await model.begun.wait()
    search.cancel()
    with pytest.raises(asyncio.CancelledError):
        await search
    assert asyncio.all_tasks() == before


async def test_what_is_committed_meanwhile_is_not_counted_as_seen(
    recalld: Recalld, model: Model, index: Watched
) -> None:
    model.go.clear()
    search = asyncio.create_task(recalld.search.rank(HERE, SearchQuery("What does the cat do?", USER)))
    await model.begun.wait()
    before = await recalld.ledger.positions(HERE)
    model.go.set()
    late = AddCommand(USER, [Message("user", "The cat ate")], infer=False)
    added, ranked = await asyncio.gather(recalld.add.add(HERE, late), search)
    assert added.results
    assert ranked.seq == before.head < (await recalld.ledger.positions(HERE)).head
