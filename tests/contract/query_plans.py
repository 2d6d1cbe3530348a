"""The query plans of the statements of a call, on a ledger with enough rows."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, event
from tests.contract.ledger_world import GENERATION, FakeClock

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.bench.deletion import filling

ROWS = 20_000  # memories of the large project, of which a third was changed and a third deleted since
LARGE = ("revisions", "facets", "features", "messages", "pending", "outcomes", "speakers", "conversations")
LARGE += ("operations", "operation_payloads")
P = TypeVar("P")


def fill(connection: Connection, blob: str) -> None:
    """A large project with a past, and twenty others beside it, so that no project is most of a table."""
    for project, rows in (("big", ROWS), *((f"p{n}", ROWS // 10) for n in range(20))):
        for statement in filling(project, 1, rows):
            connection.exec_driver_sql(statement)
    columns = [column.name for column in t.revisions.columns]
    again = {
        "revision": "2",
        "seq_from": f"seq_from + {ROWS}",
        "seq_to": f"CASE WHEN seq_from - 3 * (seq_from / 3) = 2 THEN seq_from + {ROWS} END",
        "kind": "CASE WHEN seq_from - 3 * (seq_from / 3) = 2 THEN 'DELETED' ELSE 'UPDATED' END",
        "commit_time": f"commit_time + {ROWS}",
    }
    values = ", ".join(again.get(name, name) for name in columns)
    named = "memory_id, text_revision, 1"
    for statement in (
        "UPDATE revisions SET expire_time = create_time + 5 WHERE seq_from - 50 * (seq_from / 50) = 0",
        f"UPDATE revisions SET seq_to = seq_from + {ROWS} WHERE project = 'big' AND seq_from - 3 * (seq_from / 3) > 0",
        f"INSERT INTO revisions ({', '.join(columns)}) SELECT {values} FROM revisions WHERE seq_to IS NOT NULL",
        f"UPDATE projects SET head = {2 * ROWS} WHERE project = 'big'",
        "INSERT INTO conversations SELECT DISTINCT project, conversation, 20 FROM revisions",
        f"INSERT INTO features SELECT DISTINCT project, {named}, {blob}, {blob} FROM revisions",
        "INSERT INTO pending SELECT project, 1, seq_from, memory_id, 0 FROM revisions"
        f" WHERE seq_from > {2 * ROWS - 5000} OR project = 'p1'",
        "INSERT INTO outcomes SELECT project, 'key', 'Add', memory_id, 'f', '{}', seq_from, false, create_time, 0"
        " FROM revisions WHERE seq_to IS NULL",
    ):
        connection.exec_driver_sql(statement)


@dataclass(frozen=True)
class Asked:
    """A statement and what it was run with."""

    text: str
    values: Any


@contextmanager
def listening(*engines: Engine) -> Iterator[list[Asked]]:
    """The statements that run meanwhile, each text once."""
    seen: dict[str, Asked] = {}

    def listen(_: Any, __: Any, text: str, values: Any, ___: Any, many: bool) -> None:
        if re.match(r"\s*(SELECT|WITH|INSERT|UPDATE|DELETE)", text):
            seen.setdefault(text, Asked(text, values[0] if many and isinstance(values, (list, tuple)) else values))

    for engine in engines:
        event.listen(engine, "before_cursor_execute", listen)
    found: list[Asked] = []
    try:
        yield found
    finally:
        for engine in engines:
            event.remove(engine, "before_cursor_execute", listen)
        found.extend(seen.values())


Explain = Callable[[Connection, Asked], list[str]]


def sqlite_faults(connection: Connection, asked: Asked) -> list[str]:
    """Lines of the plan that go through a large table, or through a project's part of it."""
    names = {alias.strip('"'): table for table, alias in re.findall(r'\b(\w+) AS ("?\w+"?)', asked.text)}
    cursor = connection.connection.cursor()
    lines = [row[3] for row in cursor.execute(f"EXPLAIN QUERY PLAN {asked.text}", asked.values).fetchall()]
    faults = []
    for line in lines:
        verb, name, *_ = [*line.split(), "", ""]
        bounds = re.search(r"\((.*)\)(?: LEFT-JOIN)?$", line)
        if names.get(name, name) not in LARGE or verb not in ("SCAN", "SEARCH"):
            continue
        # A search without bounds is for the least or the greatest: the end of an index.
        if verb == "SCAN" or "AUTOMATIC" in line or (bounds and bounds[1] == "project=?"):
            faults.append(line)
    return faults


def postgres_faults(connection: Connection, asked: Asked) -> list[str]:
    """As `sqlite_faults`."""
    cursor = connection.connection.cursor()
    cursor.execute(f"EXPLAIN (FORMAT JSON) {asked.text}", asked.values)
    plan = cursor.fetchone()[0]
    return list(_walked((json.loads(plan) if isinstance(plan, str) else plan)[0]["Plan"]))


def _walked(node: Mapping[str, Any]) -> Iterator[str]:
    kind, bound = node["Node Type"], node.get("Index Cond", "")
    table = node.get("Relation Name") or node.get("Index Name", "").split("_")[0]
    if table in LARGE and kind == "Seq Scan":
        yield f"Seq Scan {table} {node.get('Filter', '')}"
    if table in LARGE and "Index" in kind and kind != "BitmapAnd":
        columns = set(re.findall(r'(\w+)"? (?:=|<=|>=|<|>) ', bound.replace(")::text", "")))
        columns |= set(re.findall(r"\w+", (re.search(r"ROW\((.*?)\) [<>]", bound) or [""])[0]))
        if columns <= {"project"}:
            yield f"{kind} {node.get('Index Name')} {bound}"
    for inner in node.get("Plans", ()):
        yield from _walked(inner)


async def faults(
    port: P,
    calls: Mapping[str, Callable[[P], Awaitable[Any]]],
    store: SqlEngine,
    engines: Sequence[Engine],
    explain: Explain,
) -> dict[str, list[str]]:
    """By method: what its statements go through, each with the beginning of the statement."""
    found: dict[str, list[str]] = {}
    for name, call in calls.items():
        with listening(*engines) as statements:
            await call(port)
        assert statements, f"{name} ran no statement"
        for statement in statements:
            told = await store.write(lambda c, s=statement: explain(c, s))  # type: ignore[misc]
            found.setdefault(name, []).extend(
                f"{line}   IN   {' '.join(statement.text.split())[:300]}" for line in told
            )
    return {name: lines for name, lines in found.items() if lines}


@asynccontextmanager
async def filled(engine: SqlEngine, clock: FakeClock, blob: str) -> AsyncIterator[SqlLedger]:
    ledger = SqlLedger(engine, clock)
    for project in ("big", *(f"p{n}" for n in range(20))):
        await ledger.ensure_project(project, GENERATION)
    await engine.write(lambda c: fill(c, blob))
    yield ledger
    await ledger.close()
