"""Prints reports of benchmarks as tables. Progress goes to standard error, results to standard output."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from recalld_server.bench.commits import CommitsReport
    from recalld_server.bench.deletion import DeletionReport
    from recalld_server.bench.idle import IdleReport
    from recalld_server.bench.load import LoadReport, Size
    from recalld_server.bench.overload import OverloadReport
    from recalld_server.bench.retrieval import RetrievalReport


def say(text: str) -> None:
    """Print the progress."""
    Console(stderr=True).print(f"{text} …", style="dim", markup=False, highlight=False)


def show_retrieval(report: RetrievalReport) -> None:
    """Print recall by category and search times."""
    console = Console()
    overall = report.recall()
    table = _table("Recall of evidence turns", "category", "questions", *overall)
    for category, count in report.categories().items():
        table.add_row(category, str(count), *(f"{value:.3f}" for value in report.recall(category).values()))
    table.add_section()
    table.add_row("all", str(len(report.answers)), *(f"{value:.3f}" for value in overall.values()))
    console.print(table)
    if other := report.embedded:
        both = f"{overall['recall@10']:.4f}, of the embedded engines {other.recall()['recall@10']:.4f}"
        console.print(f"recall@10 {both}", highlight=False)
        console.print(f"mean overlap of the first ten hits: {report.overlap(other):.4f}", highlight=False)
    times = report.search_ms()
    console.print(f"search, one caller: p50 {times['p50']:.1f} ms, p99 {times['p99']:.1f} ms", highlight=False)
    console.print(f"import: {report.turns} turns in {report.import_seconds:.1f} s", highlight=False)
    if report.repeated:
        console.print(f"{report.repeated} turns repeat an earlier turn of their session; they count as not found")


def show_load(report: LoadReport) -> None:
    """Print a table of times and a table of stages for each size."""
    console = Console()
    for size in report.sizes:
        users = "one user" if size.users == 1 else f"{size.users:,} users of {size.memories // size.users:,}"
        title = f"{size.memories:,} memories, {users}"
        console.print(_times(size, title), _stages(size, f"{title}: where the time goes, p50 ms"))
        if size.beside:
            console.print(_beside(size))
        filled, measured = (f"{mib:.0f} MiB" if mib is not None else "unknown" for mib in size.resident)
        console.print(
            f"fill: {size.fill_per_second:.0f} memories per second; resident memory: {filled} after the fill, "
            f"{measured} after the calls\n",
            highlight=False,
        )
    if imports := report.imports:
        console.print(
            f"import of {imports.texts} texts: {imports.import_per_second:.0f} per second, {imports.ratio:.0%} of the "
            f"{imports.embedder_per_second:.0f} of the embedder alone",
            highlight=False,
        )
    console.print(
        f"{report.processors} processors, shared by the server (one process) and this client (one process); "
        f"{report.seconds:g} s for each row, after {report.warm_up:g} s of searches. The memories have random vectors. "
        "No question was asked twice, so no query embedding came from the cache.",
        highlight=False,
    )


def show_overload(report: OverloadReport) -> None:
    """Print times before, during and after the overload, and the results of the calls."""
    console = Console()
    table = _table(f"{report.asked:.0f} searches per second, {report.seconds:.0f} s", "searches", "p50 ms", "p99 ms")
    rows = {
        "one caller before": report.before,
        "admitted under overload": report.during,
        "refused under overload": report.refusal,
        "one caller after": report.after,
    }
    for name, times in rows.items():
        table.add_row(name, f"{times.p50:.1f}", f"{times.p99:.1f}")
    console.print(table)
    filled, most = (f"{mib:.0f} MiB" if mib is not None else "unknown" for mib in report.resident)
    console.print(
        f"admitted {report.admitted:.0f} per second, capacity {report.capacity:.0f}; p99 {report.slowdown:.1f} times "
        f"that without load; {report.refusals} refused, {report.without_retry_info} of them without reason or delay; "
        f"other errors: {report.other_errors or 'none'}; resident memory {filled} before, at most {most}",
        highlight=False,
    )


def show_commits(report: CommitsReport) -> None:
    """Print rates by engine, also relative to the first engine with the same callers."""
    table = _table(
        "Commits per second", "ledger", "projects", "callers", "commits/s", "relative to SQLite", "p50 ms", "p99 ms"
    )
    first = {(rate.projects, rate.callers): rate.per_second for rate in reversed(report.rates)}
    for at, rate in enumerate(report.rates):
        if at and rate.engine != report.rates[at - 1].engine:
            table.add_section()
        share = rate.per_second / first[rate.projects, rate.callers]
        shown = (f"{rate.per_second:.0f}", f"{share:.0%}", f"{rate.p50:.1f}", f"{rate.p99:.1f}")
        table.add_row(rate.engine, str(rate.projects), str(rate.callers), *shown)
    Console().print(table)


def show_idle(report: IdleReport) -> None:
    """Print the figures of an idle server."""
    table = _table("Idle server", "projects", "statements/s", "CPU ms/s", "spans/s")
    shown = (f"{report.statements:.1f}", f"{1000 * report.cpu:.1f}", f"{report.spans:.1f}")
    table.add_row(str(report.projects), *shown)
    Console().print(table)


def show_deletion(report: DeletionReport) -> None:
    """Print a row per engine: the total and the seconds of each 10,000, in order."""
    table = _table(
        "Deletion of a tenth by a filter", "ledger", "memories", "deleted", "fill s", "total s", "s per 10,000"
    )
    for run in report.runs:
        steps = " ".join(f"{seconds:.1f}" for seconds in run.steps)
        counts = (f"{run.memories:,}", f"{run.deleted:,}", f"{run.fill_seconds:.0f}", f"{run.seconds:.1f}")
        table.add_row(run.engine, *counts, steps)
    Console().print(table)


def _times(size: Size, title: str) -> Table:
    table = _table(title, "call", "callers", "calls", "p50 ms", "p99 ms", "first p50", "first p99", "calls/s")
    for at, call in enumerate(size.calls):
        if at and call.call != size.calls[at - 1].call:
            table.add_section()
        times = (call.p50, call.p99, call.first_p50, call.first_p99)
        shown = ("" if time is None else f"{time:.2f}" for time in times)
        table.add_row(call.call, str(call.callers), str(call.count), *shown, f"{call.throughput:.0f}")
    return table


def _stages(size: Size, title: str) -> Table:
    names = list(dict.fromkeys(name for call in size.calls for name in call.stages))
    names.sort(key=("elsewhere", "outside the embedder").__contains__)  # these two are last
    table = _table(title, "call", "callers", *names)
    for at, call in enumerate(size.calls):
        if at and call.call != size.calls[at - 1].call:
            table.add_section()
        shown = (f"{call.stages[name]:.2f}" if name in call.stages else "" for name in names)
        table.add_row(call.call, str(call.callers), *shown)
    return table


def _beside(size: Size) -> Table:
    headings = ("questions", "search p50", "search p99", "legs p50", "legs p99", "ratio of p50")
    title = f"searches without the embedder, and the two legs alone with {size.beside[0].limit} objects each, ms"
    table = _table(title, "callers", *headings)
    for one in size.beside:
        times = (f"{time:.2f}" for time in (one.search_p50, one.search_p99, one.legs_p50, one.legs_p99, one.ratio))
        table.add_row(str(one.callers), str(one.count), *times)
    return table


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column(first)
    for name in others:
        table.add_column(name, justify="right")
    return table
