"""Exports are kept as long as the project's settings say, and then deleted completely."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import func, select
from tests.contract.ledger_world import DAY, GENERATION, SECOND, FakeClock, added, write

from recalld_server.adapters.exports.formats import encoder
from recalld_server.adapters.ledger.exports import SqlExports
from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.projects import SqlProjects
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.adapters.sql.engine import SqliteEngine
from recalld_server.domain.commands import ExportCommand, Format, encoded
from recalld_server.domain.errors import ExportNotFound
from recalld_server.domain.exports import Export
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.operations import NewOperation, OperationKind
from recalld_server.usecases.jobs.export import ExportJob

HERE, USER, HOUR = Access("default"), Scope(user_id="alice"), 3600 * SECOND


async def made(engine: SqliteEngine, clock: FakeClock, id: str) -> Export:
    exports, operations = SqlExports(engine, clock), SqlOperations(engine, clock)
    asked = encoded(ExportCommand(USER, None, Format.JSONL))
    await exports.start(HERE, NewOperation(f"op {id}", OperationKind.EXPORT, id, asked), USER)
    held = await operations.claim(60)
    assert held is not None
    await ExportJob(exports, SqlLedger(engine, clock), encoder, hours=24).run(held)
    return await exports.get(HERE, id)


@pytest.mark.parametrize(("kept", "expected"), [(None, DAY), (HOUR, HOUR), (7 * DAY, 7 * DAY)])
async def test_exports_go_when_their_time_has_come(tmp_path: Path, kept: int | None, expected: int) -> None:
    clock = FakeClock()
    engine = await open_sqlite(tmp_path / "ledger.db")
    ledger, projects = SqlLedger(engine, clock), SqlProjects(engine, clock)
    await ledger.ensure_project("default", GENERATION)
    no_build = NewOperation("build", OperationKind.REBUILD_INDEX, "default")
    await projects.change_settings(HERE, "default", {"export_retention": kept}, None, no_build)
    await write(ledger, added("m"))
    export = await made(engine, clock, "e")
    assert export.expire_time == clock.time + expected
    assert (await projects.usage("default")).export_bytes == export.size > 0
    operations, exports = SqlOperations(engine, clock), SqlExports(engine, clock)
    clock.time += expected - 1
    await operations.sweep()
    assert (await exports.get(HERE, "e")).id == "e"
    clock.time += 1
    with pytest.raises(ExportNotFound):
        await exports.get(HERE, "e")
    await operations.sweep()
    for table in (t.exports, t.export_chunks):
        count = select(func.count()).select_from(table)
        assert await engine.read(lambda c, count=count: c.execute(count).scalar_one()) == 0
    await ledger.close()
