"""`recalld add`, `recalld search` and `recalld import`: the Python client from a terminal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recalld_server.cli.rows import Rows, json_option

if TYPE_CHECKING:
    from recalld import MemoryClient

Target = Annotated[str | None, typer.Option(help="Server to talk to [RECALLD_TARGET]; default localhost:7420.")]
User = Annotated[str | None, typer.Option("--user", "-u", help="user_id")]
Agent = Annotated[str | None, typer.Option("--agent", help="agent_id")]
App = Annotated[str | None, typer.Option("--app", help="app_id")]
Run = Annotated[str | None, typer.Option("--run", help="run_id")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON lines.")]


def add(
    text: Annotated[str, typer.Argument(help="What was said, or - for standard input.")],
    user: User = None,
    agent: Agent = None,
    app: App = None,
    run: Run = None,
    verbatim: Annotated[bool, typer.Option("--verbatim", help="Store the text as it stands.")] = False,
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Remember what a text says."""
    said = typer.get_text_stream("stdin").read() if text == "-" else text
    with client(target) as connected, clear_errors():
        found: Any = connected.add(said, output_format="v1.1", infer=not verbatim, **scope_of(user, agent, app, run))
    for result in found["results"]:
        typer.echo(json.dumps(result, ensure_ascii=False) if as_json else f"{result['event']:7}{result['memory']}")
    if not found["results"] and not as_json:
        typer.echo("nothing new to remember")


def search(
    query: Annotated[str, typer.Argument(help="What to look for.")],
    user: User = None,
    agent: Agent = None,
    app: App = None,
    run: Run = None,
    limit: Annotated[int, typer.Option(help="Most results.")] = 10,
    filters: Annotated[
        str | None, typer.Option(help='A filter as JSON, such as {"categories": {"in": ["food"]}}.')
    ] = None,
    target: Target = None,
    as_json: AsJson = False,
) -> None:
    """Find memories; results are printed as they come."""
    options: dict[str, Any] = {"limit": limit, **scope_of(user, agent, app, run)}
    if filters:
        options["filters"] = json_option(filters, "--filters")
    with client(target) as connected, clear_errors(), connected.stream_search(query, **options) as stream:
        for hit in stream:
            typer.echo(json.dumps(hit, ensure_ascii=False) if as_json else f"{hit['score']:.2f}  {hit['memory']}")
        done = stream.done
    if done and not as_json:
        total = sum(done.stages.values())
        typer.echo(f"{done.hit_count} of {done.candidate_count} candidates in {total * 1000:.0f} ms", err=True)


def import_memories(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON Lines: texts ({text, user_id, …}) or memories as `get` gives them; or an export, also .parquet."
        ),
    ],
    target: Target = None,
) -> None:
    """Store a file of texts or memories, with progress. An export with history brings its history back."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    if not file.is_file():
        raise typer.BadParameter(f"{file} is not a file")
    rows = Rows(file)
    console, failures = Console(stderr=True), 0
    columns = (
        TextColumn("importing"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[items]} items"),
        TimeRemainingColumn(),
    )
    with client(target) as connected, clear_errors(), Progress(*columns, console=console) as bar:
        task = bar.add_task("importing", total=rows.total, items=0)
        progress = None
        for progress in connected.import_memories(rows):
            bar.update(task, completed=rows.done, items=progress.through_index + 1)
            for failure in progress.failed:
                failures += 1
                console.print(f"item {failure.index + 1}: {failure.error}", markup=False, highlight=False)
    stored, unchanged = (progress.stored, progress.unchanged) if progress else (0, 0)
    typer.echo(f"{stored} stored, {unchanged} known already, {failures} failed")
    if failures:
        raise typer.Exit(1)


def scope_of(user: str | None, agent: str | None, app: str | None, run: str | None) -> dict[str, Any]:
    given = {"user_id": user, "agent_id": agent, "app_id": app, "run_id": run}
    return {name: value for name, value in given.items() if value}


def client(target: str | None) -> MemoryClient:
    from recalld import MemoryClient

    return MemoryClient(target)


class clear_errors:  # noqa: N801 - reads as a verb where it is used
    """Shows an error of the service as one line and ends with status 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from recalld import RecalldError

        if isinstance(error, RecalldError):
            typer.echo(f"recalld: {error}", err=True)
            raise typer.Exit(1) from None
