"""`recalld bench`: retrieval quality and speed, measured through the API by which everyone else calls the server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer

MOST_CALLERS = 64  # a key may have so many streams open
MOST_MEMORIES = 1_000_000
MOST_SECONDS = 600
MOST_PROJECTS = 10_000

Index = Annotated[
    str, typer.Option(help="embedded, or weaviate://HOST:PORT?grpc_port=PORT without a project `default`.")
]
Ledger = Annotated[
    str, typer.Option(help="embedded, or postgresql://user:password@host:port/database, in schemas of its own.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


class Report(Protocol):
    """What a measurement gives."""

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        ...


R = TypeVar("R", bound=Report)


class BenchError(RuntimeError):
    """A measurement that would mean nothing: bad input, a call that failed, a memory that was not stored."""


@bench.command("retrieval")
def measure_retrieval(
    data: Annotated[Path, typer.Option(help="Conversations with questions and the turns that answer them, as JSON.")],
    target: Annotated[str | None, typer.Option(help="Server to ask; default: one of its own in a new folder.")] = None,
    index: Index = "embedded",
    ledger: Ledger = "embedded",
    as_json: AsJson = False,
) -> None:
    """Share of the evidence that searches find, by kind of question.

    Imports every conversation of the file and asks all its questions. What it stored on a --target is deleted again.
    With another index or ledger it does so on the embedded ones as well, and tells how many of the first ten hits both
    have in common.
    """
    from recalld_server.bench import retrieval, tables
    from recalld_server.bench.engines import Engines

    if not data.is_file():
        raise typer.BadParameter(f"{data} is not a file", param_hint="--data")
    engines = Engines(ledger, index)
    if target and engines != Engines():
        raise typer.BadParameter("the server has its engines: give either it or them", param_hint="--target")
    with _clear_errors():
        report = retrieval.run(retrieval.read(data), target, engines, tables.say)
    _show(report, as_json, tables.show_retrieval)


@bench.command("load")
def measure_load(
    memories: Annotated[str, typer.Option(help="Sizes to measure at.")] = "1000,10000,100000",
    callers: Annotated[str, typer.Option(help=f"Concurrent callers, up to {MOST_CALLERS}.")] = "1,8,64",
    seconds: Annotated[float, typer.Option(help="Time for each figure.")] = 5.0,
    import_texts: Annotated[int, typer.Option(help="Texts for the rate of embedded imports; 0 leaves it out.")] = 2000,
    index: Index = "embedded",
    ledger: Ledger = "embedded",
    as_json: AsJson = False,
) -> None:
    """Time of add, get, search and stream at several sizes, each on a server of its own in a new folder.

    The server is one process and this is the one client process; on one machine they share its processors. Vectors are
    made for the fill, not embedded, and 3 s of searches warm it up. No question is asked twice, so that no cached
    embedding answers. On Weaviate searches are measured beside its two legs alone as well; what was stored on an engine
    is removed again.
    """
    import asyncio

    from recalld_server.bench import load, tables
    from recalld_server.bench.engines import Engines

    sizes = _numbers(memories, "--memories", MOST_MEMORIES)
    crowds = _numbers(callers, "--callers", MOST_CALLERS)
    _check_seconds(seconds)
    if not 0 <= import_texts <= MOST_MEMORIES:
        raise typer.BadParameter(f"must be 0 to {MOST_MEMORIES}", param_hint="--import-texts")
    with _clear_errors():
        report = asyncio.run(load.run(sizes, crowds, seconds, import_texts, Engines(ledger, index), tables.say))
    _show(report, as_json, tables.show_load)


@bench.command("overload")
def measure_overload(
    seconds: Annotated[float, typer.Option(help="How long the flood lasts.")] = 30.0,
    times: Annotated[float, typer.Option(help="How much more is asked than the server can answer.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """What becomes of searches when more are asked than a server can answer: admitted, refused, and how fast.

    One server of its own in a new folder, default settings. Server and caller share the processors of the machine.
    """
    import asyncio

    from recalld_server.bench import overload, tables

    _check_seconds(seconds)
    if not 1 < times <= 100:
        raise typer.BadParameter("must be above 1 and at most 100", param_hint="--times")
    with _clear_errors():
        report = asyncio.run(overload.run(seconds, times, tables.say))
    _show(report, as_json, tables.show_overload)


@bench.command("commits")
def measure_commits(
    ledger: Annotated[
        str | None, typer.Option(help="An empty database, postgresql://user:password@host:port/database; it is filled.")
    ] = None,
    seconds: Annotated[float, typer.Option(help="Time for each figure.")] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Changes committed a second, by one project and by many, on a SQLite file and on PostgreSQL in one run.

    The ledger alone, in this process: nothing is extracted, embedded or indexed.
    """
    import asyncio

    from recalld_server.bench import commits, tables

    _check_seconds(seconds)
    with _clear_errors():
        report = asyncio.run(commits.run(ledger, seconds, tables.say))
    _show(report, as_json, tables.show_commits)


@bench.command("idle")
def measure_idle(
    projects: Annotated[int, typer.Option(help="Projects on the ledger, each with one memory.")] = 1000,
    seconds: Annotated[float, typer.Option(help="How long to count.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """What a server does while nobody calls it: SQL statements, processor time and spans, on the embedded engines."""
    import asyncio

    from recalld_server.bench import idle, tables

    _check_seconds(seconds)
    if not 1 <= projects <= MOST_PROJECTS:
        raise typer.BadParameter(f"must be 1 to {MOST_PROJECTS}", param_hint="--projects")
    with _clear_errors():
        report = asyncio.run(idle.run(projects, seconds, tables.say))
    _show(report, as_json, tables.show_idle)


@bench.command("deletion")
def measure_deletion(
    memories: Annotated[int, typer.Option(help="Memories in the ledger; a tenth is deleted.")] = 100_000,
    ledger: Annotated[str | None, typer.Option(help="URL of an empty PostgreSQL database, measured too.")] = None,
    as_json: AsJson = False,
) -> None:
    """How long DeleteMemories takes to delete a tenth of a project by a filter, for every 10,000 memories."""
    import asyncio

    from recalld_server.bench import deletion, tables

    if not 10 <= memories <= MOST_MEMORIES:
        raise typer.BadParameter(f"must be 10 to {MOST_MEMORIES}", param_hint="--memories")
    with _clear_errors():
        report = asyncio.run(deletion.run(memories, ledger, tables.say))
    _show(report, as_json, tables.show_deletion)


def _show(report: R, as_json: bool, show: Callable[[R], None]) -> None:
    """A report as one JSON object, or as its tables."""
    import json

    if as_json:
        typer.echo(json.dumps(report.as_json()))
    else:
        show(report)


def _check_seconds(seconds: float) -> None:
    if not 0 < seconds <= MOST_SECONDS:
        raise typer.BadParameter(f"must be above 0 and at most {MOST_SECONDS}", param_hint="--seconds")


def _numbers(given: str, option: str, most: int) -> list[int]:
    try:
        numbers = [int(part) for part in given.split(",")]
    except ValueError:
        raise typer.BadParameter("must be whole numbers with commas between them", param_hint=option) from None
    if not all(1 <= number <= most for number in numbers):
        raise typer.BadParameter(f"each must be 1 to {most}", param_hint=option)
    return numbers


@contextmanager
def _clear_errors() -> Iterator[None]:
    """What went wrong in one line; a server that failed to start brings the end of its log."""
    from recalld import RecalldError
    from recalld.testing import ServerError
    from recalld_server.domain.errors import RecalldError as Refused

    try:
        yield
    except (BenchError, RecalldError, Refused, ServerError) as error:
        typer.echo(f"recalld bench: {error}", err=True)
        raise typer.Exit(1) from None
