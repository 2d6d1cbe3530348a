"""Operations in the SQL ledger fulfil the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.contract.ledger_world import ELSEWHERE, GENERATION, HERE, FakeClock
from tests.contract.operations_suite import OperationsSuite

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.schema import tables
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.ports.operations import Operations


async def payloads(operations: SqlOperations) -> int:
    """Of a SQL ledger."""
    count = select(func.count()).select_from(tables.operation_payloads)
    return await operations._engine.read(lambda c: c.execute(count).scalar_one())


class TestSqlOperations(OperationsSuite):
    """On SQLite."""

    @pytest.fixture
    async def operations(self, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Operations]:
        engine = await open_sqlite(tmp_path / "ledger.db")
        ledger = SqlLedger(engine, clock)
        for access in (HERE, ELSEWHERE):
            await ledger.ensure_project(access.project, GENERATION)
        yield SqlOperations(engine, clock)
        await ledger.close()

    async def payloads(self, operations: SqlOperations) -> int:
        return await payloads(operations)
