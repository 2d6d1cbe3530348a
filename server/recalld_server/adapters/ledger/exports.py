"""Implements ports.exports.Exports with SQLAlchemy Core."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, func, literal, or_, select, true, tuple_, update
from sqlalchemy import Row as SqlRow
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger import export_chunks as data
from recalld_server.adapters.ledger.commits.commit import commit
from recalld_server.adapters.ledger.lines import background_line
from recalld_server.adapters.ledger.operations import cancelled, created, ended, fenced
from recalld_server.adapters.ledger.rows import (
    begun,
    dump,
    features_of,
    inside,
    live_at,
    memory_columns,
    page_of,
    satisfying,
    scope_of,
    unexpired,
    with_sources,
)
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.commands import export_command
from recalld_server.domain.errors import ExportNotFound, ExportWithdrawn, OperationNotFound, ProjectNotFound
from recalld_server.domain.exports import Chunk, Export, ExportSelection, ExportState, Row
from recalld_server.domain.limits import PAGE_BYTES
from recalld_server.domain.memory import SCOPE_FIELDS, Access, Cause, Kind, Memory, Scope
from recalld_server.domain.operations import NewOperation, Operation, OperationState
from recalld_server.domain.revision import Change, RequestKey
from recalld_server.ports.clock import Clock

_E, _K = t.exports.c, t.export_chunks.c
_ROW = ("seq_from", "seq_to", "kind", "cause", "principal")


class SqlExports:
    """See ports.exports.Exports."""

    def __init__(self, engine: SqlEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def start(self, access: Access, new: NewOperation, scope: Scope) -> Operation:
        def work(connection: Connection) -> Operation:
            now = self._clock.now()
            operation, fresh = created(connection, access, new, now)
            if fresh:
                head = select(t.projects.c.head).where(t.projects.c.project == access.project)
                seq = connection.execute(head).scalar_one_or_none()
                if seq is None:
                    raise ProjectNotFound(project=access.project)
                row = {
                    "project": access.project,
                    "id": new.subject,
                    "operation": new.id,
                    "command": new.payload,
                    **{name: getattr(scope, name) for name in SCOPE_FIELDS},
                    "state": ExportState.PENDING.value,
                    "seq": seq,
                    "memories": 0,
                    "size": 0,
                    "sha256": "",
                    "create_time": now,
                }
                connection.execute(insert(t.exports).values(row))
            return operation

        return await self._engine.write(work, line=background_line(access.project))

    async def get(self, access: Access, id: str) -> Export:
        return await self._engine.read(lambda c: self._one(c, access, _E.id == id), access.project)

    async def latest(self, access: Access, scope: Scope) -> Export:
        exactly = [_E[name] == getattr(scope, name) for name in SCOPE_FIELDS]
        ready = and_(_E.state == ExportState.READY.value, *exactly)
        return await self._engine.read(lambda c: self._one(c, access, ready), access.project)

    async def page(self, access: Access, after: tuple[int, str] | None, limit: int) -> tuple[Sequence[Export], bool]:
        mine = [inside(access, source=t.exports), self._kept()]
        if after is not None:
            mine.append(tuple_(_E.create_time, _E.id) < tuple_(literal(after[0]), literal(after[1])))
        latest_first = (_E.create_time.desc(), _E.id.desc())
        sizes = select(func.length(_E.command)).where(*mine).order_by(*latest_first).limit(limit + 1)
        rows = select(t.exports).where(*mine).order_by(*latest_first)

        def work(connection: Connection) -> tuple[Sequence[Export], bool]:
            found = connection.execute(sizes).scalars().all()
            fit = sum(1 for total in accumulate(found) if total <= PAGE_BYTES)
            shown = min(limit, max(1, fit))
            return [_export(row) for row in connection.execute(rows.limit(shown))], shown < len(found)

        return await self._engine.read(work, access.project)

    async def chunk(self, access: Access, id: str, number: int) -> tuple[Export, Chunk | None]:
        def work(connection: Connection) -> tuple[Export, Chunk | None]:
            export = self._one(connection, access, _E.id == id)
            if export.state is ExportState.WITHDRAWN:
                raise ExportWithdrawn(export_id=id)
            if export.state is not ExportState.READY:
                raise ExportNotFound(export_id=id)
            named = and_(_K.project == access.project, _K.export_id == id, _K.number == number)
            row = connection.execute(select(_K.number, _K.data, _K.sha256).where(named)).one_or_none()
            return export, row and Chunk(*row)

        return await self._engine.read(work, access.project)

    async def delete(self, access: Access, id: str, request: RequestKey | None) -> None:
        def work(connection: Connection) -> None:
            now = self._clock.now()
            export = self._one(connection, access, _E.id == id)
            if request:
                commit(connection, access, Change(request=request), now)
            try:
                operation = cancelled(connection, access, export.operation, now)
            except OperationNotFound:  # deleted by a caller, or started under another pin: nothing to cancel
                operation = None
            connection.execute(delete(t.exports).where(_E.project == access.project, _E.id == id))
            if operation and operation.state is OperationState.SUCCEEDED:  # its result was the export
                named = and_(t.operations.c.project == access.project, t.operations.c.id == operation.id)
                connection.execute(update(t.operations).where(named).values(hidden=True))

        await self._engine.write(work, line=background_line(access.project))

    async def clear(self, project: str | None = None) -> None:
        while await self._engine.write(lambda c: data.clear(c, project), line=background_line(project or "")):
            pass

    async def withdrawn(self, project: str) -> bool:
        return await self._engine.read(lambda c: data.withdrawn(c, project), project)

    async def rows(self, project: str, selection: ExportSelection, after: tuple[str, int], limit: int) -> Sequence[Row]:
        return await self._engine.read(lambda c: _rows(c, project, selection, after, limit), project)

    async def restart(self, held: Operation) -> None:
        def work(connection: Connection) -> int:
            fenced(connection, held, self._clock.now(), checkpoint="{}", completed=0)
            some = select(_K.number).where(_chunks(held)).limit(data.CLEARED)
            return connection.execute(delete(t.export_chunks).where(_chunks(held), _K.number.in_(some))).rowcount

        while await self._engine.write(work, line=background_line(held.access.project)):
            pass

    async def append(
        self, held: Operation, chunks: Sequence[Chunk], checkpoint: Mapping[str, Any], completed: int, total: int
    ) -> None:
        def work(connection: Connection) -> None:
            values = {"checkpoint": dump(dict(checkpoint)), "completed": completed, "total": total}
            fenced(connection, held, self._clock.now(), **values)
            _keep(connection, held, chunks)

        await self._engine.write(work, line=background_line(held.access.project))

    async def written(self, held: Operation, number: int) -> bytes | None:
        statement = select(_K.data).where(_chunks(held), _K.number == number)
        return await self._engine.read(lambda c: c.execute(statement).scalar_one_or_none(), held.access.project)

    async def complete(
        self, held: Operation, chunks: Sequence[Chunk], *, memories: int, size: int, sha256: str, seconds: float
    ) -> None:
        def work(connection: Connection) -> None:
            now = self._clock.now()
            _keep(connection, held, chunks)
            values = {"state": ExportState.READY.value, "memories": memories, "size": size, "sha256": sha256}
            mine = and_(_E.project == held.access.project, _E.id == held.subject, _E.state == ExportState.PENDING.value)
            kept = _retention(connection, held.access.project) or int(seconds * 1_000_000)
            done = update(t.exports).where(mine).values(**values, expire_time=now + kept)
            if not connection.execute(done).rowcount:
                raise ExportWithdrawn(export_id=held.subject)
            fenced(connection, held, now, completed=memories, total=memories)
            ended(connection, held, OperationState.SUCCEEDED, now, {}, {})

        await self._engine.write(work, line=background_line(held.access.project))

    def _one(self, connection: Connection, access: Access, condition: ColumnElement[bool]) -> Export:
        mine = and_(inside(access, source=t.exports), condition, self._kept())
        latest_first = (_E.create_time.desc(), _E.id.desc())
        row = connection.execute(select(t.exports).where(mine).order_by(*latest_first).limit(1)).one_or_none()
        if row is None:
            raise ExportNotFound
        return _export(row)

    def _kept(self) -> ColumnElement[bool]:
        return or_(_E.expire_time.is_(None), _E.expire_time > self._clock.now())


def _retention(connection: Connection, project: str) -> int:
    """The project's setting `export_retention` in µs; 0 if it is not set."""
    settings = connection.execute(select(t.projects.c.settings).where(t.projects.c.project == project)).scalar_one()
    return int(json.loads(settings).get("export_retention") or 0)


def _chunks(held: Operation) -> ColumnElement[bool]:
    return and_(_K.project == held.access.project, _K.export_id == held.subject)


def _keep(connection: Connection, held: Operation, chunks: Sequence[Chunk]) -> None:
    owner = {"project": held.access.project, "export_id": held.subject}
    rows = [{**owner, "number": chunk.number, "data": chunk.data, "sha256": chunk.sha256} for chunk in chunks]
    if rows:
        connection.execute(insert(t.export_chunks), rows)


def _rows(
    connection: Connection, project: str, selection: ExportSelection, after: tuple[str, int], limit: int
) -> Sequence[Row]:
    r, f, s = t.revisions, t.features, selection
    own = and_(
        f.c.project == r.c.project,
        f.c.memory_id == r.c.memory_id,
        f.c.text_revision == r.c.text_revision,
        f.c.generation == (s.generation or 0),
    )
    mark = tuple_(r.c.memory_id, r.c.revision) > tuple_(literal(after[0]), literal(after[1]))
    statement = (
        select(*memory_columns(), *(r.c[name] for name in _ROW), f.c.terms, f.c.vector)
        .select_from(r.outerjoin(f, own) if s.generation else r.outerjoin(f, and_(own, ~true())))
        .where(inside(Access(project), s.scope), r.c.memory_id >= after[0], mark, *_selected(project, s))
        .order_by(r.c.memory_id, r.c.revision)
        .limit(limit + 1)
    )

    def made(rows: Sequence[SqlRow[Any]]) -> list[Row]:
        found = with_sources(connection, project, rows)
        return [_row(row, memory, s.seq) for row, memory in zip(rows, found, strict=True)]

    return page_of(connection, statement, limit, made, lambda row: [row.memory])[0]


def _selected(project: str, s: ExportSelection) -> list[ColumnElement[bool]]:
    if not s.with_history:
        return [live_at(s.seq), unexpired(s.now), *satisfying(s.filter)]
    selected = [begun(s.seq), t.revisions.c.text != ""]  # a forgotten revision has an empty text
    if s.filter is not None:
        any_of = t.revisions.alias("any_of")
        matched = select(func.count()).where(
            any_of.c.project == project,
            any_of.c.memory_id == t.revisions.c.memory_id,
            begun(s.seq, any_of),
            *satisfying(s.filter, any_of),
        )
        selected.append(matched.scalar_subquery() > 0)
    return selected


def _row(row: Sequence[Any], memory: Memory, seq: int) -> Row:
    seq_from, seq_to, kind, cause, principal, terms, vector = row[len(memory_columns()) :]
    ended_at = seq_to if seq_to is not None and seq_to <= seq else None
    made = features_of(terms, vector) if vector is not None else None
    meaning = made.vector if made and made.meant else None
    return Row(memory, seq_from, ended_at, Kind(kind), Cause(cause), principal, meaning)


def _export(row: SqlRow[Any]) -> Export:
    return Export(
        id=row.id,
        scope=scope_of(row),
        operation=row.operation,
        command=export_command(row.command) if row.command else None,
        state=ExportState(row.state),
        seq=row.seq,
        memories=row.memories,
        size=row.size,
        sha256=row.sha256,
        create_time=row.create_time,
        expire_time=row.expire_time,
    )
