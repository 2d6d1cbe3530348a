"""The embedded index fulfils the contract; its file loses nothing and leaks nothing."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from sqlean import dbapi2 as sqlite
from tests.contract.index_suite import FIRST, HERE, USER, IndexSuite, both, entry, found, ids, kept, query, unit

from recalld_server.adapters.index.embedded.schema import SCHEMA
from recalld_server.adapters.index.embedded.store import EmbeddedIndex
from recalld_server.domain.bm25 import bm25, row_lengths, term_counts
from recalld_server.domain.errors import EntryInvalid, IndexUnavailable
from recalld_server.domain.filters import AnyOf, Comparison, Operator
from recalld_server.domain.memory import Scope
from recalld_server.ports.index import Index


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Index]:
    index = EmbeddedIndex(tmp_path / "index.db")
    yield index
    await index.close()


class TestEmbeddedIndex(IndexSuite):
    """With room for every vector in memory."""


class TestEmbeddedIndexWithoutMemory(IndexSuite):
    """Every vector is read from the file."""

    @pytest.fixture
    async def index(self, tmp_path: Path) -> AsyncIterator[Index]:
        index = EmbeddedIndex(tmp_path / "index.db", cache_bytes=0)
        yield index
        await index.close()


async def filled(path: Path) -> None:
    index = EmbeddedIndex(path)
    await index.apply("project", FIRST, [entry("a", 1, metadata={"k": "v"}), entry("b", 1)], [], 5)
    await index.close()


def write(content: bytes, *paths: Path) -> None:
    for path in paths:
        path.write_bytes(content)


async def contents(path: Path) -> tuple[list[tuple[str, int]], int]:
    index = EmbeddedIndex(path)
    try:
        rest = await kept(index)
        assert await found(index, both()) == {memory_id for memory_id, _ in rest}
        return rest, await index.mark("project", FIRST)
    finally:
        await index.close()


FULL = ([("a", 1), ("b", 1)], 5)
EMPTY: tuple[list[tuple[str, int]], int] = ([], 0)


async def test_a_file_that_was_closed_keeps_everything(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    await filled(path)
    assert await contents(path) == FULL
    index = EmbeddedIndex(path)
    wanted = Comparison("metadata.k", Operator.EQ, "v")
    assert await found(index, both(condition=wanted)) == {"a"}
    await index.apply("project", FIRST, [entry("a", 1, revision=2)], [], 6)
    await index.close()
    assert await contents(path) == ([("a", 2), ("b", 1)], 6)


async def test_a_file_that_was_not_closed_keeps_everything(tmp_path: Path) -> None:
    path, copy = tmp_path / "index.db", tmp_path / "copy.db"
    index = EmbeddedIndex(path)
    await index.apply("project", FIRST, [entry("a", 1), entry("b", 1)], [], 5)
    for suffix in ("", "-wal"):  # as a killed process leaves it
        shutil.copyfile(f"{path}{suffix}", f"{copy}{suffix}")
    await index.close()
    assert await contents(copy) == FULL


@pytest.mark.parametrize(
    "garbage",
    [b"", b"not a database at all" * 500, b"SQLite format 3\0" + bytes(4080)],
    ids=["empty", "text", "header"],
)
async def test_a_garbage_file_is_replaced(tmp_path: Path, garbage: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "index.db"
    write(garbage, *(Path(f"{path}{suffix}") for suffix in ("", "-wal", "-shm")))
    with caplog.at_level(logging.WARNING):
        assert await contents(path) == EMPTY
    assert "starts empty" in caplog.text
    await filled(path)
    assert await contents(path) == FULL


async def test_a_missing_file_is_made_without_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert await contents(tmp_path / "index.db") == EMPTY
    assert not caplog.records


@pytest.mark.parametrize(
    "change", [f"PRAGMA user_version={SCHEMA + 1}", "PRAGMA application_id=7", "DROP TABLE facets"]
)
async def test_a_file_of_another_schema_is_replaced(tmp_path: Path, change: str) -> None:
    path = tmp_path / "index.db"
    await filled(path)
    with closing(sqlite.connect(path)) as connection:
        connection.execute(change)
        connection.commit()
    assert await contents(path) == EMPTY


async def test_damage_makes_the_index_unavailable_and_then_empty(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    index = EmbeddedIndex(path)
    await index.apply("project", FIRST, [entry(f"m{i:04}", 1) for i in range(3000)], [], 5)
    await index.close()
    whole = path.read_bytes()
    page = whole.index(b"text of m1500") // 4096 * 4096
    write(whole[:page] + b"\xa5" * 4096 + whole[page + 4096 :], path)
    index = EmbeddedIndex(path)  # it was closed, so nothing is looked for
    with pytest.raises(IndexUnavailable):
        await kept(index)
    await index.close()
    assert await contents(path) == EMPTY


async def test_a_file_that_cannot_be_opened_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "index.db"
    path.mkdir()
    with pytest.raises(IndexUnavailable):
        EmbeddedIndex(path)
    assert path.is_dir()


async def test_keyword_scores_are_bm25_within_the_scope(index: Index) -> None:
    """One user among many, with changed and deleted rows of all lengths: others move no score."""
    rng = np.random.default_rng(5)
    live: dict[str, np.ndarray] = {}
    revision = 0

    async def change(names: list[str]) -> None:
        nonlocal revision
        revision += 1
        made = {
            name: np.concatenate(([0], rng.integers(1, 12, rng.integers(1, 12)))).astype(np.uint32) for name in names
        }
        live.update(made)
        puts = [entry(n, *t.tolist(), scope=USER if n[0] == "a" else Scope("bob")) for n, t in made.items()]
        await index.apply("project", FIRST, puts, [], revision)

    names = [f"a{i}" for i in range(40)] + [f"b{i}" for i in range(400)]
    await change(names)
    for _ in range(5):
        await change(rng.choice(names, 60, replace=False).tolist())
        gone = rng.choice(names, 20, replace=False).tolist()
        await index.apply("project", FIRST, [], gone, revision)
        for name in gone:
            live.pop(name, None)
        for terms in ([0], [3], [0, 1, 5, 11]):
            rows = [t for name, t in live.items() if name[0] == "a"]
            counts = term_counts(np.array(terms, np.uint32), rows)
            exact = dict(
                zip((n for n in live if n[0] == "a"), bm25(counts, row_lengths(rows).astype(float)), strict=True)
            )
            got = await index.nominate(HERE, FIRST, query(*terms), 100)
            assert dict(got.keyword) == pytest.approx({n: score for n, score in exact.items() if score}, rel=1e-6)
            assert [score for _, score in got.keyword] == sorted((score for _, score in got.keyword), reverse=True)


async def test_a_caller_who_leaves_early_leaves_nothing_stale(index: Index) -> None:
    await index.apply("project", FIRST, [entry("m", 1)], [], 1)
    await index.nominate(HERE, FIRST, both(), 10)  # the old vector is now in memory
    leaving = asyncio.ensure_future(
        index.apply("project", FIRST, [entry("m", 1, vector=unit(0, 1), revision=2)], [], 2)
    )
    await asyncio.sleep(0)
    leaving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    await index.apply("project", FIRST, [], [], 3)  # writes are in order: the change is done
    assert await kept(index) == [("m", 2)]
    got = await index.nominate(HERE, FIRST, both(), 10)
    assert [(name, round(score, 3)) for name, score in got.vector] == [("m", 0)]


async def test_vectors_of_another_dimension_are_refused(index: Index) -> None:
    with pytest.raises(EntryInvalid, match="has 4 dimensions, but its index has 8"):
        await index.apply("project", FIRST, [entry("m", 1, vector=np.ones(4, np.float32))], [], 1)
    assert await kept(index) == []


@pytest.mark.parametrize("cache_bytes", [0, 60_000, 2**20])
async def test_cosines_are_exact_however_much_is_in_memory(tmp_path: Path, cache_bytes: int) -> None:
    """5,000 rows of two users, some of them changed, deleted and expiring, against plain numpy."""
    index = EmbeddedIndex(tmp_path / "index.db", cache_bytes=cache_bytes)
    rng = np.random.default_rng(3)
    vectors = {f"m{i:04}": unit(*rng.standard_normal(8)) for i in range(5000)}
    owner = {name: USER if i % 3 else Scope("bob") for i, name in enumerate(vectors)}

    def made(name: str, revision: int) -> object:
        number = int(name[1:])
        return entry(
            name, 1, vector=vectors[name], scope=owner[name], metadata={"even": number % 2 == 0}, revision=revision
        )

    names = list(vectors)
    for at in range(0, 5000, 500):
        await index.apply("project", FIRST, [made(n, 1) for n in names[at : at + 500]], [], 1)  # type: ignore[misc]
    for turn in range(4):
        for scope in (USER, Scope("bob"), Scope()):
            for condition in (None, Comparison("metadata.even", Operator.EQ, True)):
                asked = unit(*rng.standard_normal(8))
                inside = [n for n in vectors if scope.admits(owner[n]) and (condition is None or int(n[1:]) % 2 == 0)]
                exact = {n: float(vectors[n].astype(np.float16).astype(np.float32) @ asked) for n in inside}
                best = sorted(exact.values(), reverse=True)[:50]
                got = (
                    await index.nominate(HERE, FIRST, query(vector=asked, scope=scope, condition=condition), 50)
                ).vector
                assert [score for _, score in got] == pytest.approx(best, abs=1e-5)
                assert all(score == pytest.approx(exact[n], abs=1e-5) for n, score in got)
                assert len(set(ids(got))) == 50
        for name in rng.choice(list(vectors), 300, replace=False).tolist():
            if name[-1] < "5":
                del vectors[name]
                await index.apply("project", FIRST, [], [name], 1)
            else:
                vectors[name] = unit(*rng.standard_normal(8))
                await index.apply("project", FIRST, [made(name, turn + 2)], [], 1)  # type: ignore[list-item]
    await index.close()


@pytest.mark.parametrize("field", ["metadata.name", "categories", "user_id"])
async def test_the_largest_filter_is_answered_soon(index: Index, field: str) -> None:
    """100 lists of 100 values, as requests may have them."""
    named = [tuple(f"{leaf}-{n}" for n in range(100)) for leaf in range(100)]
    stored = [entry("found", 1, metadata={"name": "99-99"}), entry("other", 1, metadata={"name": "nobody"})]
    await index.apply(HERE.project, FIRST, stored, [], 1)
    wanted = AnyOf(tuple(Comparison(field, Operator.IN, values) for values in named))
    async with asyncio.timeout(5):
        nominated = await index.nominate(HERE, FIRST, both(condition=wanted), 10)
    assert ids(nominated.keyword) == (["found"] if field == "metadata.name" else [])
