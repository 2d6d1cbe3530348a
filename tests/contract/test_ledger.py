"""The ledger in a SQLite file fulfils the contract, and its file is durable."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect
from tests.contract.ledger_suite import LedgerSuite
from tests.contract.ledger_world import (
    ALICE,
    GENERATION,
    HERE,
    START,
    FakeClock,
    added,
    asked,
    deleted,
    features,
    happened,
    head,
    live,
    memory,
    one,
    said,
    write,
)

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.schema import tables
from recalld_server.adapters.ledger.store import HEAD, MIGRATIONS, open_sqlite
from recalld_server.adapters.sql.engine import SqliteEngine
from recalld_server.domain.errors import LedgerUnavailable, RevisionConflict
from recalld_server.domain.revision import Commit
from recalld_server.ports.ledger import Ledger

ROOT = Path(__file__).parents[2]


async def opened(path: Path, clock: FakeClock) -> SqlLedger:
    ledger = SqlLedger(await open_sqlite(path), clock)
    for project in ("default", "other"):
        await ledger.ensure_project(project, GENERATION)
    return ledger


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
async def ledger(path: Path, clock: FakeClock) -> AsyncIterator[Ledger]:
    ledger = await opened(path, clock)
    yield ledger
    await ledger.close()


@pytest.fixture
async def engine(path: Path) -> AsyncIterator[SqliteEngine]:
    engine = await open_sqlite(path)
    yield engine
    await engine.close()


class TestSqliteLedger(LedgerSuite):
    """See the suite."""


async def test_everything_is_there_after_a_restart(path: Path, clock: FakeClock) -> None:
    ledger = await opened(path, clock)
    identity = await ledger.identity()
    put = added("m", add_id="add", source_positions=(0,), features=features(3))
    first = await one(ledger, put, conversations=[said("told")], request=asked(), answer={"k": 1})
    await ledger.close()
    clock.time = START
    ledger = await opened(path, clock)
    try:
        assert await ledger.identity() == identity
        assert len(identity[1]) == 32
        assert await ledger.memories(HERE, ["m"]) == {"m": first}
        assert (await ledger.outcome(HERE, "Add", "r")) is not None
        assert await ledger.pending("default", GENERATION, 10) == ["m"]  # nobody had settled it
        assert (await ledger.positions(HERE)).applied == 0
        assert (await ledger.features(HERE, ["m"], GENERATION))["m"].terms.tolist() == [3]
        assert (await write(ledger, added("n"))).seq == 2
        assert (await happened(ledger, after=1))[0].time == START
    finally:
        await ledger.close()


async def test_ledgers_differ_in_identity(tmp_path: Path, clock: FakeClock) -> None:
    ledgers = [await opened(tmp_path / name, clock) for name in ("a.db", "b.db")]
    (a, a_secret), (b, b_secret) = [await ledger.identity() for ledger in ledgers]
    assert a != b
    assert a_secret != b_secret
    for ledger in ledgers:
        await ledger.close()


async def test_what_was_answered_survives_a_kill(path: Path, clock: FakeClock) -> None:
    """A child commits as fast as it can and says what was answered; it is killed in the middle."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-c", CHILD, str(path)),
        stdout=asyncio.subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*filter(None, sys.path), str(ROOT)])},
    )
    assert child.stdout is not None
    told = [await child.stdout.readline() for _ in range(30)]
    child.send_signal(signal.SIGKILL)
    told += (await child.stdout.read()).splitlines(keepends=True)
    assert await child.wait() == -signal.SIGKILL
    answered = [int(line) for line in told if line.endswith(b"\n")]
    assert answered == list(range(2, 2 * len(answered) + 1, 2))
    ledger = await opened(path, clock)
    try:
        events = await happened(ledger)
        assert [event.seq for event in events] == list(range(1, len(events) + 1))
        assert len(events) % 2 == 0  # a change is there as a whole
        assert len(events) >= answered[-1]
        assert await head(ledger) == len(events)
        assert len(await ledger.pending("default", GENERATION, 100_000)) == len(events)
        for event in events:
            outcome = await ledger.outcome(HERE, "Add", event.request_id)
            assert outcome is not None
            assert outcome.seq - event.seq in (0, 1)
        assert [m.sources[0].position for m in [event.after for event in events] if m] == list(range(len(events)))
        assert await ledger.sound()
    finally:
        await ledger.close()


CHILD = """
import asyncio, sys
from pathlib import Path
from tests.contract.ledger_world import *
from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.store import open_sqlite

async def main():
    ledger = SqlLedger(await open_sqlite(Path(sys.argv[1])), FakeClock())
    await ledger.ensure_project("default", GENERATION)
    for n in range(1_000_000):
        puts = [added(f"{n} {part}", add_id=f"{n}", source_positions=(part,)) for part in range(2)]
        told = said("a", "b", add_id=f"{n}", key="talk")
        commit = await write(ledger, *puts, conversations=[told], request=asked(f"request {n}"))
        print(commit.seq, flush=True)

asyncio.run(main())
"""


async def test_two_openers_of_a_new_file_agree(path: Path, clock: FakeClock) -> None:
    engines = await asyncio.gather(*(open_sqlite(path) for _ in range(3)))
    ledgers = [SqlLedger(engine, clock) for engine in engines]
    assert len({await ledger.identity() for ledger in ledgers}) == 1
    for ledger in ledgers:
        await ledger.close()


@pytest.mark.parametrize("content", [b"this is no ledger at all" * 300, b"SQLite format 3\0" + b"\xff" * 5000])
async def test_a_file_that_is_no_ledger_is_refused(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    _fill(path, content)
    with caplog.at_level(logging.CRITICAL), pytest.raises(LedgerUnavailable):
        await asyncio.wait_for(open_sqlite(path), 20)
    assert _content(path) == content


def _fill(path: Path, content: bytes) -> None:
    path.write_bytes(content)


def _content(path: Path) -> bytes:
    return path.read_bytes()


async def test_a_newer_ledger_is_refused(path: Path, clock: FakeClock) -> None:
    engine = await open_sqlite(path)
    await engine.write(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    await engine.close()
    with pytest.raises(LedgerUnavailable, match="newer"):
        await open_sqlite(path)


def shape(connection: Connection) -> dict[str, Any]:
    """Tables with their columns, keys and indexes as the database tells them."""
    found = inspect(connection)
    indexes = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
    return {
        "tables": {
            table: (
                [(c["name"], str(c["type"]), c["nullable"], c["default"]) for c in found.get_columns(table)],
                found.get_pk_constraint(table)["constrained_columns"],
            )
            for table in found.get_table_names()
            if table != "alembic_version"
        },
        "indexes": [tuple(row) for row in connection.exec_driver_sql(indexes)],
    }


async def test_migrations_make_the_tables(engine: SqliteEngine, tmp_path: Path) -> None:
    migrated = await engine.read(shape)
    fresh = create_engine(f"sqlite:///{tmp_path / 'fresh.db'}")
    with fresh.begin() as connection:
        tables.metadata.create_all(connection)
        assert migrated == shape(connection)
    fresh.dispose()
    assert set(migrated["tables"]) == set(tables.metadata.tables)
    differences = await engine.read(lambda c: compare_metadata(MigrationContext.configure(c), tables.metadata))
    assert differences == []


async def test_the_newest_migration_is_the_head(engine: SqliteEngine) -> None:
    assert ScriptDirectory(str(MIGRATIONS)).get_heads() == [HEAD]
    version = await engine.read(lambda c: c.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one())
    assert version == HEAD


async def test_the_file_is_kept_as_promised(engine: SqliteEngine) -> None:
    """Design, section 2: WAL, every commit on the disk, and nothing left of what was deleted."""
    pragmas = {"journal_mode": "wal", "synchronous": 2, "secure_delete": 1}

    def told(connection: Connection) -> dict[str, Any]:
        return {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar_one() for name in pragmas}

    assert await engine.write(told) == pragmas
    assert await engine.read(told) == pragmas


async def test_a_full_disk_fails_every_change_it_takes_along(
    engine: SqliteEngine, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    """SQLite then undoes the whole transaction, with the changes of other callers in the same group."""
    ledger = SqlLedger(engine, clock)
    await ledger.ensure_project("default", GENERATION)

    def limit(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 300}")

    await engine.write(limit)
    small = [write(ledger, added(f"m{n}")) for n in range(8)]
    large = write(ledger, added("large", "x" * 4_000_000))
    with caplog.at_level(logging.CRITICAL):
        answers = await asyncio.gather(*small[:4], large, *small[4:], return_exceptions=True)
    names = [*(f"m{n}" for n in range(4)), "large", *(f"m{n}" for n in range(4, 8))]
    assert isinstance(answers[4], LedgerUnavailable)
    assert {type(answer) for answer in answers} <= {Commit, LedgerUnavailable}
    stored = {name for name, answer in zip(names, answers, strict=True) if not isinstance(answer, LedgerUnavailable)}
    assert set(await live(ledger)) == stored
    await engine.write(lambda c: c.exec_driver_sql("PRAGMA max_page_count = 1000000"))
    assert (await write(ledger, added("after"))).seq == len(stored) + 1


async def test_a_change_given_up_before_its_turn_is_not_made(engine: SqliteEngine) -> None:
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    made: list[str] = []

    def slow(_: Connection) -> None:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)

    def making(name: str) -> Callable[[Connection], None]:
        return lambda _: made.append(name)

    first = asyncio.create_task(engine.write(slow))
    await asyncio.sleep(0.05)
    second, third = (asyncio.create_task(engine.write(making(name))) for name in ("second", "third"))
    await asyncio.sleep(0)
    second.cancel()
    await asyncio.sleep(0)
    gate.set()
    await asyncio.gather(first, third)
    assert made == ["third"]


async def test_closing_finishes_what_was_accepted(path: Path, clock: FakeClock) -> None:
    ledger = await opened(path, clock)
    accepted = [asyncio.create_task(write(ledger, added(f"m{n}"))) for n in range(100)]
    await asyncio.sleep(0)
    await ledger.close()
    assert [commit.seq for commit in await asyncio.gather(*accepted)] == list(range(1, 101))
    for late in (write(ledger, added("late")), ledger.memories(HERE, ["m1"]), ledger.positions(HERE)):
        with pytest.raises(LedgerUnavailable):
            await asyncio.wait_for(late, 5)


async def test_features_come_from_the_cache_and_from_the_file_alike(path: Path, clock: FakeClock) -> None:
    ledger = await opened(path, clock)
    await write(ledger, *(added(f"m{n}", conversation="talk", position=n, features=features(n)) for n in range(3)))
    warm = [await ledger.pool(HERE, ALICE, None, ["m1"], GENERATION, START) for _ in range(2)]
    await ledger.close()
    ledger = await opened(path, clock)
    cold = await ledger.pool(HERE, ALICE, None, ["m1"], GENERATION, START)
    await ledger.close()
    for pool in (*warm, cold):
        told = {id: terms.tolist() for id, terms in zip(pool.ids, pool.terms, strict=True)}
        assert told == {"m0": [0], "m1": [1], "m2": [2]}


async def test_refused_changes_of_a_group_leave_the_others(engine: SqliteEngine, clock: FakeClock) -> None:
    """All of one group: what fails is undone to its own savepoint."""
    ledger = SqlLedger(engine, clock)
    await ledger.ensure_project("default", GENERATION)
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    hold = asyncio.create_task(engine.write(lambda _: asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(10)))
    await asyncio.sleep(0.05)
    changes = [
        asyncio.create_task(
            write(ledger, added(f"m{n}"), *([] if n % 2 else [deleted(memory("x", revision=1))]), request=asked(str(n)))
        )
        for n in range(10)
    ]
    await asyncio.sleep(0)
    gate.set()
    answers = await asyncio.gather(hold, *changes, return_exceptions=True)
    assert [isinstance(answer, RevisionConflict) for answer in answers[1:]] == [n % 2 == 0 for n in range(10)]
    assert [event.memory_id for event in await happened(ledger)] == ["m1", "m3", "m5", "m7", "m9"]
    assert [event.seq for event in await happened(ledger)] == [1, 2, 3, 4, 5]
    assert await ledger.outcome(HERE, "Add", "0") is None
