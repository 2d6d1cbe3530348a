"""The key ring in the SQL ledger fulfils the contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.contract.keyring_suite import KeyRingSuite, digest, key
from tests.contract.ledger_world import ELSEWHERE, GENERATION, HERE, FakeClock

from recalld_server.adapters.ledger.keys import SqlKeyRing
from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.ports.keyring import KeyRing


class TestSqlKeyRing(KeyRingSuite):
    """On SQLite."""

    @pytest.fixture
    async def ring(self, tmp_path: Path, clock: FakeClock) -> AsyncIterator[KeyRing]:
        engine = await open_sqlite(tmp_path / "ledger.db")
        ledger = SqlLedger(engine, clock)
        await ledger.ensure_project(ELSEWHERE.project, GENERATION)
        yield SqlKeyRing(engine, clock)
        await ledger.close()


async def test_keys_are_written_beside_whoever_holds_the_file(tmp_path: Path, clock: FakeClock) -> None:
    """As `recalld keys` does while a server runs."""
    engines = [await open_sqlite(tmp_path / "ledger.db") for _ in range(2)]
    ours, theirs = (SqlKeyRing(engine, clock) for engine in engines)
    await ours.add(HERE, key("k"), digest("k"), None, {})
    assert await theirs.begun()
    await theirs.revoke(HERE, "k", None)
    found = await ours.find("k")
    assert found is not None
    assert found[0].revoke_time == clock.time
    for engine in engines:
        await engine.close()
