"""`recalld bench`: benchmarks of retrieval quality and speed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeVar

import typer

MOST_CALLERS = 64  # the limit of open streams per key
MOST_MEMORIES = 1_000_000
MOST_SECONDS = 600
MOST_PROJECTS = 10_000

Index = Annotated[
    str, typer.Option(help="embedded, or weaviate://HOST:PORT?grpc_port=PORT that has no project `default`.")
]
Ledger = Annotated[
    str, typer.Option(help="embedded, or postgresql://user:password@host:port/database; uses temporary schemas.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of tables.")]

bench = typer.Typer(no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


class Report(Protocol):
    """The result of a benchmark."""

    def as_json(self) -> dict[str, Any]:
        """The report as JSON-compatible values, for --json."""
        ...


R = TypeVar("R", bound=Report)


class BenchError(RuntimeError):
    """A benchmark cannot give valid results: invalid input, a failed call, or a memory that was not stored."""


@bench.command("retrieval")
def measure_retrieval(
    data: Annotated[
        Path, typer.Option(help="JSON file of conversations with questions and the turns that answer them.")
    ],
    target: Annotated[str | None, typer.Option(help="Server to measure; default: a temporary server.")] = None,
    index: Index = "embedded",
    ledger: Ledger = "embedded",
    as_json: AsJson = False,
) -> None:
    """Measure recall: the share of the evidence that searches find.

    Imports every conversation of the file, asks all its questions and reports recall by kind of question. Deletes what
    it stored on a --target. With --index or --ledger, it also measures the embedded engines and reports how many of the
    first ten hits both have in common.
    """
    from recalld_server.bench import retrieval, tables
    from recalld_server.bench.engines import Engines

    if not data.is_file():
        raise typer.BadParameter(f"{data} is not a file", param_hint="--data")
    engines = Engines(ledger, index)
    if target and engines != Engines():
        raise typer.BadParameter("cannot be combined with --index or --ledger", param_hint="--target")
    with _clear_errors():
        report = retrieval.run(retrieval.read(data), target, engines, tables.say)
    _show(report, as_json, tables.show_retrieval)


@bench.command("load")
def measure_load(
    memories: Annotated[
        str, typer.Option(help="Numbers of memories to measure with, separated by commas.")
    ] = "1000,10000,100000",
    callers: Annotated[
        str, typer.Option(help=f"Numbers of concurrent callers, up to {MOST_CALLERS}, separated by commas.")
    ] = "1,8,64",
    seconds: Annotated[float, typer.Option(help="Duration of each measurement, in seconds.")] = 5.0,
    import_texts: Annotated[int, typer.Option(help="Texts for the import rate; 0 skips it.")] = 2000,
    index: Index = "embedded",
    ledger: Ledger = "embedded",
    as_json: AsJson = False,
) -> None:
    """Measure latency and throughput of add, get, search and stream.

    Starts a temporary server per size. Server and client are one process each and share the machine's processors. The
    memories have random vectors instead of embeddings, and 3 s of searches warm up the server. No question is asked
    twice, so that no cached embedding is used. On Weaviate, a further table compares searches without the embedder with
    Weaviate's two legs alone, with 250 repeated questions. The benchmark removes everything that it stored on the
    engines.
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
    seconds: Annotated[float, typer.Option(help="Duration of the overload, in seconds.")] = 30.0,
    times: Annotated[float, typer.Option(help="Load as a multiple of the server's capacity.")] = 10.0,
    as_json: AsJson = False,
) -> None:
    """Measure searches under overload: how many are admitted and refused, and how fast.

    Uses a temporary server with default settings. Server and client share the machine's processors.
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
        str | None,
        typer.Option(
            help="Empty database to measure too, postgresql://user:password@host:port/database; it is filled."
        ),
    ] = None,
    seconds: Annotated[float, typer.Option(help="Duration of each measurement, in seconds.")] = 5.0,
    as_json: AsJson = False,
) -> None:
    """Measure commits per second, by one project and by many.

    Measures a SQLite file and, with --ledger, PostgreSQL. Only uses the ledger, in this process: nothing is extracted,
    embedded or indexed.
    """
    import asyncio

    from recalld_server.bench import commits, tables

    _check_seconds(seconds)
    with _clear_errors():
        report = asyncio.run(commits.run(ledger, seconds, tables.say))
    _show(report, as_json, tables.show_commits)


@bench.command("idle")
def measure_idle(
    projects: Annotated[int, typer.Option(help="Number of projects, each with one memory.")] = 1000,
    seconds: Annotated[float, typer.Option(help="Duration of the measurement, in seconds.")] = 60.0,
    as_json: AsJson = False,
) -> None:
    """Measure an idle server: SQL statements, CPU time and spans per second.

    Uses the embedded engines.
    """
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
    memories: Annotated[int, typer.Option(help="Number of memories; a tenth is deleted.")] = 100_000,
    ledger: Annotated[
        str | None,
        typer.Option(
            help="Empty database to measure too, postgresql://user:password@host:port/database; it is filled."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure DeleteMemories: the time to delete a tenth of a project by a filter.

    Reports the seconds per 10,000 deleted memories.
    """
    import asyncio

    from recalld_server.bench import deletion, tables

    if not 10 <= memories <= MOST_MEMORIES:
        raise typer.BadParameter(f"must be 10 to {MOST_MEMORIES}", param_hint="--memories")
    with _clear_errors():
        report = asyncio.run(deletion.run(memories, ledger, tables.say))
    _show(report, as_json, tables.show_deletion)


def _show(report: R, as_json: bool, show: Callable[[R], None]) -> None:
    """Print a report as one JSON object or as tables."""
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
        raise typer.BadParameter("must be whole numbers separated by commas", param_hint=option) from None
    if not all(1 <= number <= most for number in numbers):
        raise typer.BadParameter(f"each must be 1 to {most}", param_hint=option)
    return numbers


@contextmanager
def _clear_errors() -> Iterator[None]:
    """Print errors on one line and exit with status 1; a ServerError includes the end of the server's log."""
    from recalld import RecalldError
    from recalld.testing import ServerError
    from recalld_server.domain.errors import RecalldError as Refused

    try:
        yield
    except (BenchError, RecalldError, Refused, ServerError) as error:
        typer.echo(f"recalld bench: {error}", err=True)
        raise typer.Exit(1) from None
