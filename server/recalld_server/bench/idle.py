"""Benchmark of an idle server with many projects: SQL statements, CPU time and spans per second.

The server runs in this process, on the embedded engines in a temporary folder. Each project has one memory.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from sqlalchemy import Engine, event

from recalld_server.bench import BenchError
from recalld_server.domain.commands import AddCommand
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.telemetry.setup import Telemetry
from recalld_server.telemetry.tracing import Tracer
from recalld_server.wiring.app import App
from recalld_server.wiring.composition import build
from recalld_server.wiring.settings import Settings

START = 120.0  # time limit until the server is ready for searches, in seconds
SETTLE = 10.0  # seconds after readiness that are not measured

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class IdleReport:
    """Figures per second: SQL statements, seconds of CPU time, and spans started. `seconds` is the duration."""

    projects: int
    seconds: float
    statements: float
    cpu: float
    spans: float

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return asdict(self)


class _Counts(SpanProcessor):
    """Counts the SQL statements and spans of this process."""

    def __init__(self) -> None:
        self.statements = 0
        self.spans = 0

    def statement(self, *_: Any) -> None:
        self.statements += 1

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        self.spans += 1


async def run(projects: int, seconds: float, say: Say) -> IdleReport:
    """Fill a ledger, start a server and count. Raises BenchError if the server does not become ready."""
    counts = _Counts()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), grpc_port=0, http_port=0)
        say(f"{projects} projects")
        await _fill(settings, projects)
        provider = TracerProvider()
        provider.add_span_processor(counts)
        telemetry = Telemetry({})
        telemetry.instruments.tracer = Tracer(provider)
        event.listen(Engine, "before_cursor_execute", counts.statement)
        try:
            app = await App.start(settings, telemetry)
            try:
                say(f"idle for {seconds:.0f} s")
                return await _measured(app, projects, seconds, counts)
            finally:
                await app.stop()
        finally:
            event.remove(Engine, "before_cursor_execute", counts.statement)


async def _fill(settings: Settings, projects: int) -> None:
    recalld = await build(settings)
    try:
        first = await recalld.ledger.generation("default")
        said = [Message("user", "Likes tea")]
        for number in range(projects - 1):  # `default` exists already
            name = f"p{number}"
            await recalld.ledger.ensure_project(name, replace(first, number=1))
            await recalld.add.add(Access(name, principal="bench"), AddCommand(Scope("ann"), said, infer=False))
    finally:
        await recalld.close()


async def _measured(app: App, projects: int, seconds: float, counts: _Counts) -> IdleReport:
    end = perf_counter() + START
    while not app.recalld.readiness.last.searches:
        if perf_counter() > end:
            raise BenchError(f"the server is not ready after {START:.0f} s")
        await asyncio.sleep(0.1)
    await asyncio.sleep(SETTLE)
    begun, cpu = perf_counter(), process_time()
    statements, spans = counts.statements, counts.spans
    await asyncio.sleep(seconds)
    took = perf_counter() - begun
    return IdleReport(
        projects,
        took,
        (counts.statements - statements) / took,
        (process_time() - cpu) / took,
        (counts.spans - spans) / took,
    )
