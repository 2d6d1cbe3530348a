"""Operations in the ledger: ports.operations.Operations. Every statement of a worker carries its fencing number."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger import tables as t
from recalld_server.adapters.ledger.rows import dump, inside
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.errors import LeaseLost, OperationNotFound, RecalldError, RequestIdReused, WriteConflict
from recalld_server.domain.memory import SCOPE_FIELDS, Access, Scope
from recalld_server.domain.operations import BUILDS, NewOperation, Operation, OperationKind, OperationState, described
from recalld_server.ports.clock import Clock

KEPT = 24 * 3600 * 1_000_000  # µs that ended work stays
_C = t.operations.c
_ENDED = _C.end_time.is_not(None)
_WAITING = t.exports.c.state == "PENDING"


class SqlOperations:
    """See ports.operations.Operations."""

    def __init__(self, engine: SqlEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def create(self, access: Access, new: NewOperation) -> Operation:
        return await self._engine.write(lambda c: created(c, access, new, self._clock.now())[0])

    async def get(self, access: Access, id: str) -> Operation:
        return await self._engine.read(lambda c: _one(c, access, id), access.project)

    async def page(self, access: Access, after: tuple[int, str] | None, limit: int) -> Sequence[Operation]:
        statement = select(t.operations).where(inside(access, source=t.operations), _C.hidden.is_(False))
        if after is not None:
            statement = statement.where(tuple_(_C.create_time, _C.id) < tuple_(literal(after[0]), literal(after[1])))
        statement = statement.order_by(_C.create_time.desc(), _C.id.desc()).limit(limit)
        return await self._engine.read(lambda c: [_operation(row) for row in c.execute(statement)], access.project)

    async def cancel(self, access: Access, id: str) -> Operation:
        return await self._engine.write(lambda c: cancelled(c, access, id, self._clock.now()))

    async def hide(self, access: Access, id: str) -> None:
        def work(connection: Connection) -> None:
            _one(connection, access, id)
            connection.execute(update(t.operations).where(_named(access.project, id)).values(hidden=True))

        await self._engine.write(work)

    async def claim(self, seconds: float, without: Collection[OperationKind] = ()) -> Operation | None:
        now = self._clock.now()
        left = _C.kind.not_in([kind.value for kind in without])
        free = select(_C.project, _C.id).where(_C.end_time.is_(None), _C.free_from <= now, left)

        def work(connection: Connection) -> Operation | None:
            found = connection.execute(
                free.order_by(_C.create_time, _C.id).limit(1).with_for_update(skip_locked=True)
            ).first()
            if found is None:
                return None
            claimed = (
                update(t.operations)
                .where(_named(*found))
                .values(
                    state=OperationState.RUNNING.value,
                    fence=_C.fence + 1,
                    attempt=_C.attempt + 1,
                    free_from=_later(now, seconds),
                    update_time=now,
                )
                .returning(t.operations)
            )
            connection.execute(
                update(t.operations).where(_named(*found), _C.start_time.is_(None)).values(start_time=now)
            )
            return _operation(connection.execute(claimed).one())

        # Looking costs no write; most looks find nothing.
        if await self._engine.read(lambda c: c.execute(free.limit(1)).first()) is None:
            return None
        return await self._engine.write(work)

    async def beat(self, held: Operation, seconds: float) -> bool:
        now = self._clock.now()
        row = await self._engine.write(lambda c: fenced(c, held, now, free_from=_later(now, seconds)))
        return bool(row.cancel_requested)

    async def advance(self, held: Operation, checkpoint: Mapping[str, Any], completed: int, total: int) -> None:
        values = {"checkpoint": dump(dict(checkpoint)), "completed": completed, "total": total}
        await self._engine.write(lambda c: fenced(c, held, self._clock.now(), **values))

    async def finish(
        self, held: Operation, state: OperationState, *, result: Mapping[str, Any], error: Mapping[str, Any]
    ) -> None:
        await self._engine.write(lambda c: ended(c, held, state, self._clock.now(), result, error))

    async def release(self, held: Operation, seconds: float) -> None:
        now = self._clock.now()
        values = {"state": OperationState.PENDING.value, "free_from": _later(now, seconds)}
        await self._engine.write(lambda c: fenced(c, held, now, **values))

    async def free(self) -> None:
        await self._engine.write(lambda c: c.execute(update(t.operations).where(~_ENDED).values(free_from=0)))

    async def sweep(self) -> int:
        now = self._clock.now()

        def work(connection: Connection) -> int:
            gone = connection.execute(delete(t.operations).where(_C.end_time <= now - KEPT)).rowcount
            expired = and_(t.exports.c.expire_time <= now)
            chunks = select(t.exports.c.project, t.exports.c.id).where(expired)
            at = tuple_(t.export_chunks.c.project, t.export_chunks.c.export_id)
            connection.execute(delete(t.export_chunks).where(at.in_(chunks)))
            return gone + connection.execute(delete(t.exports).where(expired)).rowcount

        return await self._engine.write(work)


def created(connection: Connection, access: Access, new: NewOperation, now: int) -> tuple[Operation, bool]:
    """Write work down inside a transaction; False when it was there already."""
    request = new.request
    fingerprint = request.fingerprint if request else ""
    if request and request.request_id:
        same = and_(_C.principal == access.principal, _C.rpc == request.rpc, _C.request_id == request.request_id)
        known = connection.execute(select(t.operations).where(_C.project == access.project, same)).one_or_none()
        if known and known.fingerprint != fingerprint:
            raise RequestIdReused(request_id=request.request_id)
        if known:
            return _operation(known), False
    if new.kind in BUILDS:
        builds = [kind.value for kind in BUILDS]
        busy = select(t.operations).where(_C.project == access.project, _C.kind.in_(builds), ~_ENDED)
        if under_way := connection.execute(busy).first():
            if (under_way.kind, under_way.fingerprint) != (new.kind.value, fingerprint):
                raise WriteConflict("Another rebuild or re-embedding is under way.")
            return _operation(under_way), False
    if new.kind is OperationKind.DELETE_PROJECT:
        busy = select(t.operations).where(_C.kind == new.kind.value, _C.subject == new.subject, ~_ENDED)
        if under_way := connection.execute(busy).first():
            return _operation(under_way), False
    row = {
        "project": access.project,
        "id": new.id,
        **{name: getattr(access.pin, name) for name in SCOPE_FIELDS},
        "principal": access.principal,
        "kind": new.kind.value,
        "state": OperationState.PENDING.value,
        "subject": new.subject,
        "payload": new.payload,
        "rpc": request.rpc if request else "",
        "request_id": (request.request_id or None) if request else None,
        "fingerprint": fingerprint,
        "create_time": now,
        "update_time": now,
        "completed": 0,
        "total": new.total,
        "attempt": 0,
        "cancel_requested": False,
        "hidden": False,
        "fence": 0,
        "free_from": now,
        **dict.fromkeys(("checkpoint", "result", "error"), "{}"),
    }
    return _operation(connection.execute(insert(t.operations).values(row).returning(t.operations)).one()), True


def building(connection: Connection, project: str) -> str:
    """The operation that builds a project's next index; empty when none does."""
    builds = [kind.value for kind in BUILDS]
    statement = select(_C.id).where(_C.project == project, _C.kind.in_(builds), ~_ENDED)
    return connection.execute(statement).scalars().first() or ""


def cancelled(connection: Connection, access: Access, id: str, now: int) -> Operation:
    """Cancel inside a transaction."""
    found = _one(connection, access, id)
    if found.state.ended or found.kind is OperationKind.DELETE_PROJECT:  # the project is gone already
        return found
    statement = update(t.operations).where(_named(access.project, id))
    statement = statement.values(cancel_requested=True, update_time=now)
    asked = _operation(connection.execute(statement.returning(t.operations)).one())
    if asked.state is OperationState.PENDING:
        ended(connection, asked, OperationState.CANCELLED, now, {}, {})
        return _one(connection, access, id)
    return asked


def fenced(connection: Connection, held: Operation, now: int, **values: Any) -> Row[Any]:
    """Change an operation for the worker that holds it. Raises LeaseLost."""
    mine = and_(_named(held.access.project, held.id), _C.fence == held.fence, ~_ENDED)
    statement = update(t.operations).where(mine).values(update_time=now, **values).returning(t.operations)
    row = connection.execute(statement).one_or_none()
    if row is None:
        raise LeaseLost
    return row


def ended(
    connection: Connection,
    held: Operation,
    state: OperationState,
    now: int,
    result: Mapping[str, Any],
    error: Mapping[str, Any],
) -> None:
    """End an operation inside a transaction, with what it leaves behind. Raises LeaseLost."""
    values: dict[str, Any] = {"result": dump(dict(result)), "error": dump(dict(error))}
    if held.kind is OperationKind.ADD and state is OperationState.SUCCEEDED:
        values["completed"] = held.total  # all of its messages at once
    fenced(connection, held, now, state=state.value, end_time=now, payload=b"", **values)
    if held.kind is OperationKind.EXPORT and state is not OperationState.SUCCEEDED:
        chunks = t.export_chunks.c
        connection.execute(
            delete(t.export_chunks).where(chunks.project == held.access.project, chunks.export_id == held.subject)
        )
        mine = and_(t.exports.c.project == held.access.project, t.exports.c.id == held.subject, _WAITING)
        connection.execute(update(t.exports).where(mine).values(state="FAILED", expire_time=now + KEPT))
    if held.kind in BUILDS and state is not OperationState.SUCCEEDED:
        drop_next(connection, held.access.project)


def stop(connection: Connection, project: str, id: str, error: RecalldError, now: int) -> None:
    """End an operation with an error inside a transaction, whoever holds it; without effect on one that has ended."""
    values = {"state": OperationState.FAILED.value, "payload": b"", "error": dump(described(error))}
    statement = update(t.operations).where(_named(project, id), ~_ENDED)
    connection.execute(statement.values(**values, fence=_C.fence + 1, end_time=now, update_time=now))


def drop_next(connection: Connection, project: str) -> None:
    """Commits write for the current generation alone again. What was built is dropped when the next build begins."""
    mine = t.projects.c.project == project
    connection.execute(update(t.projects).where(mine).values(next_generation=""))
    current = select(t.projects.c.generation_number).where(mine).scalar_subquery()
    rest = and_(t.pending.c.project == project, t.pending.c.generation != current)
    connection.execute(delete(t.pending).where(rest))


def _one(connection: Connection, access: Access, id: str) -> Operation:
    mine = and_(inside(access, source=t.operations), _C.id == id, _C.hidden.is_(False))
    row = connection.execute(select(t.operations).where(mine)).one_or_none()
    if row is None:
        raise OperationNotFound(operation=f"operations/{id[:64]}")
    return _operation(row)


def _named(project: str, id: str) -> ColumnElement[bool]:
    return and_(_C.project == project, _C.id == id)


def _later(now: int, seconds: float) -> int:
    return now + int(seconds * 1_000_000)


def _operation(row: Row[Any]) -> Operation:
    return Operation(
        id=row.id,
        access=Access(row.project, Scope(*(getattr(row, name) for name in SCOPE_FIELDS)), row.principal),
        kind=OperationKind(row.kind),
        state=OperationState(row.state),
        subject=row.subject,
        payload=row.payload,
        request_id=row.request_id or "",
        fingerprint=row.fingerprint,
        create_time=row.create_time,
        start_time=row.start_time,
        update_time=row.update_time,
        end_time=row.end_time,
        completed=row.completed,
        total=row.total,
        attempt=row.attempt,
        cancel_requested=bool(row.cancel_requested),
        fence=row.fence,
        checkpoint=json.loads(row.checkpoint),
        result=json.loads(row.result),
        error=json.loads(row.error),
    )
