"""Parts of a recalld that work on the ledger itself, whether servers run on it or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from recalld_server.adapters.ledger.keys import SqlKeyRing
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.projects import SqlProjects
from recalld_server.adapters.ledger.schema.status import ledger_state
from recalld_server.adapters.system import SystemClock, SystemIds
from recalld_server.domain.errors import LedgerUnavailable, SettingMissing
from recalld_server.ports.projects import Projects
from recalld_server.rpc.services.maintenance import build_of
from recalld_server.usecases.keys import Keys
from recalld_server.usecases.reindex import ReindexRequests
from recalld_server.wiring.settings import Settings
from recalld_server.wiring.stores import ledger_file, ledger_name, open_ledger

__all__ = ["build_of", "open_builds", "open_keys", "open_projects"]


@asynccontextmanager
async def open_keys(settings: Settings, *, new: bool = False) -> AsyncIterator[Keys]:
    """The keys of a ledger alone, whether a server runs on it or not. `new`: a missing ledger is created.

    Raises LedgerUnavailable, SettingMissing.
    """
    if new:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    else:
        await _require_ledger(settings, ", or --new makes one for the server to be started there")
    engine, clock = await open_ledger(settings), SystemClock()
    try:
        yield Keys(SqlKeyRing(engine, clock), clock, SystemIds())
    finally:
        await engine.close()


@asynccontextmanager
async def open_builds(settings: Settings) -> AsyncIterator[ReindexRequests]:
    """Work for the servers of a ledger, whether one runs or not. Raises LedgerUnavailable, SettingMissing."""
    await _require_ledger(settings)
    engine, clock = await open_ledger(settings), SystemClock()
    try:
        yield ReindexRequests(SqlProjects(engine, clock), SqlOperations(engine, clock), clock, SystemIds())
    finally:
        await engine.close()


@asynccontextmanager
async def open_projects(settings: Settings) -> AsyncIterator[Projects]:
    """The projects of a ledger that several processes may write to. Raises LedgerUnavailable, SettingMissing."""
    if ledger_file(settings):
        raise SettingMissing("A ledger in a file is its server's alone: ask that server, with --target.")
    await _require_ledger(settings)
    engine = await open_ledger(settings)
    try:
        yield SqlProjects(engine, SystemClock())
    finally:
        await engine.close()


async def _require_ledger(settings: Settings, more: str = "") -> None:
    """Make no ledger by mistake: a misspelt place would get one that no server uses. Raises SettingMissing."""
    file = ledger_file(settings)
    place = ledger_name(settings)
    try:
        found = await asyncio.to_thread(ledger_state, file or settings.ledger)
    except LedgerUnavailable:
        return  # whoever opens it says what is wrong with it
    if found.version is None:
        raise SettingMissing(f"There is no ledger at {place}. --data-dir or --ledger says where it is{more}.")
