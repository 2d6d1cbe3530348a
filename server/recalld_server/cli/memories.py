"""`recalld add`, `recalld search` and `recalld import`: use the Python client from a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recalld_server.cli.rows import Rows, json_option
from recalld_server.cli.terminal import echo, echo_json, inline, visible

if TYPE_CHECKING:
    from recalld import ImportFailure, MemoryClient

Target = Annotated[str | None, typer.Option(help="Server address [RECALLD_TARGET]; default: localhost:7420.")]
UseTls = Annotated[
    bool | None,
    typer.Option(
        "--tls/--no-tls",
        help="Use TLS [RECALLD_TLS]; default: only if RECALLD_API_KEY is set and the server is another machine.",
    ),
]
Authority = Annotated[
    Path | None,
    typer.Option("--tls-ca", help="PEM file of the CA that signed the server's certificate [RECALLD_TLS_CA]."),
]
User = Annotated[str | None, typer.Option("--user", "-u", help="User id (user_id).")]
Agent = Annotated[str | None, typer.Option("--agent", help="Agent id (agent_id).")]
App = Annotated[str | None, typer.Option("--app", help="App id (app_id).")]
Run = Annotated[str | None, typer.Option("--run", help="Run id (run_id).")]
AGAIN = "It is safe to repeat the import: memories that are already stored are not stored again."
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object per line.")]


def add(
    text: Annotated[str, typer.Argument(help="Message text, or - to read standard input.")],
    user: User = None,
    agent: Agent = None,
    app: App = None,
    run: Run = None,
    verbatim: Annotated[
        bool, typer.Option("--verbatim", help="Store the text unchanged as one memory, without extraction.")
    ] = False,
    target: Target = None,
    tls: UseTls = None,
    tls_ca: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Extract facts from a text and store them as memories."""
    said = typer.get_text_stream("stdin").read() if text == "-" else text
    with client(target, tls, tls_ca) as connected, clear_errors():
        found: Any = connected.add(said, output_format="v1.1", infer=not verbatim, **scope_of(user, agent, app, run))
    for result in found["results"]:
        echo_json(result) if as_json else echo(f"{result['event']:7}{inline(result['memory'])}")
    if not found["results"] and not as_json:
        reasons = sorted({verdict["reason"] for verdict in found["verdicts"]})
        echo(f"nothing new to remember ({', '.join(reasons)})")


def search(
    query: Annotated[str, typer.Argument(help="Text to search for.")],
    user: User = None,
    agent: Agent = None,
    app: App = None,
    run: Run = None,
    limit: Annotated[int, typer.Option(help="Maximum number of results.")] = 10,
    filters: Annotated[
        str | None, typer.Option(help='Filter as JSON, for example {"categories": {"in": ["food"]}}.')
    ] = None,
    target: Target = None,
    tls: UseTls = None,
    tls_ca: Authority = None,
    as_json: AsJson = False,
) -> None:
    """Search memories and print results as they arrive."""
    options: dict[str, Any] = {"limit": limit, **scope_of(user, agent, app, run)}
    if filters:
        options["filters"] = json_option(filters, "--filters")
    with client(target, tls, tls_ca) as connected, clear_errors(), connected.stream_search(query, **options) as stream:
        for hit in stream:
            echo_json(hit) if as_json else echo(f"{hit['score']:.2f}  {inline(hit['memory'])}")
        done = stream.done
    if done and not as_json:
        total = sum(done.stages.values())
        echo(f"{done.hit_count} of {done.candidate_count} candidates in {total * 1000:.0f} ms", err=True)


def import_memories(
    file: Annotated[
        Path,
        typer.Argument(
            help="JSON Lines of texts ({text, user_id, …}) or of memories as `get` returns them, or a .parquet export."
        ),
    ],
    target: Target = None,
    tls: UseTls = None,
    tls_ca: Authority = None,
) -> None:
    """Import texts, memories or an export from a file.

    An export with history restores the history too.
    """
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    if not file.is_file():
        raise typer.BadParameter(f"{file} is not a file")
    rows = Rows(file)
    console, refused = Console(stderr=True), 0
    columns = (
        TextColumn("importing"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[items]} items"),
        TimeRemainingColumn(),
    )
    stored = unchanged = 0

    def tell(failed: Sequence[ImportFailure]) -> None:
        nonlocal refused
        found = [*rows.unreadable(), *((rows.line(each.row), str(each.error)) for each in failed)]
        for line, why in sorted(found):
            refused += 1
            console.print(f"line {line}: {visible(why)}", markup=False, highlight=False, soft_wrap=True)

    try:
        with client(target, tls, tls_ca) as connected, clear_errors(), Progress(*columns, console=console) as bar:
            task = bar.add_task("importing", total=rows.total, items=0)
            for progress in connected.import_memories(rows):
                stored, unchanged = progress.stored, progress.unchanged
                tell(progress.failed)
                bar.update(task, completed=rows.done, items=progress.through_index + 1)
            tell(())
            bar.update(task, completed=rows.total)
    except (typer.Exit, KeyboardInterrupt):
        echo(f"import stopped: at least {stored} stored, {unchanged} known already, {refused} refused", err=True)
        echo(AGAIN, err=True)
        raise
    echo(f"{stored} stored, {unchanged} known already, {refused} refused")
    if refused:
        echo(f"Refused lines were skipped. Correct them and import the file again. {AGAIN}", err=True)
        raise typer.Exit(1)


def scope_of(user: str | None, agent: str | None, app: str | None, run: str | None) -> dict[str, Any]:
    given = {"user_id": user, "agent_id": agent, "app_id": app, "run_id": run}
    return {name: value for name, value in given.items() if value is not None}  # the client refuses empty ids


def client(target: str | None, tls: bool | None = None, tls_ca: Path | None = None) -> MemoryClient:
    """Return a client with a command's options. Options that are None come from the environment."""
    from recalld import MemoryClient

    if tls_ca and tls is False:
        raise typer.BadParameter("--tls-ca cannot be combined with --no-tls")
    with clear_errors():
        return MemoryClient(target, tls=tls if tls_ca is None else tls_ca)


class clear_errors:  # noqa: N801 - reads as a verb where it is used
    """Print a RecalldError on one line and exit with status 1."""

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        from recalld import RecalldError

        if isinstance(error, RecalldError):
            echo(f"recalld: {error}", err=True)
            raise typer.Exit(1) from None
