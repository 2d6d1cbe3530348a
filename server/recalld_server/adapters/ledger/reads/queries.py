"""Statements that read outcomes, memories, pages, events and positions.

Functions without a docstring implement the method of ports.ledger.Ledger with the same name.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Row,
    Select,
    and_,
    bindparam,
    func,
    literal,
    literal_column,
    or_,
    select,
    tuple_,
    union_all,
)

from recalld_server.adapters.ledger.rows import (
    EMPTY_TEXT,
    given,
    in_order,
    inside,
    live_at,
    memory_columns,
    page_of,
    pinned,
    repeating,
    satisfying,
    unexpired,
    versions,
    who,
    with_sources,
)
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.array_params import in_list, in_pairs
from recalld_server.domain.errors import ProjectNotFound
from recalld_server.domain.filters import Filter
from recalld_server.domain.forgetting import masked
from recalld_server.domain.memory import Access, Cause, Kind, Memory, Scope
from recalld_server.domain.revision import Event, EventQuery, Generation, ListQuery, Match, Outcome, Page, Positions

OUTCOMES_KEPT = 24 * 3600 * 1_000_000  # µs


_STORED = ("fingerprint", "answer", "seq", "partial", "attempt", "request_id")
_OUTCOMES = select(*(t.outcomes.c[name] for name in _STORED)).where(
    t.outcomes.c.project == bindparam("p"),
    t.outcomes.c.principal == bindparam("who"),
    t.outcomes.c.rpc == bindparam("rpc"),
    t.outcomes.c.time > bindparam("since"),
)
_OUTCOME = _OUTCOMES.where(t.outcomes.c.request_id == bindparam("id"))
_OUTCOMES_NAMED = _OUTCOMES.where(in_list(t.outcomes.c.request_id, "ids"))


def outcomes(
    connection: Connection, access: Access, rpc: str, request_ids: Sequence[str], now: int
) -> Mapping[str, Outcome]:
    asked = {"p": access.project, "who": access.principal, "rpc": rpc, "ids": list(request_ids)}
    rows = connection.execute(_OUTCOMES_NAMED, {**asked, "since": now - OUTCOMES_KEPT})
    return {row.request_id: _outcome(row) for row in rows}


def _outcome(row: Row[Any]) -> Outcome:
    return Outcome(row.fingerprint, json.loads(row.answer), row.seq, bool(row.partial), row.attempt)


def outcome(connection: Connection, access: Access, rpc: str, request_id: str, now: int) -> Outcome | None:
    asked = {"p": access.project, "who": access.principal, "rpc": rpc, "id": request_id, "since": now - OUTCOMES_KEPT}
    row = connection.execute(_OUTCOME, asked).one_or_none()
    return None if row is None else _outcome(row)


_NAMED = in_list(t.revisions.c.memory_id, "ids")
_LIVE = select(*memory_columns()).where(pinned(), t.revisions.c.seq_to.is_(None), _NAMED)
_PAST = select(*memory_columns()).where(pinned(), live_at(bindparam("as_of", type_=BigInteger)), _NAMED)


def memories(
    connection: Connection, access: Access, ids: Sequence[str], as_of: int | None = None
) -> Mapping[str, Memory]:
    parameters = {**who(access), "ids": list(ids)}
    if as_of is None:
        rows = connection.execute(_LIVE, parameters).all()
    else:
        rows = connection.execute(_PAST, {**parameters, "as_of": as_of}).all()
    rows = in_order(rows, ids, lambda row: row[0])
    return {memory.id: memory for memory in with_sources(connection, access.project, rows)}


def revisions(
    connection: Connection, access: Access, named: Sequence[tuple[str, int]]
) -> Mapping[tuple[str, int], Memory]:
    statement = select(*memory_columns()).where(
        inside(access),
        in_pairs(t.revisions.c.memory_id, t.revisions.c.revision, named),
        t.revisions.c.text != "",  # leaves out forgotten revisions
    )
    found: Sequence[Row[Any]] = connection.execute(statement).all()
    rows = in_order(found, named, lambda row: (row.memory_id, row.revision))
    return {(m.id, m.revision): m for m in with_sources(connection, access.project, rows)}


_OTHER = t.revisions.alias("other")
_NEWEST = (
    select(func.max(_OTHER.c.revision))
    .where(_OTHER.c.project == t.revisions.c.project, _OTHER.c.memory_id == t.revisions.c.memory_id)
    .scalar_subquery()
)
_LATEST = select(*memory_columns(), t.revisions.c.seq_to.is_(None)).where(
    pinned(), _NAMED, t.revisions.c.revision == _NEWEST
)


def latest(connection: Connection, access: Access, ids: Sequence[str]) -> Mapping[str, tuple[Memory, bool]]:
    rows = connection.execute(_LATEST, {**who(access), "ids": list(ids)}).all()
    found = with_sources(connection, access.project, rows)
    return {memory.id: (memory, bool(row[-1])) for memory, row in zip(found, rows, strict=True)}


# Sorted below and not by the engine: a planner with an index in that order would scan the whole project along it.
_REPEATS = select(*memory_columns(), t.revisions.c.text_key).where(pinned(), repeating())


def repeats(
    connection: Connection, access: Access, texts: Sequence[tuple[str, str]], now: int
) -> Mapping[tuple[str, str], Memory]:
    asked = {**who(access), "texts": list(texts), "now": now}
    rows = in_order(connection.execute(_REPEATS, asked).all(), [key for _, key in texts], lambda row: row[-1])
    found = zip(with_sources(connection, access.project, rows), (row[-1] for row in rows), strict=True)
    oldest_last = sorted(found, key=lambda at: -(at[0].create_time or 0))  # so that the dict keeps the oldest
    return {(memory.scope.key(), key): memory for memory, key in oldest_last}


def outside(connection: Connection, access: Access, ids: Sequence[str], add_ids: Sequence[str]) -> frozenset[str]:
    found: set[str] = set()
    for column, named in ((t.revisions.c.memory_id, ids), (t.revisions.c.add_id, add_ids)):
        if named:
            statement = select(column).distinct().where(t.revisions.c.project == access.project, ~inside(access))
            found.update(connection.execute(statement.where(in_list(column, named))).scalars())
    return frozenset(found)


def page(connection: Connection, access: Access, query: ListQuery) -> Page:
    conditions = [
        inside(access, query.scope),
        unexpired(query.now),
        *given(query.scope, access.pin),
        *satisfying(query.filter),
    ]
    column: ColumnElement[int] = t.revisions.c[query.order]
    if query.order == "update_time" and (query.scope or access.pin):
        # The sum forces a sort: along the index of update times a planner would read the whole project.
        column = column + literal_column("0")
    after = []
    if query.after is not None:
        at = tuple_(column, t.revisions.c.memory_id)
        mark = tuple_(literal(query.after[0]), literal(query.after[1]))
        after = [at < mark if query.descending else at > mark]
    parts = versions(query.as_of)
    limit, skip = query.limit + 1, query.skip or 0
    order = [c.desc() if query.descending else c for c in (column, t.revisions.c.memory_id)]
    select_parts = [select(*memory_columns()).where(*conditions, part, *after).order_by(*order) for part in parts]
    if len(select_parts) == 1:
        statement: Select[Any] = select_parts[0].limit(limit).offset(skip or None)
    else:  # sort and limit each part by itself, then merge them
        found = union_all(*(select(part.limit(limit + skip).subquery()) for part in select_parts)).subquery()
        again = [c.desc() if query.descending else c for c in (found.c[query.order], found.c.memory_id)]
        statement = select(*memory_columns(found)).order_by(*again).limit(limit).offset(skip or None)
    memories, more = page_of(
        connection,
        statement,
        query.limit,
        lambda rows: with_sources(connection, access.project, rows),
        lambda memory: [memory],
    )
    total = _count(connection, conditions, parts) if query.count else None
    return Page(memories, more, total)


def count(connection: Connection, access: Access, scope: Scope, filter: Filter | None, as_of: int) -> int:
    conditions = [inside(access, scope), *given(scope, access.pin), *satisfying(filter)]
    return _count(connection, conditions, versions(as_of))


def _count(
    connection: Connection, conditions: Sequence[ColumnElement[bool]], parts: Sequence[ColumnElement[bool]]
) -> int:
    # The condition on the id holds for every row. It makes planners count along the index of the part.
    counted = select(func.count()).select_from(t.revisions).where(*conditions, t.revisions.c.memory_id > EMPTY_TEXT)
    return sum(connection.execute(counted.where(part)).scalar_one() for part in parts)


_FIRST = (-(2**62), "")  # sorts before all memories


def matching(
    connection: Connection,
    access: Access,
    scope: Scope,
    filter: Filter | None,
    as_of: int,
    after: tuple[int, str] | None,
    limit: int,
) -> list[Match]:
    """Scan the live memories from the start of the page, and join each with its revision as of `as_of`."""
    now, then, born = t.revisions.alias("now"), t.revisions.alias("then"), t.revisions.alias("born")
    # A memory that was deleted and then added or restored after `as_of` does not match: somebody wanted it again.
    reborn = (
        select(born.c.memory_id)
        .where(born.c.project == access.project, born.c.memory_id == now.c.memory_id, born.c.seq_from > as_of)
        .where(born.c.kind.in_([Kind.ADDED.value, Kind.RESTORED.value]), born.c.revision <= now.c.revision)
        .exists()
    )
    same = and_(then.c.project == now.c.project, then.c.memory_id == now.c.memory_id, live_at(as_of, then))
    order = (now.c.create_time, now.c.memory_id)
    statement = (
        select(now.c.memory_id, now.c.revision, now.c.create_time)
        .select_from(now.join(then, same))
        .where(inside(access, scope, now), *given(scope, access.pin, source=now), now.c.seq_to.is_(None))
        .where(*satisfying(filter, then), ~reborn)
        .where(tuple_(*order) > tuple_(*map(literal, after or _FIRST)))
        .order_by(*order)
        .limit(limit)
    )
    return [Match(*row) for row in connection.execute(statement)]


def known(connection: Connection, access: Access, scope: Scope) -> bool:
    anything: Select[Any] = select(literal_column("1")).where(inside(access, scope), *given(scope, access.pin)).limit(1)
    parts = (t.revisions.c.seq_to.is_(None), t.revisions.c.seq_to.is_not(None))
    return any(connection.execute(anything.where(part)).first() for part in parts)


def events(connection: Connection, access: Access, query: EventQuery) -> tuple[list[Event], bool]:
    before = t.revisions.alias("before")
    previous = and_(
        before.c.project == t.revisions.c.project,
        before.c.memory_id == t.revisions.c.memory_id,
        before.c.revision == t.revisions.c.revision - 1,
    )
    # Revisions of one memory have the same order as their sequence numbers. The sum keeps the planner from the index of
    # sequence numbers, along which it would scan all other memories.
    seq = t.revisions.c.seq_from + literal_column("0") if query.memory_id else t.revisions.c.seq_from
    conditions = [_concerning(connection, access, query.scope), seq > query.after]
    if query.memory_id:
        conditions.append(t.revisions.c.memory_id == query.memory_id)
    if query.filter is not None:
        # A DELETED revision repeats the content of the previous one but has no facets, so `before` must match instead.
        # A forgotten memory has no content to match, so every caller whose scope admits it gets its FORGOTTEN event.
        gone = t.revisions.c.kind == Kind.FORGOTTEN.value
        kept = and_(t.revisions.c.kind != Kind.DELETED.value, t.revisions.c.text != "", *satisfying(query.filter))
        was = and_(before.c.text != "", before.c.kind != Kind.DELETED.value, *satisfying(query.filter, before))
        conditions.append(or_(gone, kept, was))
    width = len(memory_columns())
    extra = ("seq_from", "kind", "cause", "principal", "request_id", "commit_time")
    statement = (
        select(*memory_columns(), *(t.revisions.c[name] for name in extra), *memory_columns(before), before.c.kind)
        .select_from(t.revisions.outerjoin(before, previous))
        .where(*conditions)
        .order_by(t.revisions.c.revision if query.memory_id else t.revisions.c.seq_from)
        .limit(query.limit + 1)
    )

    def made(rows: Sequence[Row[Any]]) -> list[Event]:
        after = with_sources(connection, access.project, rows)
        earlier = [row[width + len(extra) :] for row in rows]
        was_live = [bool(row[1]) and row[-1] != Kind.DELETED.value for row in earlier]  # row[1] is the text
        found = iter(
            with_sources(connection, access.project, [r for r, live in zip(earlier, was_live, strict=True) if live])
        )
        return [
            _event(row[width : width + len(extra)], memory, next(found) if live else None)
            for row, memory, live in zip(rows, after, was_live, strict=True)
        ]

    return page_of(connection, statement, query.limit, made, lambda event: [event.before, event.after])


def _concerning(connection: Connection, access: Access, scope: Scope) -> ColumnElement[bool]:
    """Rows inside access and scope, and FORGOTTEN rows whose masked ids show that their memory was inside."""
    if not (access.pin or scope):
        return inside(access)
    secret = connection.execute(select(t.ledger.c.secret)).scalar_one()
    hidden = inside(replace(access, pin=masked(secret, access.pin)), masked(secret, scope))
    return or_(inside(access, scope), and_(t.revisions.c.kind == Kind.FORGOTTEN.value, hidden))


def _event(row: Sequence[Any], memory: Memory, before: Memory | None) -> Event:
    kind = Kind(row[1])
    after = None if kind is Kind.DELETED or memory.forgotten else memory
    return Event(row[0], kind, Cause(row[2]), memory.id, before, after, row[3], row[4], row[5])


_STAND = select(
    t.projects.c.head,
    select(func.min(t.pending.c.seq))
    .where(t.pending.c.project == bindparam("p"), t.pending.c.generation == t.projects.c.generation_number)
    .scalar_subquery(),
    t.projects.c.oldest,
    t.projects.c.generation,
).where(t.projects.c.project == bindparam("p"))


def stand(connection: Connection, access: Access) -> tuple[Positions, Generation]:
    """The project's positions and its generation in use. Raises ProjectNotFound."""
    row = connection.execute(_STAND, {"p": access.project}).one_or_none()
    if row is None:
        raise ProjectNotFound(project_id=access.project)
    head, waiting, oldest, generation = row
    applied = head if waiting is None else max(0, waiting - 1)  # `waiting` is 0 during a recovery: see `recovery`
    return Positions(head=head, applied=applied, oldest=oldest), Generation.parse(generation)


def time_of(connection: Connection, access: Access, seq: int) -> int:
    statement = select(t.revisions.c.commit_time).where(
        t.revisions.c.project == access.project, t.revisions.c.seq_from == seq
    )
    return connection.execute(statement).scalar_one_or_none() or 0


_HEAD = select(t.projects.c.head).where(t.projects.c.project == bindparam("p"))
_FROM = (
    select(t.revisions.c.seq_from, t.revisions.c.commit_time)
    .where(t.revisions.c.project == bindparam("p"), t.revisions.c.seq_from >= bindparam("seq"))
    .order_by(t.revisions.c.seq_from)
    .limit(1)
)


def sequence_at(connection: Connection, access: Access, time: int) -> int:
    """Binary search over sequence numbers: commit times rise with them, and their index serves each step."""
    low, high = 0, connection.execute(_HEAD, {"p": access.project}).scalar() or 0
    while low < high:
        middle = (low + high + 1) // 2
        # The first row at or after `middle`: retention may have dropped the row at `middle`.
        row = connection.execute(_FROM, {"p": access.project, "seq": middle}).first()
        if row and row.commit_time <= time:
            low = row.seq_from
        else:
            high = middle - 1
    return low
