"""`recalld migrate`: the ledger moves to another engine, and the index is made for it there."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from recalld_server.cli.serve import DataDir, Index, Ledger

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from rich.progress import Progress

    from recalld_server.adapters.sql.engine import SqlEngine
    from recalld_server.bootstrap import Recalld
    from recalld_server.settings import Settings

GLANCE = 0.2  # seconds between looks at what the index still lacks


def migrate(
    to: Annotated[
        str,
        typer.Option(
            envvar="RECALLD_MIGRATE_TO",
            help="The empty ledger to copy to: postgresql://user:password@host:port/database, or the path of a file.",
        ),
    ],
    data_dir: DataDir = None,
    ledger: Ledger = None,
    index: Index = None,
) -> None:
    """Copy a ledger that no server uses into another engine, compare the two, and make the index there.

    Repeat the command if it was broken off: it goes on where it was. The original stays as it is.
    """
    import asyncio

    from recalld_server.domain.errors import RecalldError
    from recalld_server.settings import Settings

    try:
        settings = Settings.read({"data_dir": data_dir, "ledger": ledger, "index": index})
        asyncio.run(_migrate(settings, replace(settings, ledger=to)))
    except (RecalldError, ValueError) as error:
        typer.echo(f"recalld: {error}", err=True)
        raise typer.Exit(2) from None


async def _migrate(source: Settings, target: Settings) -> None:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from recalld_server.bootstrap import build

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        async with _both(source, target) as (original, copy):
            await _copy(original, copy, bar)
        recalld = await build(target)
        try:
            for project in await recalld.ledger.projects():
                await _index(recalld, project, bar)
        finally:
            await recalld.close()
    typer.echo(
        "moved; start the servers with RECALLD_LEDGER, and RECALLD_INDEX if there is one, set to the new engines"
    )


@asynccontextmanager
async def _both(source: Settings, target: Settings) -> AsyncIterator[tuple[SqlEngine, SqlEngine]]:
    """The two ledgers, while no server has the first."""
    from recalld_server.domain.errors import SettingMissing
    from recalld_server.engines import hold_ledger, ledger_file, open_ledger

    if (path := ledger_file(source)) and not path.exists():
        raise SettingMissing(f"There is no ledger in {path.parent}.")
    with hold_ledger(source):
        original = await open_ledger(source)
        try:
            copy = await open_ledger(target, unfinished=True)
            try:
                yield original, copy
            finally:
                await copy.close()
        finally:
            await original.close()


async def _copy(original: SqlEngine, copy: SqlEngine, bar: Progress) -> None:
    from recalld_server.adapters.ledger import copying
    from recalld_server.domain.errors import SettingMissing

    unfinished = await copying.begin(original, copy)
    for table in copying.TABLES if unfinished else ():
        there = await copying.count(copy, table)
        task = bar.add_task(f"copy {table.name}", total=await copying.count(original, table), completed=there)
        async for rows in copying.copied(original, copy, table):
            bar.advance(task, rows)
    rows = 0
    task = bar.add_task("compare tables", total=len(copying.TABLES))
    for table in copying.TABLES:
        found = await copying.contents(copy, table)
        if found != await copying.contents(original, table):
            state = "has changed meanwhile" if unfinished else "is no longer what was copied"
            raise SettingMissing(
                f"The two differ in the table {table.name}: one of them {state}. Copy again, to an empty ledger."
            )
        rows += found.rows
        bar.advance(task)
    await copying.finish(copy)
    typer.echo(f"{rows} rows in {len(copying.TABLES)} tables are the same in both ledgers, by their SHA-256")


async def _index(recalld: Recalld, project: str, bar: Progress) -> None:
    """Until the index has all of a project; what is pending shrinks on the way."""
    import asyncio

    task = bar.add_task(f"index {project}", total=None)
    while not recalld.projector.caught_up(project):
        following = asyncio.ensure_future(recalld.projector.catch_up(project))
        most = 0
        while not following.done():
            waiting = await recalld.ledger.backlog(project)
            most = max(most, waiting)
            bar.update(task, total=most, completed=most - waiting)
            await asyncio.wait([following], timeout=GLANCE)
        await following
    report = await recalld.examiner.examine(project)
    bar.update(task, total=report.live, completed=report.entries)
    typer.echo(f"project {project}: {report.live} memories, {report.entries} in the index, {report.wrong} wrong")
