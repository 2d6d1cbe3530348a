"""Benchmark of commits per second, for one project and for many, on a SQLite file and on PostgreSQL.

It uses only the ledger, in this process. Each transaction stores a new memory with its message, features and outcome,
as an add does, without extraction, embedding or index.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from recalld_server.bench import BenchError
from recalld_server.domain.errors import SettingMissing
from recalld_server.domain.memory import Access, Kind, Memory, Message, Scope
from recalld_server.domain.revision import Change, Conversation, Features, Put, RequestKey
from recalld_server.wiring.composition import build
from recalld_server.wiring.ledger_store import FORM, ledger_server
from recalld_server.wiring.parts import Recalld
from recalld_server.wiring.settings import Settings
from recalld_server.wiring.stores import EMBEDDED

DIMENSION = 384
TERMS = 12
CROWDS = ((1, 1), (1, 16), (16, 16), (16, 64))  # projects, callers

Say = Callable[[str], None]


class NoModel:
    """A placeholder for the embedder, which is never used."""

    model, dimension = "bench/commits", DIMENSION

    async def embed(self, texts: Sequence[str], **_: object) -> np.ndarray:
        """Return zeros of shape (n, 384)."""
        return np.zeros((len(texts), DIMENSION), np.float32)

    async def close(self) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class Rate:
    """The commits per second of all callers together, and percentiles of one commit in milliseconds."""

    engine: str
    projects: int
    callers: int
    commits: int
    per_second: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class CommitsReport:
    """The rates of all engines and numbers of callers. `seconds` is the duration of each measurement."""

    seconds: float
    rates: Sequence[Rate]

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {"seconds": self.seconds, "rates": [asdict(rate) for rate in self.rates]}


async def run(postgres: str | None, seconds: float, say: Say) -> CommitsReport:
    """Measure a new SQLite file, then the empty database at the URL `postgres` if one is given.

    Raises BenchError if a ledger is not empty.
    """
    rates: list[Rate] = []
    for engine, ledger in ledgers(postgres):
        async with empty_ledger(ledger) as recalld:
            for projects, callers in CROWDS:
                say(f"{engine}: {callers} callers, {projects} projects")
                rates.append(await _rate(recalld, engine, projects, callers, seconds))
    return CommitsReport(seconds, rates)


def ledgers(postgres: str | None) -> list[tuple[str, str]]:
    """The engine and URL of each ledger to measure. Raises BenchError if `postgres` is not a PostgreSQL URL."""
    if postgres is None:
        return [("SQLite", EMBEDDED)]
    try:
        ledger_server(postgres)
    except SettingMissing as error:
        raise BenchError(f"--ledger must be the URL of an empty PostgreSQL database, {FORM}.") from error
    return [("SQLite", EMBEDDED), ("PostgreSQL", postgres)]


@asynccontextmanager
async def empty_ledger(url: str) -> AsyncIterator[Recalld]:
    """The use cases on a ledger, without a model. Raises BenchError if the ledger is not empty."""
    with tempfile.TemporaryDirectory(prefix="recalld-bench-") as folder:
        recalld = await build(Settings(data_dir=Path(folder), ledger=url), model=NoModel())
        try:
            if (await recalld.ledger.positions(Access("default"))).head or len(await recalld.ledger.projects()) > 1:
                raise BenchError("The ledger is not empty. Create an empty database for the benchmark.")
            yield recalld
        finally:
            await recalld.close()


async def _rate(recalld: Recalld, engine: str, projects: int, callers: int, seconds: float) -> Rate:
    generation = await recalld.ledger.generation("default")
    named = [f"bench-{projects}-{callers}-{number}" for number in range(projects)]
    for project in named:
        await recalld.ledger.ensure_project(project, generation)
    times: list[float] = []
    begun = perf_counter()

    async def call(caller: int) -> None:
        access = Access(named[caller % projects], principal="bench")
        for number in itertools.count():
            start = perf_counter()
            if start - begun >= seconds:
                return
            await recalld.ledger.commit(access, _change(caller, number))
            times.append(perf_counter() - start)

    await asyncio.gather(*(call(caller) for caller in range(callers)))
    elapsed = perf_counter() - begun
    p50, p99 = np.percentile(times, [50, 99]) * 1000
    return Rate(engine, projects, callers, len(times), len(times) / elapsed, float(p50), float(p99))


def _change(caller: int, number: int) -> Change:
    id = f"{caller}-{number}"
    vector = np.zeros(DIMENSION, np.float32)
    vector[number % DIMENSION] = 1.0
    memory = Memory(
        id,
        f"Locker {id} holds a hat",
        Scope(user_id=f"user {caller}"),
        speaker="user",
        add_id=id,
        source_positions=(0,),
        conversation=id,
    )
    put = Put(memory, Kind.ADDED, features=Features(np.arange(TERMS, dtype=np.uint32), vector), unique=True)
    return Change(
        puts=[put],
        conversations=[Conversation(id, "", [Message("user", memory.text)])],
        request=RequestKey("Add", id, id),
        answer={"memories": [[id, 1]]},
    )
