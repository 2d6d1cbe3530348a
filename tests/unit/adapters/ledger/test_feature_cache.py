"""The cache of features always agrees with the table, whatever was evicted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import Connection, delete, insert

from recalld_server.adapters.ledger.reads.feature_cache import FeatureCache, Found
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.revision import Generation

ROWS, DIMENSION = 40, 8
NOW = Generation(1, "m", DIMENSION, 1)


def key(row: int) -> tuple[str, int]:
    return f"m{row}", 1


def filled(connection: Connection) -> None:
    rows = [
        {
            "project": "p",
            "generation": NOW.number,
            "memory_id": f"m{row}",
            "text_revision": 1,
            "terms": np.array([7, row], "<u4").tobytes(),
            "vector": np.full(DIMENSION, row, "<f2").tobytes(),
        }
        for row in range(ROWS)
    ]
    connection.execute(insert(t.features), rows)


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SqlEngine]:
    opened = await open_sqlite(tmp_path / "ledger.db")
    await opened.write(filled)
    yield opened
    await opened.close()


async def got(engine: SqlEngine, cache: FeatureCache, rows: Sequence[int]) -> Found:
    found = await engine.read(lambda c: cache.get(c, "p", NOW, [key(row) for row in rows]))
    there = [row for row in rows if row < ROWS]
    assert [rows[place] for place in found.present.tolist()] == there
    assert np.array_equal(found.vectors, np.repeat(np.array(there, np.float32)[:, None], DIMENSION, axis=1))
    assert [terms.tolist() for terms in found.terms] == [[7, row] for row in there]
    return found


@pytest.mark.parametrize("capacity", [1, 3, 16, 17, 100])
async def test_it_gives_what_there_is_and_keeps_to_its_bound(engine: SqlEngine, capacity: int) -> None:
    cache, random = FeatureCache(capacity), np.random.default_rng(capacity)
    for _ in range(60):
        await got(engine, cache, random.integers(0, ROWS + 5, random.integers(0, 30)).tolist())
        assert len(cache) <= min(capacity, ROWS)
    assert len(cache) == min(capacity, ROWS)


async def test_what_was_used_last_stays(engine: SqlEngine) -> None:
    cache = FeatureCache(4)
    await got(engine, cache, [0, 1, 2, 3])
    await got(engine, cache, [0, 2])
    await got(engine, cache, [4, 5])
    await engine.write(lambda c: c.execute(delete(t.features)))
    found = await engine.read(lambda c: cache.get(c, "p", NOW, [key(row) for row in range(6)]))
    assert found.present.tolist() == [0, 2, 4, 5]
    assert found.vectors[:, 0].tolist() == [0, 2, 4, 5]


async def test_what_was_given_out_does_not_change(engine: SqlEngine) -> None:
    cache = FeatureCache(2)
    found = await got(engine, cache, [8, 9])
    await got(engine, cache, [1, 2, 3])
    assert found.vectors[:, 0].tolist() == [8, 9]


async def test_generations_and_dimensions_keep_apart(engine: SqlEngine) -> None:
    cache = FeatureCache(8)
    await got(engine, cache, [1])
    for other in (Generation(2, "m", DIMENSION, 1), Generation(3, "n", 4, 1)):
        found = await engine.read(lambda c, other=other: cache.get(c, "p", other, [key(1)]))  # type: ignore[misc]
        assert found.vectors.shape == (0, other.dimension)
    cache.clear()
    assert len(cache) == 0
    await got(engine, cache, [1])
