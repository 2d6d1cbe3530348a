"""Clearing a SQLite file page by page removes all remains of deleted rows and changes nothing else."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import sqlean
from sqlalchemy import Connection

from recalld_server.adapters.sql.engine import SqliteEngine
from recalld_server.domain.errors import LedgerUnavailable

LENGTHS = (3, 40, 300, 2_000, 9_000)  # characters: many rows a page, a few, and rows that overflow theirs
SECRET = "xanthippe"


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    engine = SqliteEngine(tmp_path / "rows.db", unavailable=LedgerUnavailable)
    await engine.write(lambda c: c.exec_driver_sql("CREATE TABLE rows (name TEXT PRIMARY KEY, content BLOB)"))
    yield engine
    await engine.close()


def row(choose: random.Random, word: str, number: int) -> tuple[str, bytes]:
    return f"{choose.randrange(10**6)}-{number}", (f"{word} {number} " * 2_000)[: choose.choice(LENGTHS)].encode()


async def write(engine: SqliteEngine, sql: str, rows: list[tuple[str | bytes, ...]]) -> None:
    await engine.write(lambda c: c.exec_driver_sql(sql, rows))


async def content(engine: SqliteEngine) -> list[tuple[str, bytes]]:
    return await engine.read(lambda c: [tuple(r) for r in c.exec_driver_sql("SELECT * FROM rows ORDER BY name")])


async def sound(engine: SqliteEngine) -> bool:
    def check(connection: Connection) -> bool:
        return connection.exec_driver_sql("PRAGMA integrity_check").scalar_one() == "ok"

    return await engine.read(check)


def traces(engine: SqliteEngine) -> list[str]:
    files = engine.path.parent.glob(f"{engine.path.name}*")
    return [file.name for file in files if SECRET.encode() in file.read_bytes()]


async def filled(engine: SqliteEngine, seed: int) -> None:
    """Rows with the secret among others, moved about, and then the former deleted."""
    choose = random.Random(seed)
    secret = [row(choose, SECRET, n) for n in range(600)]
    await write(engine, "INSERT INTO rows VALUES (?, ?)", secret)
    for start in range(0, 1200, 100):
        await write(engine, "INSERT INTO rows VALUES (?, ?)", [row(choose, "other", n + start) for n in range(100)])
    for name, _ in choose.sample(secret, 200):
        await write(engine, "UPDATE rows SET content = ? WHERE name = ?", [(row(choose, SECRET, 0)[1], name)])
    await write(engine, "DELETE FROM rows WHERE name = ?", [(name,) for name, _ in secret])


async def test_copies_that_secure_delete_leaves_are_cleared(engine: SqliteEngine) -> None:
    await filled(engine, seed=2)
    await asyncio.to_thread(emptied, engine.path)
    assert traces(engine) == ["rows.db"]  # or this test shows nothing
    before = await content(engine)
    size = engine.path.stat().st_size
    assert await engine.compact() is True
    assert traces(engine) == []
    assert (await content(engine), engine.path.stat().st_size) == (before, size)
    assert await sound(engine)


def emptied(path: Path) -> None:
    connection = sqlean.connect(path)
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


@pytest.mark.parametrize("seed", range(4))
async def test_others_go_on_writing_and_lose_nothing(engine: SqliteEngine, seed: int) -> None:
    await filled(engine, seed)
    choose = random.Random(seed)
    expected = dict(await content(engine))
    clearing = asyncio.create_task(engine.compact())
    number = 0
    while not clearing.done():
        name, text = row(choose, "late", number)
        await write(engine, "INSERT INTO rows VALUES (?, ?)", [(name, text)])
        expected[name] = text
        number += 1
        if number % 3 == 0:
            gone = choose.choice(list(expected))
            await write(engine, "DELETE FROM rows WHERE name = ?", [(gone,)])
            del expected[gone]
    assert number > 10
    assert await clearing is True
    assert dict(await content(engine)) == expected
    assert await sound(engine)
    assert await engine.compact() is True
    assert traces(engine) == []


async def test_rows_that_look_like_pages_stay_as_they_are(engine: SqliteEngine) -> None:
    """Pages that rows overflow to hold whatever was stored: also what begins as a page of a tree does."""
    looks = [bytes([kind, 0, 0, 0, 1, 15, 0, 0]) for kind in (2, 5, 10, 13)]
    rows = [(f"{n}", (look * 4_000)[n:]) for n, look in enumerate(looks * 8)]
    await write(engine, "INSERT INTO rows VALUES (?, ?)", rows)
    await write(engine, "DELETE FROM rows WHERE name = ?", [(f"{n}",) for n in range(0, 32, 5)])
    before = await content(engine)
    assert await engine.compact() is True
    assert await content(engine) == before
    assert await sound(engine)


async def test_a_file_of_another_form_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    connection = sqlean.connect(path)
    connection.execute("PRAGMA auto_vacuum=FULL")
    connection.execute("CREATE TABLE rows (name TEXT PRIMARY KEY, content BLOB)")
    connection.close()
    engine = SqliteEngine(path, unavailable=LedgerUnavailable)
    assert await engine.compact() is False
    await engine.close()
