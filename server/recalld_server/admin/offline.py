"""Access to parts of a ledger for operators' commands, whether servers use it or not."""

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
    """Open the API keys of a ledger. `new` creates a missing ledger.

    Raises SettingMissing if there is no ledger and `new` is false; LedgerUnavailable.
    """
    if new:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    else:
        await _require_ledger(settings, ", or create one with --new")
    async with open_parts(settings) as parts:
        yield Keys(parts.keys, parts.clock, parts.ids)


@asynccontextmanager
async def open_reindex_requests(settings: Settings) -> AsyncIterator[ReindexRequests]:
    """Open the queue of reindex operations of a ledger.

    Raises SettingMissing if there is no ledger; LedgerUnavailable.
    """
    await _require_ledger(settings)
    async with open_parts(settings) as parts:
        yield ReindexRequests(parts.projects, parts.operations, parts.clock, parts.ids)


@asynccontextmanager
async def open_projects(settings: Settings) -> AsyncIterator[Projects]:
    """Open the projects of a ledger in PostgreSQL.

    Raises SettingMissing if the ledger is a file or does not exist; LedgerUnavailable.
    """
    if ledger_file(settings):
        raise SettingMissing(
            "Only the server may change projects of a ledger in a file: use --target instead of --ledger."
        )
    await _require_ledger(settings)
    async with open_parts(settings) as parts:
        yield parts.projects


async def _require_ledger(settings: Settings, more: str = "") -> None:
    """Raise SettingMissing if there is no ledger: opening it would create one that no server uses."""
    try:
        found = await asyncio.to_thread(ledger_status, settings)
    except LedgerUnavailable:
        return  # the caller opens it next and reports what is wrong
    if found.version is None:
        place = ledger_name(settings)
        raise SettingMissing(f"There is no ledger at {place}. Give its place with --data-dir or --ledger{more}.")
