"""`recalld migrate`: a ledger moves to another engine, and an index is made for it there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from recalld_server.adapters.ledger import transfer
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.errors import SettingMissing
from recalld_server.usecases.index_audit import Report
from recalld_server.wiring.composition import Recalld, build
from recalld_server.wiring.settings import Settings
from recalld_server.wiring.stores import acquire_instance_lock, ledger_file, open_ledger

GLANCE = 0.2  # seconds between looks at what the index still lacks

Say = Callable[[str, int, int], None]  # a stage, how much of it is done, and of how much


@dataclass(frozen=True, slots=True)
class Moved:
    """What is the same in both ledgers now, and what each project's index says of it."""

    rows: int
    tables: int
    projects: dict[str, Report]


async def move(settings: Settings, to: str, say: Say) -> Moved:
    """Copy the ledger of `settings` to the one `to` names, compare both, and make the index of `settings` for the copy.

    The original stays as it is. What was broken off goes on. Raises SettingMissing (a server uses the ledger, the copy
    would overwrite something, the two differ), LedgerUnavailable, IndexUnavailable.
    """
    target = replace(settings, ledger=to)
    if (path := ledger_file(settings)) and not path.exists():
        raise SettingMissing(f"There is no ledger in {path.parent}.")
    with acquire_instance_lock(settings):
        original = await open_ledger(settings)
        try:
            copy = await open_ledger(target, unfinished=True)
            try:
                rows = await _copy(original, copy, say)
            finally:
                await copy.close()
        finally:
            await original.close()
    recalld = await build(target)
    try:
        reports = {project: await _index(recalld, project, say) for project in await recalld.ledger.projects()}
    finally:
        await recalld.close()
    return Moved(rows, len(transfer.TABLES), reports)


async def _copy(original: SqlEngine, copy: SqlEngine, say: Say) -> int:
    """The rows of both, which are the same afterwards."""
    unfinished = await transfer.begin(original, copy)
    for table in transfer.TABLES if unfinished else ():
        done, total = await transfer.count(copy, table), await transfer.count(original, table)
        async for rows in transfer.copied(original, copy, table):
            done += rows
            say(f"copy {table.name}", done, total)
    rows = 0
    for number, table in enumerate(transfer.TABLES, 1):
        found = await transfer.contents(copy, table)
        if found != await transfer.contents(original, table):
            state = "has changed meanwhile" if unfinished else "is no longer what was copied"
            raise SettingMissing(
                f"The two differ in the table {table.name}: one of them {state}. Copy again, to an empty ledger."
            )
        rows += found.rows
        say("compare tables", number, len(transfer.TABLES))
    await transfer.finish(copy)
    return rows


async def _index(recalld: Recalld, project: str, say: Say) -> Report:
    """Until the index has all of a project; what is pending shrinks on the way."""
    while not recalld.projection.caught_up(project):
        following = asyncio.ensure_future(recalld.projection.catch_up(project))
        most = 0
        while not following.done():
            waiting = await recalld.ledger.backlog(project)
            most = max(most, waiting)
            say(f"index {project}", most - waiting, most)
            await asyncio.wait([following], timeout=GLANCE)
        await following
    report = await recalld.index_audit.examine(project)
    say(f"index {project}", report.entries, report.live)
    return report
