"""Deletion of projects in the ledger: implements ports.removals.ProjectDeletions."""

from __future__ import annotations

import json
from collections.abc import Sequence

from sqlalchemy import Connection, Table, and_, bindparam, delete, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger import export_chunks
from recalld_server.adapters.ledger.erasure import file_erasures
from recalld_server.adapters.ledger.lines import background_line
from recalld_server.adapters.ledger.operations import created
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.errors import ProjectNotFound
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import NewOperation, Operation
from recalld_server.domain.revision import Generation
from recalld_server.ports.clock import Clock

_D = t.deleted_projects.c
_AT_ONCE = (t.keys, t.operations, t.projects)  # without its operation a worker loses its lease and can write no more
_HELD: list[Table] = [  # the tables that are cleared afterwards
    table
    for table in t.metadata.sorted_tables
    if "project" in table.c and table not in (t.keys, t.projects, t.deleted_projects)
]
_PART = {t.export_chunks: export_chunks.CLEARED}  # rows per transaction where they are large


class SqlProjectDeletion:
    """See ports.removals.ProjectDeletions."""

    def __init__(self, engine: SqlEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def begin(self, access: Access, new: NewOperation) -> Operation:
        project, now = new.subject, self._clock.now()

        def work(connection: Connection) -> Operation:
            operation, fresh = created(connection, access, new, now)
            if not fresh:
                return operation
            row = connection.execute(select(t.projects).where(t.projects.c.project == project)).one_or_none()
            if row is None:
                if connection.execute(select(_D.cleared).where(_D.project == project)).scalar() is not False:
                    raise ProjectNotFound(project_id=project)
                return operation
            names = [name for name in (row.generation, row.next_generation) if name]
            stone = {"project": project, "generations": json.dumps(names), "time": now, "cleared": False}
            connection.execute(insert(t.deleted_projects).values(stone))
            for table in _AT_ONCE:
                connection.execute(delete(table).where(table.c.project == project))
            return operation

        return await self._engine.write(work, line=background_line(project))

    async def generations(self, project: str) -> Sequence[Generation]:
        statement = select(_D.generations).where(_D.project == project)
        names = await self._engine.read(lambda c: c.execute(statement).scalar_one(), project)
        return [Generation.parse(name) for name in json.loads(names)]

    async def clear(self, project: str, limit: int) -> int:
        def work(connection: Connection) -> int:
            for table in _HELD:
                key = list(table.primary_key.columns)
                some = select(*key).where(table.c.project == project).limit(_PART.get(table, limit))
                gone = delete(table).where(table.c.project == project, tuple_(*key).in_(some))
                if count := connection.execute(gone).rowcount:
                    file_erasures.count(connection)
                    return count
            return _clear_answers(connection, project)

        return await self._engine.write(work, line=background_line(project))

    async def end(self, project: str) -> bool:
        def work(connection: Connection) -> bool:
            for table in _HELD:
                if connection.execute(select(table.c.project).where(table.c.project == project).limit(1)).first():
                    return False
            named = update(t.deleted_projects).where(_D.project == project)
            connection.execute(named.values(cleared=True, generations="[]"))
            return True

        return await self._engine.write(work, line=background_line(project))


def _clear_answers(connection: Connection, project: str) -> int:
    """Delete the outcomes of operators' requests about the project, which are stored under no project."""
    o = t.outcomes.c
    rows = connection.execute(select(o.principal, o.rpc, o.request_id, o.answer).where(o.project == "")).all()
    named = [
        {"the_principal": row.principal, "the_rpc": row.rpc, "the_request_id": row.request_id}
        for row in rows
        if project in (json.loads(row.answer).get(name) for name in ("id", "project"))
    ]
    if named:
        this = and_(*(column == bindparam(f"the_{column.name}") for column in (o.principal, o.rpc, o.request_id)))
        connection.execute(delete(t.outcomes).where(o.project == "", this), named)
    return len(named)
