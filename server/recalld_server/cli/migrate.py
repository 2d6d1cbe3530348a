"""`recalld migrate`: move the ledger to another engine."""

from __future__ import annotations

from typing import Annotated

import typer

from recalld_server.cli.serve import DataDir, Index, Ledger
from recalld_server.cli.terminal import echo


def migrate(
    to: Annotated[
        str,
        typer.Option(
            envvar="RECALLD_MIGRATE_TO",
            help="Empty ledger to copy to: postgresql://user:password@host:port/database or a file path.",
        ),
    ],
    data_dir: DataDir = None,
    ledger: Ledger = None,
    index: Index = None,
) -> None:
    """Copy a ledger to another engine, verify the copy and build its index.

    Stop all servers of the ledger first. The original is not changed. If the command is interrupted, run it again; it
    resumes.
    """
    import asyncio

    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    from recalld_server.admin.migration import move
    from recalld_server.domain.errors import RecalldError
    from recalld_server.wiring.settings import Settings

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    tasks: dict[str, TaskID] = {}
    try:
        with Progress(*columns, console=Console(stderr=True)) as bar:

            def say(stage: str, done: int, total: int) -> None:
                if stage not in tasks:
                    tasks[stage] = bar.add_task(stage)
                bar.update(tasks[stage], completed=done, total=total)

            settings = Settings.read({"data_dir": data_dir, "ledger": ledger, "index": index})
            moved = asyncio.run(move(settings, to, say))
    except (RecalldError, ValueError) as error:
        echo(f"recalld: {error}", err=True)
        raise typer.Exit(2) from None
    echo(f"{moved.rows} rows in {moved.tables} tables are the same in both ledgers (compared by SHA-256)")
    for project, report in moved.projects.items():
        echo(f"project {project}: {report.live} memories, {report.entries} in the index, {report.wrong} wrong")
    echo("moved: from now on set RECALLD_LEDGER, and RECALLD_INDEX if you gave --index, to the new engines")
