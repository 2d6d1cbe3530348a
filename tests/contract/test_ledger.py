"""The ledger in a SQLite file keeps the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.ledger_suite import LedgerSuite
from tests.contract.ledger_world import GENERATION, FakeClock

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.ports.ledger import Ledger


@pytest.fixture
async def ledger(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Ledger]:
    opened = SqlLedger(await open_sqlite(tmp_path / "ledger.db"), clock)
    for project in ("default", "other"):
        await opened.ensure_project(project, GENERATION)
    yield opened
    await opened.close()


class TestSqliteLedger(LedgerSuite):
    """See the suite."""
