"""The ledger in PostgreSQL fulfils the contract, also with several servers."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Connection
from tests.contract.ledger_suite import LedgerSuite
from tests.contract.ledger_world import ALICE, ELSEWHERE, GENERATION, HERE, SECOND, FakeClock, added, write
from tests.contract.operations_suite import OperationsSuite
from tests.contract.test_operations import payloads
from tests.postgres import PostgresServer

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.projects import SqlProjects
from recalld_server.adapters.ledger.schema import tables
from recalld_server.adapters.ledger.store import open_postgres
from recalld_server.adapters.sql.postgres import LOCK, PostgresEngine
from recalld_server.domain.errors import LedgerUnavailable
from recalld_server.domain.forgetting import ErasureState
from recalld_server.domain.operations import NewOperation, OperationKind
from recalld_server.ports.ledger import Ledger
from recalld_server.ports.operations import Operations

pytestmark = pytest.mark.needs_postgres


@pytest.fixture
async def ledger(engine: PostgresEngine, clock: FakeClock) -> Ledger:
    ledger = SqlLedger(engine, clock)
    for project in ("default", "other"):
        await ledger.ensure_project(project, GENERATION)
    return ledger


class TestPostgresLedger(LedgerSuite):
    """See the suite."""


async def test_servers_that_start_at_once_make_one_ledger(postgres: PostgresServer, clock: FakeClock) -> None:
    with postgres.database() as url:
        engines = await asyncio.gather(*(open_postgres(url) for _ in range(3)))
        ledgers = [SqlLedger(engine, clock) for engine in engines]
        assert len({await ledger.identity() for ledger in ledgers}) == 1
        for ledger in ledgers:
            await ledger.close()


async def test_a_newer_ledger_is_refused(engine: PostgresEngine, postgres_url: str) -> None:
    await engine.write(lambda c: c.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LedgerUnavailable, match="newer"):
        await open_postgres(postgres_url)


async def test_migrations_make_the_tables(engine: PostgresEngine) -> None:
    def differences(connection: Connection) -> list[Any]:
        return compare_metadata(MigrationContext.configure(connection), tables.metadata)

    assert await engine.read(differences) == []


async def test_texts_compare_by_code_point(engine: PostgresEngine) -> None:
    """Whatever the database's own order is, which is the dictionary's in these tests."""
    usual = "SELECT 'a' < 'B'"
    assert await engine.read(lambda c: c.exec_driver_sql(usual).scalar_one())
    other = (
        "SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()"
        " AND data_type = 'text' AND collation_name IS DISTINCT FROM 'C'"
    )
    assert await engine.read(lambda c: c.exec_driver_sql(other).all()) == []


async def test_projects_do_not_wait_for_each_other(ledger: Ledger, postgres_url: str) -> None:
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT * FROM projects WHERE project = 'default' FOR UPDATE")
        waiting = asyncio.create_task(write(ledger, added("m")))
        assert (await asyncio.wait_for(write(ledger, added("n"), access=ELSEWHERE), 5)).seq == 1
        assert not waiting.done()
    assert (await waiting).seq == 1


async def test_who_waits_for_a_lock_too_long_is_refused(
    ledger: Ledger, postgres_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    begun = time.monotonic()
    with psycopg.connect(postgres_url) as other, caplog.at_level(logging.ERROR):
        other.execute("SELECT * FROM projects WHERE project = 'default' FOR UPDATE")
        with pytest.raises(LedgerUnavailable):
            await write(ledger, added("m", "a text of its own"))
    assert LOCK <= time.monotonic() - begun < LOCK + 3
    assert [record.sqlstate for record in caplog.records] == ["55P03"]  # type: ignore[attr-defined]
    assert "a text of its own" not in caplog.text
    assert (await write(ledger, added("m"))).seq == 1


async def test_a_claim_passes_over_what_another_is_claiming(
    ledger: Ledger, postgres_url: str, clock: FakeClock
) -> None:
    await write(ledger, *(added(f"m{n}") for n in range(4)))
    clock.time += 10 * SECOND
    with psycopg.connect(postgres_url) as other:
        other.execute("SELECT * FROM pending WHERE seq IN (1, 3) FOR UPDATE")
        assert sorted(await ledger.claim("default", GENERATION, 2.0, 30.0, 10)) == ["m1", "m3"]
    assert sorted(await ledger.claim("default", GENERATION, 2.0, 30.0, 10)) == ["m0", "m2"]


async def test_forgetting_says_what_postgres_keeps(ledger: Ledger, postgres_url: str) -> None:
    await write(ledger, added("m", "a secret"))
    done = await ledger.begin_forgetting(HERE, ALICE, None, None)
    assert (await ledger.forget(HERE, ALICE, None, 10, None, done)).count == 1
    assert await ledger.compact() is None
    legs = {leg.name: leg.state for leg in ledger.file_legs(cleared=True)}
    assert legs == {
        "ledger_file": ErasureState.PENDING,
        "ledger_log": ErasureState.NOT_COVERED,
        "caches": ErasureState.PENDING,
    }
    with psycopg.connect(postgres_url, autocommit=True) as other:
        vacuumed = other.execute("SELECT vacuum_count FROM pg_stat_user_tables WHERE relname = 'revisions'").fetchone()
    assert vacuumed is not None
    assert vacuumed[0] > 0


async def test_settings_changed_at_once_are_all_changed(
    engine: PostgresEngine, ledger: Ledger, clock: FakeClock
) -> None:
    projects = SqlProjects(engine, clock)
    wanted: dict[str, Any] = {"custom_instructions": "x", "extractor": "rules", "history_retention": 86_400_000_000}
    build = NewOperation("build", OperationKind.REBUILD_INDEX, "default")  # for a change of language
    for _ in range(5):
        changes = ({name: value} for name, value in wanted.items())
        await asyncio.gather(*(projects.change_settings(HERE, "default", change, None, build) for change in changes))
        assert (await projects.settings("default"))[0].stored() == wanted
        blank = {"custom_instructions": "", "extractor": "", "history_retention": None}
        await projects.change_settings(HERE, "default", blank, None, build)


class TestPostgresOperations(OperationsSuite):
    """See that suite."""

    @pytest.fixture
    async def operations(self, ledger: Ledger, engine: PostgresEngine, clock: FakeClock) -> Operations:
        return SqlOperations(engine, clock)

    async def payloads(self, operations: SqlOperations) -> int:
        return await payloads(operations)
