"""No query of the ledger reads all rows of a project, according to the query plans of the engines.

The tests call every method of the port on a ledger with enough rows, record its statements and let the engine explain
them. They fail if a method is not called here, or if a plan scans a large table, or all rows of a project in it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.contract.ledger_world import GENERATION, START, FakeClock, added, asked, updated, write
from tests.contract.query_plans import ROWS, faults, filled, postgres_faults, sqlite_faults

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.store import open_postgres, open_sqlite
from recalld_server.adapters.sql.engine import SqliteEngine
from recalld_server.adapters.sql.postgres import PostgresEngine
from recalld_server.domain.filters import Comparison, Operator
from recalld_server.domain.memory import SCOPE_FIELDS, Access, Scope
from recalld_server.domain.revision import Delete, EventQuery, Features, ListQuery
from recalld_server.ports.ledger import Ledger

BIG = Access("big", principal="key")
PINNED = Access("big", Scope("u1"), "key")
USER, APP = Scope("u1"), Scope(app_id="app")
TENTH = Comparison("metadata.tenth", Operator.EQ, 3.0)
NOW = 1_700_000_000_000_000
SEQ = ROWS  # the past: before every change
IDS = [f"m{1_000_000_000 + n}" for n in (1, 5, 9)]

# What may go through a project's rows, by method, and why. Each must be needed.
ALLOWED: Mapping[str, str] = {
    "page": "walks an index in the order of the page and stops when it is full; a total is a count that was asked for",
    "count": "how many memories a whole project holds is known by counting them",
    "snapshot": "without a scope id it stops at its limit",
    "claim": "goes through what is pending",
    "lags": "counts what is pending, which is little or is being worked off",
    "backlog": "as `lags`",
    "behind": "of each project that has anything pending it stops at the first change that is late",
    "answers": "stops at the first answer of the last day; older ones are dropped",
}

Call = Callable[[SqlLedger], Awaitable[Any]]


def pages(ledger: SqlLedger) -> Iterator[Awaitable[Any]]:
    """Every kind of page there is: order, direction, cursor, scope, filter, moment."""
    for order in ("create_time", "update_time"):
        for scope in (Scope(), USER, APP):
            for after in (None, (NOW, "m")):
                yield ledger.page(BIG, ListQuery(scope, order=order, after=after, now=NOW))
    for scope in (Scope(), USER):
        yield ledger.page(BIG, ListQuery(scope, TENTH, now=NOW, count=True))
        yield ledger.page(BIG, ListQuery(scope, as_of=SEQ, now=NOW, count=True))
        yield ledger.page(BIG, ListQuery(scope, TENTH, as_of=SEQ, now=NOW, after=(NOW, "m")))
    yield ledger.page(PINNED, ListQuery(now=NOW))


def several(*makes: Call) -> Call:
    async def call(ledger: SqlLedger) -> None:
        for make in makes:
            await make(ledger)

    return call


async def in_list(ledger: SqlLedger) -> None:
    for page in pages(ledger):
        await page


async def changed(ledger: SqlLedger) -> None:
    """Commits of every kind: additions, a repeated text, an update, a deletion, an answer in two parts."""
    new = (await write(ledger, added("new", unique=True), access=BIG)).memories[0]
    await write(ledger, updated(new, text="other"), access=BIG, request=asked("r"), partial=True)
    await write(ledger, access=BIG, request=asked("r"), attempt=1)
    [match, *_] = await ledger.matching(BIG, APP, None, 2 * ROWS, None, 1)
    await write(ledger, Delete(match.memory_id, match.revision), access=BIG)


async def refeatured(ledger: SqlLedger) -> None:
    found = await ledger.memories(BIG, [*IDS, "m1000000003"])
    made = [Features(np.array([1], np.uint32), np.ones(4, np.float32)) for _ in found]
    await ledger.add_features("big", GENERATION, list(found.values()), made)


async def forgotten(ledger: SqlLedger) -> None:
    for number, scope in enumerate((Scope("u3"), Scope("u13", app_id="app"))):
        request = asked(f"f{number}", "ForgetMemories")
        done = await ledger.begin_forgetting(BIG, scope, TENTH, request)
        await ledger.forget(BIG, scope, TENTH, 10, request, done)


def chosen(pool: Any) -> tuple[int, Sequence[str]]:
    return len(pool.ids), IDS


CALLS: Mapping[str, Call] = {
    "generation": lambda x: x.generation("big"),
    "commit": changed,
    "outcomes": lambda x: x.outcomes(BIG, "Add", IDS),
    "add_features": refeatured,
    "live_among": lambda x: x.live_among("big", IDS),
    "pending_among": lambda x: x.pending_among("big", GENERATION, IDS),
    "outcome": lambda x: x.outcome(BIG, "Add", "r"),
    "memories": several(lambda x: x.memories(BIG, IDS), lambda x: x.memories(PINNED, IDS, SEQ)),
    "revisions": lambda x: x.revisions(BIG, [(id, 1) for id in IDS]),
    "latest": lambda x: x.latest(BIG, IDS),
    "repeats": lambda x: x.repeats(BIG, [(f"scope of u{n}", f"text {n}") for n in range(500)], NOW),
    "outside": lambda x: x.outside(PINNED, IDS, ["a1000000001"]),
    "page": in_list,
    "matching": several(
        *(
            lambda x, s=scope, f=filter, a=after: x.matching(BIG, s, f, SEQ, a, 100)  # type: ignore[misc]
            for scope in (Scope(), USER, APP)
            for filter in (None, TENTH)
            for after in (None, (NOW // 2, "m"))
        )
    ),
    "count": several(
        *(lambda x, s=scope: x.count(BIG, s, TENTH, SEQ) for scope in (Scope(), USER))  # type: ignore[misc]
    ),
    "pool": several(
        *(lambda x, f=filter: x.pool(BIG, USER, f, IDS, GENERATION, NOW) for filter in (None, TENTH))  # type: ignore[misc]
    ),
    "chosen": lambda x: x.chosen(BIG, USER, None, IDS, GENERATION, NOW, chosen),
    "snapshot": several(
        *(
            lambda x, s=scope: x.snapshot(BIG, s, TENTH, GENERATION, SEQ, NOW, 100)  # type: ignore[misc]
            for scope in (Scope(), USER)
        )
    ),
    "features": lambda x: x.features(BIG, IDS, GENERATION),
    "search_state": lambda x: x.search_state(BIG, USER),
    "events": several(
        lambda x: x.events(BIG, EventQuery(SEQ)),
        lambda x: x.events(BIG, EventQuery(SEQ, scope=USER, filter=TENTH)),
        lambda x: x.events(BIG, EventQuery(SEQ, memory_id=IDS[0])),
    ),
    "follow": lambda x: x.follow(BIG, EventQuery(SEQ)),
    "entities": several(
        lambda x: x.entities(BIG, SCOPE_FIELDS, None, 10),
        lambda x: x.entities(BIG, SCOPE_FIELDS, ("user_id", "u5"), 10),
        lambda x: x.entities(PINNED, SCOPE_FIELDS, ("app_id", ""), 10),
    ),
    "count_entities": several(
        lambda x: x.count_entities(BIG, SCOPE_FIELDS), lambda x: x.count_entities(PINNED, SCOPE_FIELDS)
    ),
    "known": several(lambda x: x.known(BIG, Scope("nobody")), lambda x: x.known(PINNED, Scope("u1", app_id="none"))),
    "positions": lambda x: x.positions(BIG),
    "sequence_at": lambda x: x.sequence_at(BIG, 1_600_000_000_005_000),
    "time_of": lambda x: x.time_of(BIG, SEQ),
    "projects": lambda x: x.projects(),
    "pending": lambda x: x.pending("big", GENERATION, 100),
    "behind": lambda x: x.behind(2.0),
    "claim": lambda x: x.claim("big", GENERATION, 2.0, 30.0, 100),
    "release": lambda x: x.release("big", GENERATION, IDS),
    "lags": lambda x: x.lags(),
    "backlog": lambda x: x.backlog("big"),
    "expired": several(
        lambda x: x.expired(NOW, (), None, 100), lambda x: x.expired(NOW, ["other"], (NOW - 1, "big", "m"), 100)
    ),
    "purge_outcomes": lambda x: x.purge_outcomes(NOW, 100),
    "retentions": lambda x: x.retentions(),
    "retention": lambda x: x.retention("big"),
    "trim": lambda x: x.trim("big", 1_600_000_000_000_000 + ROWS + 50, 10),
    "entries": lambda x: x.entries("big", GENERATION, IDS),
    "settle": lambda x: x.settle("big", GENERATION, dict.fromkeys(IDS, 1), 2 * ROWS),
    "live": lambda x: x.live("big", "m", 100),
    "extent": several(
        *(lambda x, s=scope: x.extent(BIG, s, TENTH) for scope in (USER, Scope("nobody")))  # type: ignore[misc]
    ),
    "begin_forgetting": lambda x: x.begin_forgetting(BIG, USER, TENTH, asked("b", "ForgetMemories")),
    "forget": forgotten,
    "remains": lambda x: x.remains("big", 2 * ROWS, 100),
    "said": lambda x: x.said("big", [("a1000000001", 0)]),
    "answers": lambda x: x.answers("big"),
    "pend_after": lambda x: x.pend_after("big", GENERATION, 2 * ROWS - 1100),
    "interrupted": lambda x: x.interrupted("big", GENERATION),
}
# They ask nothing of the tables that may be large.
ELSEWHERE = {"ping", "erasures", "cleared", "clears", "file_legs", "compact", "close"}


def test_every_method_is_called() -> None:
    parts = [vars(part) for part in Ledger.__mro__ if part.__module__.startswith("recalld_server.ports")]
    methods = {name for part in parts for name in part if callable(part[name]) and not name.startswith("_")}
    assert set(CALLS) == methods - ELSEWHERE
    assert set(ALLOWED) <= set(CALLS)


@pytest.fixture
def late(clock: FakeClock) -> FakeClock:
    clock.time = START
    return clock


async def test_sqlite_reads_no_whole_project(tmp_path: Path, late: FakeClock) -> None:
    engine: SqliteEngine = await open_sqlite(tmp_path / "ledger.db")
    async with filled(engine, late, "zeroblob(8)") as ledger:
        found = await faults(ledger, CALLS, engine, (engine.reader_engine, engine.writer_engine), sqlite_faults)
    assert {name: lines for name, lines in found.items() if name not in ALLOWED} == {}
    assert set(ALLOWED) - {"claim", "count"} <= set(found)  # these are PostgreSQL's


@pytest.mark.needs_postgres
async def test_postgres_reads_no_whole_project(postgres_url: str, late: FakeClock) -> None:
    engine: PostgresEngine = await open_postgres(postgres_url)
    async with filled(engine, late, "decode('0000000000000000', 'hex')") as ledger:
        await engine.write(lambda c: c.exec_driver_sql("ANALYZE"))
        found = await faults(ledger, CALLS, engine, (engine.engine,), postgres_faults)
    assert {name: lines for name, lines in found.items() if name not in ALLOWED} == {}
