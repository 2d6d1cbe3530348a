"""What an operator does on the ledger itself, whether servers run on it or not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from recalld_server.domain.errors import LedgerUnavailable, SettingMissing
from recalld_server.ports.projects import Projects
from recalld_server.usecases.keys import Keys
from recalld_server.usecases.reindex import ReindexRequests
from recalld_server.wiring.ledger_parts import open_parts
from recalld_server.wiring.ledger_store import ledger_file, ledger_name, ledger_status
from recalld_server.wiring.settings import Settings


@asynccontextmanager
async def open_keys(settings: Settings, *, new: bool = False) -> AsyncIterator[Keys]:
    """The API keys of a ledger. `new` creates a missing ledger. Raises LedgerUnavailable, SettingMissing."""
    if new:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    else:
        await _require_ledger(settings, ", or --new makes one for the server to be started there")
    async with open_parts(settings) as parts:
        yield Keys(parts.keys, parts.clock, parts.ids)


@asynccontextmanager
async def open_reindex_requests(settings: Settings) -> AsyncIterator[ReindexRequests]:
    """Where operations for the servers of a ledger are queued. Raises LedgerUnavailable, SettingMissing."""
    await _require_ledger(settings)
    async with open_parts(settings) as parts:
        yield ReindexRequests(parts.projects, parts.operations, parts.clock, parts.ids)


@asynccontextmanager
async def open_projects(settings: Settings) -> AsyncIterator[Projects]:
    """The projects of a ledger that several processes may write to. Raises LedgerUnavailable, SettingMissing."""
    if ledger_file(settings):
        raise SettingMissing("A ledger in a file is its server's alone: ask that server, with --target.")
    await _require_ledger(settings)
    async with open_parts(settings) as parts:
        yield parts.projects


async def _require_ledger(settings: Settings, more: str = "") -> None:
    """Refuse a place without a ledger: opening it would create one that no server uses. Raises SettingMissing."""
    try:
        found = await asyncio.to_thread(ledger_status, settings)
    except LedgerUnavailable:
        return  # whoever opens it says what is wrong with it
    if found.version is None:
        place = ledger_name(settings)
        raise SettingMissing(f"There is no ledger at {place}. --data-dir or --ledger says where it is{more}.")
