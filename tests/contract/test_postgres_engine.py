"""The PostgreSQL engine: snapshots, retries, and broken connections."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable

import psycopg
import pytest
from sqlalchemy import Connection
from tests.contract.ledger_world import (
    ELSEWHERE,
    GENERATION,
    HERE,
    FakeClock,
    added,
    asked,
    deleted,
    happened,
    head,
    memory,
    write,
)
from tests.contract.reads_suite import ReadsSuite
from tests.postgres import PostgresServer

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.sql import statistics
from recalld_server.adapters.sql.postgres import WRITERS, PostgresEngine
from recalld_server.domain.errors import LedgerUnavailable, RevisionConflict
from recalld_server.ports.ledger import Ledger

pytestmark = pytest.mark.needs_postgres


@pytest.fixture
async def ledger(engine: PostgresEngine, clock: FakeClock) -> SqlLedger:
    ledger = SqlLedger(engine, clock)
    await ledger.ensure_project("default", GENERATION)
    return ledger


async def test_a_read_sees_one_moment_and_writes_nothing(engine: PostgresEngine) -> None:
    def read(connection: Connection) -> tuple[int, int]:
        counted = "SELECT count(*) FROM keys"
        before = connection.exec_driver_sql(counted).scalar_one()
        with psycopg.connect(**engine.address) as other:
            other.execute("INSERT INTO keys SELECT 'k', '', '', '', '', '', '', '', '', 0")
        return before, connection.exec_driver_sql(counted).scalar_one()

    assert await engine.read(read) == (0, 0)
    with pytest.raises(LedgerUnavailable):
        await engine.read(lambda c: c.exec_driver_sql("DELETE FROM keys"))
    assert await engine.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM keys").scalar_one()) == 1


class TestReads(ReadsSuite):
    PARAMETER = "%s"
    SLOW = "SELECT pg_sleep(60)"


async def test_the_planner_learns_of_the_first_rows_without_waiting_for_autovacuum(
    engine: PostgresEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tests' server has none."""
    monkeypatch.setattr(engine._statistics, "_next", 0.0)
    monkeypatch.setattr(statistics, "PAUSE", 0.0)
    known = "SELECT count(*) FROM pg_stats WHERE tablename = 'many'"
    rows = "INSERT INTO many SELECT n FROM generate_series(1, {}) n"
    await engine.write(lambda c: c.exec_driver_sql("CREATE TABLE many (n int)"))
    await engine.write(lambda c: c.exec_driver_sql(rows.format(100)))
    await engine.write(lambda c: c.exec_driver_sql("SELECT 1"))
    assert await engine.read(lambda c: c.exec_driver_sql(known).scalar_one()) == 0  # a few do without
    await engine.write(lambda c: c.exec_driver_sql(rows.format(10_000)))
    async with asyncio.timeout(10):  # the write was answered before
        while not await engine.read(lambda c: c.exec_driver_sql(known).scalar_one()):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_of_two_in_a_deadlock_both_go_through(engine: PostgresEngine) -> None:
    pair = "CREATE TABLE pair AS SELECT n, 0 AS times FROM generate_series(1, 2) n"
    await engine.write(lambda c: c.exec_driver_sql(pair))
    met = threading.Barrier(2, timeout=10)
    tries: list[int] = []

    def writing(first: int, second: int) -> Callable[[Connection], None]:
        def work(connection: Connection) -> None:
            update = "UPDATE pair SET times = times + 1 WHERE n = {}"
            connection.exec_driver_sql(update.format(first))
            tries.append(first)
            if len(tries) <= 2:
                met.wait()
            connection.exec_driver_sql(update.format(second))

        return work

    await asyncio.gather(engine.write(writing(1, 2)), engine.write(writing(2, 1)))
    assert len(tries) == 3
    assert await engine.read(lambda c: c.exec_driver_sql("SELECT sum(times) FROM pair").scalar_one()) == 4


async def test_connections_from_before_a_restart_cost_nobody_anything(
    engine: PostgresEngine, ledger: Ledger, postgres: PostgresServer
) -> None:
    """What broke before its commit is done again on a new connection."""
    await asyncio.gather(*(head(ledger) for _ in range(8)))
    await asyncio.gather(*(write(ledger, added(f"m{n}")) for n in range(8)))
    ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'recalld'"
    assert len(postgres.run(ended)) > 1
    assert await head(ledger) == 8
    seqs = await asyncio.gather(*(write(ledger, added(f"n{n}")) for n in range(8)))
    assert sorted(commit.seq for commit in seqs) == list(range(9, 17))


async def test_a_commit_whose_answer_was_lost_is_not_repeated(engine: PostgresEngine, postgres: PostgresServer) -> None:
    """Nobody can know whether it was made."""
    runs = 0

    def work(connection: Connection) -> None:
        nonlocal runs
        runs += 1
        connection.exec_driver_sql("CREATE TABLE made (n int)")
        pid = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one()
        threading.Thread(target=postgres.run, args=(f"SELECT pg_terminate_backend({pid}, 5000)",)).start()
        time.sleep(0.5)

    with pytest.raises(LedgerUnavailable):
        await engine.write(work)
    assert runs == 1


async def test_closing_finishes_what_was_accepted(ledger: SqlLedger) -> None:
    accepted = [asyncio.create_task(write(ledger, added(f"m{n}"))) for n in range(50)]
    await asyncio.sleep(0)
    assert 0 < ledger.queued <= 50 - WRITERS
    await ledger.close()
    assert sorted(commit.seq for commit in await asyncio.gather(*accepted)) == list(range(1, 51))
    for late in (write(ledger, added("late")), head(ledger), ledger.compact()):
        with pytest.raises(LedgerUnavailable):
            await asyncio.wait_for(late, 5)


class Gate:
    """Holds a line until everything that shall share a transaction stands in it."""

    def __init__(self, engine: PostgresEngine, line: str) -> None:
        self._open = threading.Event()
        self._held = asyncio.create_task(engine.write(lambda _: self._open.wait(10), line=line))

    async def let(self) -> None:
        self._open.set()
        await self._held


async def test_who_stands_in_line_shares_a_transaction_and_no_failure(
    engine: PostgresEngine, ledger: SqlLedger
) -> None:
    gate = Gate(engine, "default")
    await asyncio.sleep(0.1)
    changes = [
        asyncio.create_task(
            write(ledger, added(f"m{n}"), *([] if n % 2 else [deleted(memory("x", revision=1))]), request=asked(str(n)))
        )
        for n in range(10)
    ]
    await asyncio.sleep(0)
    changes[3].cancel()
    await asyncio.sleep(0)
    await gate.let()
    answers = await asyncio.gather(*changes, return_exceptions=True)
    assert [isinstance(answer, RevisionConflict) for answer in answers] == [n % 2 == 0 for n in range(10)]
    assert isinstance(answers[3], asyncio.CancelledError)
    assert [(event.seq, event.memory_id) for event in await happened(ledger)] == [
        *((1, "m1"), (2, "m5"), (3, "m7"), (4, "m9"))
    ]
    assert await ledger.outcome(HERE, "Add", "0") is None
    commits = "SELECT count(DISTINCT pg_xact_commit_timestamp(xmin)) FROM outcomes"
    assert await engine.read(lambda c: c.exec_driver_sql(commits).scalar_one()) == 1


async def test_of_a_transaction_that_broke_each_goes_by_itself(
    engine: PostgresEngine, ledger: SqlLedger, postgres: PostgresServer
) -> None:
    killed: list[int] = []

    def kill(connection: Connection) -> None:
        if not killed:
            killed.append(connection.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
            postgres.run(f"SELECT pg_terminate_backend({killed[0]}, 5000)")
            connection.exec_driver_sql("SELECT 1")

    gate = Gate(engine, "default")
    await asyncio.sleep(0.1)
    before = [asyncio.create_task(write(ledger, added(f"a{n}"))) for n in range(3)]
    broken = asyncio.create_task(engine.write(kill, line="default"))
    after = [asyncio.create_task(write(ledger, added(f"b{n}"))) for n in range(3)]
    await asyncio.sleep(0)
    await gate.let()
    assert [commit.seq for commit in await asyncio.gather(*before, *after)] == [1, 2, 3, 4, 5, 6]
    await broken
    assert killed


async def test_a_fault_after_a_change_leaves_its_line_open(
    engine: PostgresEngine, ledger: SqlLedger, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise RuntimeError("the statistics are broken")

    monkeypatch.setattr(engine._statistics, "look", broken)
    for n in range(3):
        assert (await asyncio.wait_for(write(ledger, added(f"m{n}")), 5)).seq == n + 1
    assert "changes failed" in caplog.text


async def test_a_busy_line_leaves_room_for_others(engine: PostgresEngine, ledger: SqlLedger) -> None:
    await ledger.ensure_project("other", GENERATION)
    busy = [asyncio.create_task(write(ledger, added(f"m{n}"))) for n in range(200)]
    await asyncio.sleep(0)
    await write(ledger, added("n"), access=ELSEWHERE)
    assert sum(task.done() for task in busy) < 100
    await asyncio.gather(*busy)
    assert engine.queued == 0
