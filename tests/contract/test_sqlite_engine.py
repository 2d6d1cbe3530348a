"""The SQLite engine: its reads, and fair turns at its writer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import closing
from pathlib import Path

import pytest
import sqlean
from sqlalchemy import Connection
from tests.contract.reads_suite import SOON, ReadsSuite

from recalld_server.adapters.sql.engine import SqliteEngine
from recalld_server.adapters.sql.sqlite_writer import GROUP
from recalld_server.domain.errors import LedgerUnavailable


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    engine = SqliteEngine(tmp_path / "some.db", unavailable=LedgerUnavailable)
    await engine.write(lambda c: c.exec_driver_sql("CREATE TABLE made (line TEXT)"))
    yield engine
    await engine.close()


class TestReads(ReadsSuite):
    PARAMETER = "?"
    SLOW = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000000) SELECT count(*) FROM n"


async def test_projects_take_turns_at_the_writer(engine: SqliteEngine) -> None:
    go, made = threading.Event(), []

    def change(line: str) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            connection.exec_driver_sql("INSERT INTO made VALUES (?)", (line,))
            made.append(line)

        return work

    held = asyncio.create_task(engine.write(lambda _: go.wait(SOON)))
    await asyncio.sleep(0.05)
    flood = [asyncio.create_task(engine.write(change("much"), "much")) for _ in range(10 * GROUP)]
    await asyncio.sleep(0)
    few = [asyncio.create_task(engine.write(change(line), line)) for line in ("a", "b", "a")]
    await asyncio.sleep(0)
    go.set()
    await asyncio.gather(held, *few)
    assert made.index("a") < 4
    assert made.index("b") < 4
    await asyncio.gather(*flood)
    assert made.count("much") == 10 * GROUP
    assert await engine.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM made").scalar_one()) == len(made)
    assert engine.queued == 0


async def test_a_transaction_that_can_not_begin_fails_the_change_it_was_for(engine: SqliteEngine) -> None:
    """It is not tried for ever, and the writer goes on."""
    raw = engine.writer_engine.raw_connection().driver_connection
    raw.execute("PRAGMA query_only=ON")
    for _ in range(2):
        with pytest.raises(LedgerUnavailable):
            await asyncio.wait_for(engine.write(lambda c: c.exec_driver_sql("DELETE FROM made")), SOON)
    raw.execute("PRAGMA query_only=OFF")
    await engine.write(lambda c: c.exec_driver_sql("INSERT INTO made VALUES ('x')"))


async def test_closing_finishes_what_was_accepted(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "other.db", unavailable=LedgerUnavailable)
    done: list[int] = []
    accepted = [asyncio.create_task(engine.write(lambda _, n=n: done.append(n), str(n % 3))) for n in range(200)]
    accepted += [asyncio.create_task(engine.read(lambda _: done.append(-1), "p")) for _ in range(20)]
    await asyncio.sleep(0)
    await engine.close()
    await asyncio.gather(*accepted)
    assert len(done) == 220
    for late in (engine.write(lambda _: None), engine.read(lambda _: None)):
        with pytest.raises(LedgerUnavailable):
            await late


async def test_a_file_that_others_open_at_the_moment_is_opened(tmp_path: Path) -> None:
    """The switch to a write-ahead log does not wait for a lock by itself."""
    with closing(sqlean.connect(tmp_path / "new.db", isolation_level=None)) as other:
        other.execute("CREATE TABLE t (x)")
        other.execute("BEGIN IMMEDIATE")
        other.execute("INSERT INTO t VALUES (1)")
        opening = asyncio.create_task(opened_at(tmp_path / "new.db"))
        await asyncio.sleep(0.3)
        assert not opening.done()
        other.execute("COMMIT")
    engine = await opening
    assert await engine.read(lambda c: c.exec_driver_sql("SELECT x FROM t").scalar_one()) == 1
    await engine.close()


async def opened_at(path: Path) -> SqliteEngine:
    engine = SqliteEngine(path, unavailable=LedgerUnavailable)
    await engine.write(lambda c: c.exec_driver_sql("SELECT 1"))
    return engine
