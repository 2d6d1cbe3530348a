"""`recalld migrate`: the ledger moves to another engine."""

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
    echo(f"{moved.rows} rows in {moved.tables} tables are the same in both ledgers, by their SHA-256")
    for project, report in moved.projects.items():
        echo(f"project {project}: {report.live} memories, {report.entries} in the index, {report.wrong} wrong")
    echo("moved: start servers with RECALLD_LEDGER, and RECALLD_INDEX if given, set to the new engines from now on")
