"""Implements ports.operations.Operations. Every write of a worker checks its fencing number."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, and_, delete, func, literal, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger import export_chunks
from recalld_server.adapters.ledger.lines import background_line
from recalld_server.adapters.ledger.rows import dump, inside, scope_of
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.errors import (
    LeaseLost,
    OperationNotFound,
    Overloaded,
    RecalldError,
    RequestIdReused,
    WriteConflict,
)
from recalld_server.domain.limits import WAITING_BYTES, WAITING_OPERATIONS
from recalld_server.domain.memory import SCOPE_FIELDS, Access, Scope
from recalld_server.domain.operations import (
    BUILDS,
    QUEUED,
    NewOperation,
    Operation,
    OperationKind,
    OperationState,
    described,
)
from recalld_server.ports.clock import Clock

KEPT = 24 * 3600 * 1_000_000  # µs for which ended operations are kept
SWEPT = 200  # operations or exports deleted per transaction
_C = t.operations.c
_UNENDED = _C.end_time.is_(None)  # the same text as in the partial indexes, so that statements can use them
_BLANK = dict.fromkeys((f"scope_{name}" for name in SCOPE_FIELDS), "")  # an ended operation keeps no scope
_WAITING = t.exports.c.state == "PENDING"


class SqlOperations:
    """See ports.operations.Operations."""

    def __init__(self, engine: SqlEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def create(self, access: Access, new: NewOperation) -> Operation:
        return await self._engine.write(
            lambda c: created(c, access, new, self._clock.now())[0], line=background_line(access.project)
        )

    async def get(self, access: Access, id: str) -> Operation:
        return await self._engine.read(lambda c: _one(c, access, id), access.project)

    async def page(self, access: Access, after: tuple[int, str] | None, limit: int) -> Sequence[Operation]:
        statement = select(t.operations).where(inside(access, source=t.operations), _C.hidden.is_(False))
        if after is not None:
            statement = statement.where(tuple_(_C.create_time, _C.id) < tuple_(literal(after[0]), literal(after[1])))
        statement = statement.order_by(_C.create_time.desc(), _C.id.desc()).limit(limit)
        return await self._engine.read(lambda c: [_operation(row) for row in c.execute(statement)], access.project)

    async def cancel(self, access: Access, id: str) -> Operation:
        return await self._engine.write(
            lambda c: cancelled(c, access, id, self._clock.now()), line=background_line(access.project)
        )

    async def hide(self, access: Access, id: str) -> None:
        def work(connection: Connection) -> None:
            _one(connection, access, id)
            connection.execute(update(t.operations).where(_named(access.project, id)).values(hidden=True))

        await self._engine.write(work, line=background_line(access.project))

    async def waiting(self, project: str, scope: Scope) -> int:
        inside_scope = [_C[f"scope_{name}"] == value for name, value in scope.items()]
        adds = and_(_C.kind == OperationKind.ADD.value, _C.project == project, _UNENDED, *inside_scope)
        return await self._engine.read(lambda c: c.execute(select(func.count()).where(adds)).scalar_one(), project)

    async def claim(
        self,
        seconds: float,
        kinds: Collection[OperationKind] = tuple(OperationKind),
        after: str | None = None,
        besides: Collection[str] = (),
    ) -> Operation | None:
        now = self._clock.now()

        def work(connection: Connection, project: str, id: str) -> Operation | None:
            free = and_(_named(project, id), _UNENDED, _C.free_from <= now)
            claimed = (
                update(t.operations)
                .where(free)
                .values(
                    state=OperationState.RUNNING.value,
                    fence=_C.fence + 1,
                    attempt=_C.attempt + 1,
                    free_from=_later(now, seconds),
                    start_time=func.coalesce(_C.start_time, now),
                    update_time=now,
                )
                .returning(t.operations)
            )
            row = connection.execute(claimed).one_or_none()
            if row is None:
                return None
            data = select(t.operation_payloads.c.data).where(_payload(project, id))
            return _operation(row, connection.execute(data).scalar_one_or_none() or b"")

        while found := await self._engine.read(lambda c: _next(c, now, kinds, after, besides)):
            project, id = found
            if held := await self._engine.write(lambda c: work(c, project, id), line=background_line(project)):  # noqa: B023 - called at once
                return held
        return None

    async def renew(self, held: Operation, seconds: float) -> bool:
        now = self._clock.now()
        return await self._engine.write(
            lambda c: fenced(c, held, now, free_from=_later(now, seconds)), line=background_line(held.access.project)
        )

    async def advance(self, held: Operation, checkpoint: Mapping[str, Any], completed: int, total: int) -> None:
        values = {"checkpoint": dump(dict(checkpoint)), "completed": completed, "total": total}
        await self._engine.write(
            lambda c: fenced(c, held, self._clock.now(), **values), line=background_line(held.access.project)
        )

    async def finish(
        self, held: Operation, state: OperationState, *, result: Mapping[str, Any], error: Mapping[str, Any]
    ) -> None:
        await self._engine.write(
            lambda c: ended(c, held, state, self._clock.now(), result, error), line=background_line(held.access.project)
        )

    async def release(self, held: Operation, seconds: float) -> None:
        now = self._clock.now()
        values = {"state": OperationState.PENDING.value, "free_from": _later(now, seconds)}
        await self._engine.write(lambda c: fenced(c, held, now, **values), line=background_line(held.access.project))

    async def free(self) -> None:
        await self._engine.write(lambda c: c.execute(update(t.operations).where(_UNENDED).values(free_from=0)))

    async def sweep(self) -> int:
        now, swept = self._clock.now(), 0
        old = [(t.operations, _C.end_time <= now - KEPT), (t.exports, t.exports.c.expire_time <= now)]
        for table, over in old:
            while gone := await self._engine.write(partial(_swept, table=table, over=over)):
                swept += gone
        while await self._engine.write(export_chunks.clear):
            pass
        return swept


def _swept(connection: Connection, table: Table, over: ColumnElement[bool]) -> int:
    some = select(table.c.project, table.c.id).where(over).limit(SWEPT)
    gone = delete(table).where(tuple_(table.c.project, table.c.id).in_(some))
    return connection.execute(gone).rowcount


def created(connection: Connection, access: Access, new: NewOperation, now: int) -> tuple[Operation, bool]:
    """Create an operation inside a transaction. Returns the existing one and False if it repeats a request or work.

    Raises RequestIdReused, WriteConflict (another build is running), Overloaded.
    """
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
        busy = select(t.operations).where(_C.project == access.project, _C.kind.in_(builds), _UNENDED)
        if under_way := connection.execute(busy).first():
            if (under_way.kind, under_way.fingerprint) != (new.kind.value, fingerprint):
                raise WriteConflict("Another rebuild or re-embedding of this project is running; wait until it ends.")
            return _operation(under_way), False
    if new.kind is OperationKind.DELETE_PROJECT:
        busy = select(t.operations).where(_C.kind == new.kind.value, _C.subject == new.subject, _UNENDED)
        if under_way := connection.execute(busy).first():
            return _operation(under_way), False
    if new.kind in QUEUED:
        _check_room(connection, access.project, new.kind)
    row = {
        "project": access.project,
        "id": new.id,
        **{name: getattr(access.pin, name) for name in SCOPE_FIELDS},
        "principal": access.principal,
        "kind": new.kind.value,
        "state": OperationState.PENDING.value,
        "subject": new.subject,
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
        "size": len(new.payload),
        **{f"scope_{name}": value for name, value in new.scope.items()},
        **dict.fromkeys(("checkpoint", "result", "error"), "{}"),
    }
    payload = {"project": access.project, "id": new.id, "data": new.payload}
    connection.execute(insert(t.operation_payloads).values(payload))
    return _operation(connection.execute(insert(t.operations).values(row).returning(t.operations)).one()), True


def _check_room(connection: Connection, project: str, kind: OperationKind) -> None:
    """Raise Overloaded if the queue of the project is full."""
    waiting = and_(_C.kind == kind.value, _C.project == project, _UNENDED)
    count, size = connection.execute(select(func.count(), func.coalesce(func.sum(_C.size), 0)).where(waiting)).one()
    if count >= WAITING_OPERATIONS or size >= WAITING_BYTES:
        raise Overloaded(
            f"The project's queue of {kind.value} operations is full: at most {WAITING_OPERATIONS} operations or"
            f" {WAITING_BYTES} bytes may wait. Try again when some have ended.",
            subject="operations",
            limit=WAITING_OPERATIONS,
            limit_bytes=WAITING_BYTES,
        )


def _next(
    connection: Connection, now: int, kinds: Collection[OperationKind], after: str | None, besides: Collection[str]
) -> tuple[str, str] | None:
    """Project and id of the operation to claim next: see ports.operations.Operations.claim.

    Each statement reads only the first entry of an index range, however many operations wait.
    """
    free = and_(_UNENDED, _C.free_from <= now)
    oldest = [
        (row.free_from, row.project, row.id)
        for kind in kinds
        for row in connection.execute(
            select(_C.free_from, _C.project, _C.id)
            .where(free, _C.kind == kind.value)
            .order_by(_C.free_from, _C.create_time, _C.id)
            .limit(1)
        )
    ]
    if not oldest:  # the usual case
        return None
    _, project, id = min(oldest)
    if after is None and project not in besides:
        return project, id
    place = (_C.project, _C.create_time, _C.id)
    for within in _ranges(after, besides):
        found: list[tuple[str, int, str]] = []
        for kind in kinds:
            here = select(*place).where(free, _C.kind == kind.value, *within).order_by(*place).limit(1)
            found += [(row.project, row.create_time, row.id) for row in connection.execute(here)]
        if found:
            project, _, id = min(found)
            return project, id
    return None


def _ranges(after: str | None, besides: Collection[str]) -> Iterator[list[ColumnElement[bool]]]:
    """Conditions on the project in turn: projects above `after`, then those below, then `after`; never `besides`."""
    points = sorted({*besides, *([] if after is None else [after])})
    gaps = list(zip([None, *points], [*points, None], strict=True))
    first = 0 if after is None else points.index(after) + 1
    for low, high in gaps[first:] + gaps[:first]:
        yield [*([_C.project > low] if low is not None else []), *([_C.project < high] if high is not None else [])]
    if after is not None and after not in besides:
        yield [_C.project == after]


def building(connection: Connection, project: str) -> str:
    """The id of the operation that builds the next generation of the project; empty if none runs."""
    builds = [kind.value for kind in BUILDS]
    statement = select(_C.id).where(_C.project == project, _C.kind.in_(builds), _UNENDED)
    return connection.execute(statement).scalars().first() or ""


def cancelled(connection: Connection, access: Access, id: str, now: int) -> Operation:
    """Cancel an operation inside a transaction: a queued one ends at once, a running one is asked to stop."""
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


def fenced(connection: Connection, held: Operation, now: int, **values: Any) -> bool:
    """Update an operation for its worker. True if it shall stop. Raises LeaseLost if it ended or was claimed again."""
    mine = and_(_named(held.access.project, held.id), _C.fence == held.fence, _UNENDED)
    statement = update(t.operations).where(mine).values(update_time=now, **values).returning(_C.cancel_requested)
    asked: bool | None = connection.execute(statement).scalar_one_or_none()
    if asked is None:
        raise LeaseLost
    return bool(asked)


def ended(
    connection: Connection,
    held: Operation,
    state: OperationState,
    now: int,
    result: Mapping[str, Any],
    error: Mapping[str, Any],
) -> None:
    """End an operation inside a transaction and delete its payload. Raises LeaseLost.

    Without success, its export becomes FAILED, or the next generation of its build is dropped.
    """
    values: dict[str, Any] = {"result": dump(dict(result)), "error": dump(dict(error))}
    if held.kind is OperationKind.ADD and state is OperationState.SUCCEEDED:
        values["completed"] = held.total  # an add commits all messages at once, so it reports no progress before
    fenced(connection, held, now, state=state.value, end_time=now, **_BLANK, **values)
    connection.execute(delete(t.operation_payloads).where(_payload(held.access.project, held.id)))
    if held.kind is OperationKind.EXPORT and state is not OperationState.SUCCEEDED:
        mine = and_(t.exports.c.project == held.access.project, t.exports.c.id == held.subject, _WAITING)
        connection.execute(update(t.exports).where(mine).values(state="FAILED", expire_time=now + KEPT))
    if held.kind in BUILDS and state is not OperationState.SUCCEEDED:
        drop_next(connection, held.access.project)


def stop(connection: Connection, project: str, id: str, error: RecalldError, now: int) -> None:
    """Fail an operation inside a transaction, if it has not ended. Its worker's next write raises LeaseLost."""
    values = {"state": OperationState.FAILED.value, "error": dump(described(error)), **_BLANK}
    statement = update(t.operations).where(_named(project, id), _UNENDED)
    connection.execute(statement.values(**values, fence=_C.fence + 1, end_time=now, update_time=now))
    connection.execute(delete(t.operation_payloads).where(_payload(project, id)))


def drop_next(connection: Connection, project: str) -> None:
    """Drop the next generation and its pending changes. The next build deletes the features that were built."""
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


def _payload(project: str, id: str) -> ColumnElement[bool]:
    return and_(t.operation_payloads.c.project == project, t.operation_payloads.c.id == id)


def _later(now: int, seconds: float) -> int:
    return now + int(seconds * 1_000_000)


def _operation(row: Row[Any], payload: bytes = b"") -> Operation:
    return Operation(
        id=row.id,
        access=Access(row.project, scope_of(row), row.principal),
        kind=OperationKind(row.kind),
        state=OperationState(row.state),
        subject=row.subject,
        payload=payload,
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
