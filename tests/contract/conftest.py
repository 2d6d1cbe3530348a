"""Shared parts of the contract suites: assertions with explanations, and a controlled clock."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

SUITES = [f"tests.contract.{path.stem}" for path in Path(__file__).parent.glob("*_*.py")]
pytest.register_assert_rewrite(*(name for name in SUITES if ".test_" not in name))

from tests.contract.ledger_world import FakeClock  # noqa: E402 - rewriting must be asked for before the first import

from recalld_server.adapters.ledger.store import open_postgres  # noqa: E402
from recalld_server.adapters.sql.postgres import PostgresEngine  # noqa: E402


@pytest.fixture
def clock() -> FakeClock:
    """Stands still until a test moves it."""
    return FakeClock()


@pytest.fixture
async def engine(postgres_url: str) -> AsyncIterator[PostgresEngine]:
    """A ledger in PostgreSQL; tests of another engine have a fixture of this name of their own."""
    engine = await open_postgres(postgres_url)
    yield engine
    await engine.close()
