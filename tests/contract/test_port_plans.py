"""As `test_query_plans`, for the other ports: exports, operations, projects, generations, removals, keys and leases."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Connection
from tests.contract.ledger_world import GENERATION, START, FakeClock, asked
from tests.contract.query_plans import ROWS, Explain, faults, filled, postgres_faults, sqlite_faults

from recalld_server.adapters.ledger.erasure.project_deletion import SqlProjectDeletion
from recalld_server.adapters.ledger.exports import SqlExports
from recalld_server.adapters.ledger.generations import SqlGenerations
from recalld_server.adapters.ledger.keys import SqlKeyRing
from recalld_server.adapters.ledger.leases import SqlLeases
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.projects import SqlProjects
from recalld_server.adapters.ledger.store import open_postgres, open_sqlite
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.commands import ExportCommand, Format, encoded
from recalld_server.domain.exports import Chunk, ExportSelection
from recalld_server.domain.filters import Comparison, Operator
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.operations import NewOperation, Operation, OperationKind, OperationState
from recalld_server.domain.projects import Project, ProjectSettings
from recalld_server.domain.revision import Features, Generation
from recalld_server.ports.exports import Exports
from recalld_server.ports.generations import Generations
from recalld_server.ports.keyring import KeyRing
from recalld_server.ports.leases import Leases
from recalld_server.ports.operations import Operations
from recalld_server.ports.projects import Projects
from recalld_server.ports.removals import ProjectDeletions

BIG = Access("big", principal="key")
OPERATOR = Access("", principal="operator")
USER = Scope("u1")
TENTH = Comparison("metadata.tenth", Operator.EQ, 3.0)
IDS = [f"m{1_000_000_000 + n}" for n in (1, 5, 9)]
NEXT = Generation(2, "test/model", 4, 1)

# What may go through a project's rows, and why.
ALLOWED: Mapping[str, str] = {
    "exports.rows": "walks the project in the order of ids, a page at a time, once in an export",
    "operations.free": "goes through the work that has not ended, in an index that has nothing else",
    "operations.sweep": "of what ended it reads what has ended long ago, in an index",
    "projects.usage": "an admin asks what a project holds, which is known by counting; a read ends after 30 s",
    "projects.backlog": "counts what is pending, which is little or is being worked off",
    "generations.drop": "of what is pending it stops at its limit",
    "generations.extent": "once in a build, which goes through all of it anyhow",
    "generations.finished": "what is pending for a generation that is given up goes in one statement",
    "removals": "to end a removal it looks for a first row that is left",
    "removals.clear": "what goes is all of the project, a part at a time",
}
PORTS = {
    "exports": Exports,
    "operations": Operations,
    "projects": Projects,
    "generations": Generations,
    "removals": ProjectDeletions,
    "keyring": KeyRing,
    "turns": Leases,
}


@dataclass
class Ports:
    """All of them on one ledger, and the work that is under way."""

    exports: SqlExports
    operations: SqlOperations
    projects: SqlProjects
    generations: SqlGenerations
    removals: SqlProjectDeletion
    keyring: SqlKeyRing
    turns: SqlLeases
    number: int = 0

    async def held(self, kind: OperationKind = OperationKind.EXPORT, project: str = "big") -> Operation:
        """Work that was just begun."""
        self.number += 1
        command = encoded(ExportCommand(Scope(), None, Format.JSONL))
        new = NewOperation(f"o{self.number}", kind, f"e{self.number}", command, request=asked(f"q{self.number}"))
        access = Access(project, principal="key")
        if kind is OperationKind.EXPORT:
            begun = await self.exports.start(access, new, Scope())
        else:
            begun = await self.operations.create(access, new)
        while (held := await self.operations.claim(30.0, [kind])) and held.id != begun.id:
            await self.operations.finish(held, OperationState.SUCCEEDED, result={}, error={})
        assert held
        return held


def selected(scope: Scope = Scope(), filter: Any = None, **rest: Any) -> ExportSelection:
    return ExportSelection(scope, filter, ROWS, START, **rest)


async def exported(x: Ports) -> None:
    for selection in (
        selected(),
        selected(USER, TENTH),
        selected(USER, TENTH, with_history=True),
        selected(filter=TENTH, with_history=True, generation=1),
    ):
        await x.exports.rows("big", selection, (IDS[0], 1), 100)


async def written(x: Ports) -> None:
    held = await x.held()
    await x.exports.append(held, [Chunk(0, b"data", "f")], {}, 1, 1)
    await x.exports.written(held, 0)
    await x.exports.restart(held)
    await x.exports.complete(held, [Chunk(0, b"data", "f")], memories=1, size=4, sha256="f", seconds=3600)
    await x.exports.chunk(BIG, held.subject, 0)
    await x.exports.latest(BIG, Scope())
    await x.exports.get(BIG, held.subject)
    await x.exports.delete(BIG, held.subject, asked("d"))


async def worked(x: Ports) -> None:
    held = await x.held(OperationKind.REBUILD_INDEX)
    await x.operations.renew(held, 30.0)
    await x.operations.advance(held, {"old": 1}, 1, 2)
    await x.operations.cancel(BIG, held.id)
    await x.operations.get(BIG, held.id)
    await x.operations.release(held, 0.0)
    await x.operations.hide(BIG, held.id)


async def built(x: Ports) -> None:
    held = await x.held(OperationKind.REBUILD_INDEX)
    await x.generations.begin(held, NEXT)
    memories = await x.generations.unfeatured("big", NEXT, IDS)
    assert memories
    await x.generations.known("big", GENERATION, memories)
    made = [Features(np.array([1], np.uint32), np.ones(4, np.float32)) for _ in memories]
    await x.generations.feature(held, NEXT, memories, made)
    await x.generations.switch(held, NEXT)


async def dropped(x: Ports) -> None:
    held = await x.held(OperationKind.REBUILD_INDEX, "p2")
    assert await x.generations.drop(held, IDS[0], 100)


async def finished(x: Ports) -> None:
    held = await x.held(OperationKind.REBUILD_INDEX, "p3")
    await x.operations.finish(held, OperationState.FAILED, result={}, error={})


async def removed(x: Ports) -> None:
    new = NewOperation("gone", OperationKind.DELETE_PROJECT, "p4", request=asked("g"))
    await x.removals.begin(OPERATOR, new)
    await x.removals.generations("p4")
    await x.removals.end("p4")


async def changed(x: Ports) -> None:
    build = NewOperation("b", OperationKind.REBUILD_INDEX, "big")
    made = Project("made")
    await x.projects.create(OPERATOR, made, ProjectSettings(), GENERATION, asked("c"))
    await x.projects.update(BIG, "big", {"name": "Big"}, asked("u"))
    await x.projects.change_settings(BIG, "big", {"custom_instructions": "x"}, asked("s"), build)
    await x.projects.get("big")
    await x.projects.settings("big")


async def keyed(x: Ports) -> None:
    await x.keyring.add(OPERATOR, ApiKey("k", "big", Role.ADMIN), b"digest", asked("k"), {})
    await x.keyring.find("k")
    await x.keyring.begun()
    await x.keyring.revoke(OPERATOR, "k", asked("v"))


async def turned(x: Ports) -> None:
    number = await x.turns.acquire(30.0)
    assert number
    await x.turns.renew(number, 30.0)
    await x.turns.release(number, 1)
    await x.turns.state()
    await x.turns.free()


# A call may be of many methods, of which each stands here once.
CALLS: Mapping[str, tuple[Callable[[Ports], Awaitable[Any]], Sequence[str]]] = {
    "exports.start": (lambda x: x.held(), ["exports.start", "operations.claim"]),
    "exports.page": (lambda x: x.exports.page(BIG, (START, "e"), 10), ["exports.page"]),
    "exports.clear": (lambda x: x.exports.clear("big"), ["exports.clear"]),
    "exports.withdrawn": (lambda x: x.exports.withdrawn("big"), ["exports.withdrawn"]),
    "exports.rows": (exported, ["exports.rows"]),
    "exports": (
        written,
        [
            f"exports.{name}"
            for name in ("append", "written", "restart", "complete", "chunk", "latest", "get", "delete")
        ],
    ),
    "operations.create": (
        lambda x: x.operations.create(BIG, NewOperation("a", OperationKind.ADD, "a", b"", request=asked("a"))),
        ["operations.create"],
    ),
    "operations": (
        worked,
        [f"operations.{name}" for name in ("renew", "advance", "cancel", "get", "release", "hide")],
    ),
    "operations.page": (lambda x: x.operations.page(BIG, (START, "o"), 10), ["operations.page"]),
    "operations.waiting": (lambda x: x.operations.waiting("big", USER), ["operations.waiting"]),
    "operations.free": (lambda x: x.operations.free(), ["operations.free"]),
    "operations.sweep": (lambda x: x.operations.sweep(), ["operations.sweep"]),
    "generations": (built, [f"generations.{name}" for name in ("begin", "unfeatured", "known", "feature", "switch")]),
    "generations.ids": (lambda x: x.generations.ids("big", IDS[0], "n", 100), ["generations.ids"]),
    "generations.extent": (lambda x: x.generations.extent("big"), ["generations.extent"]),
    "generations.drop": (dropped, ["generations.drop"]),
    "generations.finished": (finished, ["operations.finish"]),
    "projects": (changed, [f"projects.{name}" for name in ("create", "update", "change_settings", "get", "settings")]),
    "projects.page": (lambda x: x.projects.page("b", 10), ["projects.page"]),
    "projects.usage": (lambda x: x.projects.usage("big"), ["projects.usage"]),
    "projects.backlog": (lambda x: x.projects.backlog("big", GENERATION), ["projects.backlog"]),
    "projects.outcome": (lambda x: x.projects.outcome(BIG, "Add", "r"), ["projects.outcome"]),
    "keyring": (keyed, [f"keyring.{name}" for name in ("add", "find", "begun", "revoke")]),
    "keyring.page": (lambda x: x.keyring.page("big", (START, "k"), 10), ["keyring.page"]),
    "keyring.outcome": (lambda x: x.keyring.outcome(BIG, "Add", "r"), ["keyring.outcome"]),
    "turns": (turned, [f"turns.{name}" for name in ("acquire", "renew", "release", "state", "free")]),
    "removals": (removed, [f"removals.{name}" for name in ("begin", "generations", "end")]),
    "removals.clear": (lambda x: x.removals.clear("p4", 100), ["removals.clear"]),
}


def test_every_method_is_called() -> None:
    methods = [
        f"{port}.{name}"
        for port, kept in PORTS.items()
        for name in vars(kept)
        if callable(vars(kept)[name]) and not name.startswith("_")
    ]
    assert sorted(name for _, names in CALLS.values() for name in names) == sorted(methods)


def worked_before(connection: Connection) -> None:
    """Work that ended long ago, of every project, with its payloads."""
    connection.exec_driver_sql(
        "INSERT INTO operation_payloads SELECT project, 'w' || memory_id, secret FROM revisions, ledger"
        " WHERE seq_to IS NULL"
    )
    connection.exec_driver_sql(
        "INSERT INTO operations SELECT project, 'w' || memory_id, '', '', '', '', 'key', 'EXPORT', 'SUCCEEDED', "
        "'e' || memory_id, '', NULL, '', create_time, NULL, create_time, create_time, 0, 0, 1, false, false, 1, 0, "
        "'{}', '{}', '{}', 0, '', '', '', '' FROM revisions WHERE seq_to IS NULL"
    )


async def judged(engine: SqlEngine, engines: Sequence[Any], clock: FakeClock, blob: str, explain: Explain) -> None:
    async with filled(engine, clock, blob):
        await engine.write(worked_before)
        if engine.version is None:  # PostgreSQL plans by statistics
            await engine.write(lambda c: c.exec_driver_sql("ANALYZE"))
        ports = Ports(
            SqlExports(engine, clock),
            SqlOperations(engine, clock),
            SqlProjects(engine, clock),
            SqlGenerations(engine, clock),
            SqlProjectDeletion(engine, clock),
            SqlKeyRing(engine, clock),
            SqlLeases(engine, clock, "work"),
        )
        found = await faults(ports, {name: call for name, (call, _) in CALLS.items()}, engine, engines, explain)
    unforeseen = {name: lines for name, lines in found.items() if name not in ALLOWED}
    assert not unforeseen, "\n".join(f"{name}: {line}" for name, lines in unforeseen.items() for line in lines)


@pytest.fixture
def late(clock: FakeClock) -> FakeClock:
    clock.time = START
    return clock


async def test_sqlite_reads_no_whole_project(tmp_path: Path, late: FakeClock) -> None:
    engine = await open_sqlite(tmp_path / "ledger.db")
    await judged(engine, (engine.reader_engine, engine.writer_engine), late, "zeroblob(8)", sqlite_faults)


@pytest.mark.needs_postgres
async def test_postgres_reads_no_whole_project(postgres_url: str, late: FakeClock) -> None:
    engine = await open_postgres(postgres_url)
    await judged(engine, (engine.engine,), late, "decode('0000000000000000', 'hex')", postgres_faults)
