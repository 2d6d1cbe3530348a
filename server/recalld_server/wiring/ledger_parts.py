"""The parts of a ledger that work without a server: keys, projects and the queue of operations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from recalld_server.adapters.ledger.keys import SqlKeyRing
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.projects import SqlProjects
from recalld_server.adapters.system import SystemClock, SystemIds
from recalld_server.ports.clock import Clock, Ids
from recalld_server.ports.keyring import KeyRing
from recalld_server.ports.operations import Operations
from recalld_server.ports.projects import Projects
from recalld_server.wiring.ledger_store import open_ledger
from recalld_server.wiring.settings import Settings


@dataclass(frozen=True, slots=True)
class LedgerParts:
    """Stores on one ledger, with the clock and the ids of this machine."""

    keys: KeyRing
    projects: Projects
    operations: Operations
    clock: Clock
    ids: Ids


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[LedgerParts]:
    """Open the ledger that `settings` name, whether a server runs on it or not. Raises LedgerUnavailable,
    SettingMissing.
    """
    engine, clock = await open_ledger(settings), SystemClock()
    try:
        parts = (SqlKeyRing(engine, clock), SqlProjects(engine, clock), SqlOperations(engine, clock))
        yield LedgerParts(*parts, clock, SystemIds())
    finally:
        await engine.close()
