"""Projects in the SQL ledger fulfil the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.ledger_world import ELSEWHERE, GENERATION, HERE, FakeClock
from tests.contract.projects_suite import ProjectsSuite, Store

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.projects import SqlProjects
from recalld_server.adapters.ledger.store import open_sqlite


class TestSqlProjects(ProjectsSuite):
    """On SQLite."""

    @pytest.fixture
    async def store(self, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
        engine = await open_sqlite(tmp_path / "ledger.db")
        ledger = SqlLedger(engine, clock)
        for access in (HERE, ELSEWHERE):
            await ledger.ensure_project(access.project, GENERATION)
        yield Store(SqlProjects(engine, clock), ledger)
        await ledger.close()
