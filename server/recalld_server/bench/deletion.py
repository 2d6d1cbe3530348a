"""Benchmark of the deletion of a tenth of all memories by a filter, with the time of every 10,000.

It runs the use case behind DeleteMemories, including commits and index updates, in this process. Bulk statements fill
the ledger, since adds would take hours. The index has none of the memories, but it receives all deletions.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from time import perf_counter
from typing import Any

from recalld_server.bench.commits import empty_ledger, ledgers
from recalld_server.domain.filters import Comparison, Operator
from recalld_server.domain.memory import Access
from recalld_server.usecases.memories import Deletion
from recalld_server.wiring.parts import Recalld

PROJECT = "default"
USERS = 1000
TENTH = Comparison("metadata.tenth", Operator.EQ, 3.0)
STEP = 10_000  # memories per reported time
BATCH = 20_000  # memories per transaction of the fill
LOOK = 0.02  # seconds between checks of the progress

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Run:
    """The result of one engine: seconds to fill it, and seconds to delete each 10,000 memories, in order."""

    engine: str
    memories: int
    deleted: int
    fill_seconds: float
    steps: Sequence[float]

    @property
    def seconds(self) -> float:
        """The duration of the whole deletion."""
        return sum(self.steps)


@dataclass(frozen=True, slots=True)
class DeletionReport:
    """The results of all engines."""

    runs: Sequence[Run]

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {"runs": [asdict(run) for run in self.runs]}


async def run(memories: int, postgres: str | None, say: Say) -> DeletionReport:
    """Measure a new SQLite file, then the empty database at the URL `postgres` if one is given.

    Raises BenchError if a ledger is not empty.
    """
    runs: list[Run] = []
    for engine, ledger in ledgers(postgres):
        async with empty_ledger(ledger) as recalld:
            say(f"{engine}: filling {memories:,} memories")
            begun = perf_counter()
            await _filled(recalld, memories)
            filled = perf_counter() - begun
            say(f"{engine}: deleting a tenth of them")
            runs.append(await _measured(recalld, engine, memories, filled))
    return DeletionReport(runs)


async def _measured(recalld: Recalld, engine: str, memories: int, filled: float) -> Run:
    access = Access(PROJECT, principal="bench")
    marks = [perf_counter()]
    deletion = asyncio.ensure_future(recalld.memories.delete_matching(access, Deletion(filter=TENTH)))
    while not deletion.done():
        await asyncio.wait([deletion], timeout=LOOK)
        done = (await recalld.ledger.positions(access)).head - memories
        marks += [perf_counter()] * (done // STEP - len(marks) + 1)
    deleted = deletion.result().count
    if deleted % STEP:
        marks.append(perf_counter())
    steps = [later - earlier for earlier, later in itertools.pairwise(marks)]
    return Run(engine, memories, deleted, filled, steps)


async def _filled(recalld: Recalld, memories: int) -> None:
    engine = recalld.ledger._engine
    for first in range(1, memories + 1, BATCH):
        for statement in filling(PROJECT, first, min(memories, first + BATCH - 1)):
            await engine.write(partial(_execute, statement))


def _execute(statement: str, connection: Any) -> None:
    connection.exec_driver_sql(statement)


# The columns of `revisions` and their SQL expressions for memory number i.
_ROW = {
    "project": "'{project}'",
    "memory_id": "'m' || CAST(1000000000 + i AS text)",
    **dict.fromkeys(("revision", "text_revision"), "1"),
    "seq_from": "i",
    "kind": "'ADDED'",
    **dict.fromkeys(("cause", "agent_id", "run_id", "feedback", "feedback_reason"), "''"),
    **dict.fromkeys(("principal", "request_id"), "'bench'"),
    **dict.fromkeys(("commit_time", "create_time", "update_time"), "1600000000000000 + i"),
    "user_id": f"'u' || CAST(i - {USERS} * (i / {USERS}) AS text)",
    "app_id": "'app'",
    "scope_key": f"'scope of u' || CAST(i - {USERS} * (i / {USERS}) AS text)",
    "text": "'Locker number ' || CAST(i AS text) || ' holds a hat, two gloves and a letter from home'",
    "folded": "'locker number ' || CAST(i AS text) || ' holds a hat, two gloves and a letter from home'",
    "text_key": "'text ' || CAST(i AS text)",
    "metadata": "'{{\"tenth\":' || CAST(i - 10 * (i / 10) AS text) || '}}'",
    "categories": "'[]'",
    "speaker": "'user'",
    **dict.fromkeys(("named", "immutable"), "false"),
    "add_id": "'a' || CAST(1000000000 + i AS text)",
    "source_positions": "'[0]'",
    "conversation": "'talk ' || CAST(i / 20 AS text)",
    "position": "i - 20 * (i / 20)",
    "ordinal": "0",
}


def filling(project: str, first: int, last: int) -> Iterator[str]:
    """SQL, for SQLite and PostgreSQL, that stores memories with the sequence numbers `first` to `last`."""
    numbers = f"WITH RECURSIVE n (i) AS (SELECT {first} UNION ALL SELECT i + 1 FROM n WHERE i < {last})"  # noqa: S608
    columns = ", ".join(_ROW)
    values = ", ".join(_ROW.values()).format(project=project)
    yield f"INSERT INTO revisions ({columns}) {numbers} SELECT {values} FROM n"  # noqa: S608 - no input of callers
    yield (
        "INSERT INTO facets (project, memory_id, revision, ordinal, key, kind, number)"  # noqa: S608
        f" {numbers} SELECT '{project}', {_ROW['memory_id']}, 1, 0, 'metadata.tenth', 'n', i - 10 * (i / 10) FROM n"
    )
    yield (
        "INSERT INTO messages (project, add_id, position, role, name, content)"  # noqa: S608
        f" {numbers} SELECT '{project}', {_ROW['add_id']}, 0, 'user', '', {_ROW['text']} FROM n"
    )
    for type in ("user_id", "app_id"):
        yield (
            "INSERT INTO speakers (project, type, id, name, live)"  # noqa: S608
            f" {numbers} SELECT '{project}', '{type}', {_ROW[type]}, 'user', count(*) FROM n GROUP BY 3"
            " ON CONFLICT (project, type, id, name) DO UPDATE SET live = speakers.live + excluded.live"
        )
    yield f"UPDATE projects SET head = {last}, last_time = 1600000000000000 + {last} WHERE project = '{project}'"  # noqa: S608
