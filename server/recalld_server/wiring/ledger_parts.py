"""Access to a ledger's API keys, projects and operations without a server."""

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
    """The stores of one ledger, with the clock and the id generator of this machine."""

    keys: KeyRing
    projects: Projects
    operations: Operations
    clock: Clock
    ids: Ids


@asynccontextmanager
async def open_parts(settings: Settings) -> AsyncIterator[LedgerParts]:
    """Open the ledger that `settings` name, which a running server may use too.

    Raises LedgerUnavailable, SettingMissing.
    """
    engine, clock = await open_ledger(settings), SystemClock()
    try:
        parts = (SqlKeyRing(engine, clock), SqlProjects(engine, clock), SqlOperations(engine, clock))
        yield LedgerParts(*parts, clock, SystemIds())
    finally:
        await engine.close()
