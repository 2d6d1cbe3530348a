"""Leases in the SQL ledger fulfil the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.leases_suite import TurnsSuite
from tests.contract.ledger_world import FakeClock

from recalld_server.adapters.ledger.leases import SqlLeases
from recalld_server.adapters.ledger.store import open_postgres, open_sqlite
from recalld_server.ports.leases import Leases


class TestSqlite(TurnsSuite):
    """In a file."""

    @pytest.fixture
    async def turns(self, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Leases]:
        engine = await open_sqlite(tmp_path / "ledger.db")
        yield SqlLeases(engine, clock, "sweeping")
        await engine.close()


@pytest.mark.needs_postgres
class TestPostgres(TurnsSuite):
    """In a database."""

    @pytest.fixture
    async def turns(self, postgres_url: str, clock: FakeClock) -> AsyncIterator[Leases]:
        engine = await open_postgres(postgres_url)
        yield SqlLeases(engine, clock, "sweeping")
        await engine.close()
