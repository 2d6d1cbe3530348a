"""`recalld export`: write memories to a file."""

from __future__ import annotations

from glob import escape
from pathlib import Path
from typing import Annotated, Any

import typer

from recalld_server.cli.memories import (
    Agent,
    App,
    Authority,
    Run,
    Target,
    User,
    UseTls,
    clear_errors,
    client,
    scope_of,
)
from recalld_server.cli.rows import json_option
from recalld_server.cli.terminal import echo, echo_json


def export(
    file: Annotated[Path, typer.Argument(help="File to write. It appears only once the export is complete.")],
    user: User = None,
    agent: Agent = None,
    app: App = None,
    run: Run = None,
    format: Annotated[
        str | None, typer.Option(help="jsonl or parquet; default: parquet if FILE ends in .parquet, else jsonl.")
    ] = None,
    history: Annotated[
        bool, typer.Option("--history", help="Include every revision, also those of deleted memories.")
    ] = False,
    vectors: Annotated[bool, typer.Option("--vectors", help="Include the embeddings.")] = False,
    filters: Annotated[
        str | None, typer.Option(help='Filter as JSON, for example {"categories": {"in": ["food"]}}.')
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume an interrupted export from its .part file, with its snapshot.")
    ] = False,
    target: Target = None,
    tls: UseTls = None,
    tls_ca: Authority = None,
) -> None:
    """Write memories to a file. Without ids, exports the whole project."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    if not file.parent.is_dir():
        raise typer.BadParameter(f"folder {file.parent} does not exist")
    options: dict[str, Any] = {
        "format": format or ("parquet" if file.suffix == ".parquet" else "jsonl"),
        "with_history": history,
        "with_vectors": vectors,
        "resume": resume,
        **scope_of(user, agent, app, run),
    }
    if filters:
        options["filters"] = json_option(filters, "--filters")
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    try:
        with (
            client(target, tls, tls_ca) as connected,
            clear_errors(),
            Progress(*columns, console=Console(stderr=True)) as bar,
        ):
            tasks = {stage: bar.add_task(stage, total=None) for stage in ("writing", "reading")}
            for progress in connected.export(file, **options):
                bar.update(tasks[progress.stage], completed=progress.completed, total=progress.total or None)
    except (typer.Exit, KeyboardInterrupt):
        if any(file.parent.glob(f"{escape(file.name)}.*.part")):
            echo("Run the same command with --resume to continue this export.", err=True)
        raise
    echo_json({"file": str(file), "bytes": file.stat().st_size})
