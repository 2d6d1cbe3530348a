"""`recalld migrate`: copy a ledger to another engine, verify the copy and build its index."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace

from recalld_server.domain.errors import SettingMissing
from recalld_server.usecases.index_audit import Report
from recalld_server.wiring.composition import build
from recalld_server.wiring.instance_lock import acquire_instance_lock
from recalld_server.wiring.ledger_store import copy_ledger, ledger_file
from recalld_server.wiring.parts import Recalld
from recalld_server.wiring.settings import Settings

GLANCE = 0.2  # seconds between progress reports of the index

Say = Callable[[str, int, int], None]  # progress: stage, done, total


@dataclass(frozen=True, slots=True)
class Moved:
    """The result of a migration: counts of the rows and tables compared, and the index report of each project."""

    rows: int
    tables: int
    projects: dict[str, Report]


async def move(settings: Settings, to: str, say: Say) -> Moved:
    """Copy the ledger of `settings` to the ledger `to`, compare the two and build the copy's index at `settings.index`.

    Does not change the original. Resumes an interrupted copy. Raises SettingMissing if a server uses the ledger, if
    `to` holds something else, or if the two ledgers differ; LedgerUnavailable; IndexUnavailable.
    """
    target = replace(settings, ledger=to)
    if (path := ledger_file(settings)) and not path.exists():
        raise SettingMissing(f"There is no ledger in {path.parent}.")
    with acquire_instance_lock(settings):
        rows, tables = await copy_ledger(settings, target, say)
    recalld = await build(target)
    try:
        reports = {project: await _index(recalld, project, say) for project in await recalld.ledger.projects()}
    finally:
        await recalld.close()
    return Moved(rows, tables, reports)


async def _index(recalld: Recalld, project: str, say: Say) -> Report:
    """Apply all pending changes of a project to the index, reporting progress, and audit the index."""
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
