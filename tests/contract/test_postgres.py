"""The ledger in a PostgreSQL database keeps the contract, and what several servers on it must be able to rely on."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from tests.contract.ledger_suite import LedgerSuite
from tests.contract.ledger_world import GENERATION, FakeClock

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.store import open_postgres
from recalld_server.ports.ledger import Ledger

pytestmark = pytest.mark.needs_postgres


async def opened(url: str, clock: FakeClock) -> SqlLedger:
    ledger = SqlLedger(await open_postgres(url), clock)
    for project in ("default", "other"):
        await ledger.ensure_project(project, GENERATION)
    return ledger


@pytest.fixture
async def ledger(postgres_url: str, clock: FakeClock) -> AsyncIterator[Ledger]:
    ledger = await opened(postgres_url, clock)
    yield ledger
    await ledger.close()


class TestPostgresLedger(LedgerSuite):
    """See the suite."""
