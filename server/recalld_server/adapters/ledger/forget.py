"""Statements that erase: the content of every revision, and whatever was derived from it or led to it.

The rows stay, so that sequence numbers have no gaps, without anything that was said or about whom. A forgotten revision
has an empty text, which no other has, and is live at no time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, bindparam, delete, func, or_, select, update

from recalld_server.adapters.ledger import commit as writing
from recalld_server.adapters.ledger import speakers
from recalld_server.adapters.ledger import tables as t
from recalld_server.adapters.ledger.rows import inside, satisfying
from recalld_server.domain.errors import CountMismatch
from recalld_server.domain.filters import Filter
from recalld_server.domain.forgetting import Extent, Forgotten, Remains, masked
from recalld_server.domain.memory import SCOPE_FIELDS, Access, Cause, Kind, Scope
from recalld_server.domain.revision import Change, RequestKey

_BLANK: dict[str, Any] = {
    "scope_key": "",
    "text": "",
    "folded": "",
    "text_key": "",
    "metadata": "{}",
    "categories": "[]",
    "expire_time": None,
    "event_time": None,
    "said_time": None,
    "speaker": "",
    "named": False,
    "add_id": "",
    "source_positions": "[]",
    "conversation": "",
    "position": 0,
    "ordinal": 0,
    "immutable": False,
    "feedback": "",
    "feedback_reason": "",
    "request_id": "",  # the caller's own word
}
_ERASE = (
    update(t.revisions)
    .where(t.revisions.c.project == bindparam("p"), t.revisions.c.memory_id == bindparam("id"))
    .values(seq_to=t.revisions.c.seq_from, **_BLANK, **{name: bindparam(f"new_{name}") for name in SCOPE_FIELDS})
)
_SOURCES = ("add_id", "source_positions", "conversation", "speaker", "seq_to", "create_time", *SCOPE_FIELDS)


def _matched(access: Access, scope: Scope, filter: Filter | None) -> list[ColumnElement[bool]]:
    """Rows that are the last revision with content of a memory that lives or was deleted."""
    ended, later = t.revisions.alias("ended"), t.revisions.alias("later")
    newer = select(later.c.revision).where(
        later.c.project == ended.c.project,
        later.c.memory_id == ended.c.memory_id,
        later.c.revision == ended.c.revision + 1,
    )
    # A DELETED revision has no facets of its own: the one before it is what the filter is about.
    deleted = select(ended.c.revision).where(
        ended.c.project == t.revisions.c.project,
        ended.c.memory_id == t.revisions.c.memory_id,
        ended.c.revision == t.revisions.c.revision + 1,
        ended.c.kind == Kind.DELETED.value,
        ~newer.exists(),
    )
    last = or_(t.revisions.c.seq_to.is_(None), deleted.exists())
    return [inside(access, scope), t.revisions.c.text != "", last, *satisfying(filter)]


def extent(connection: Connection, access: Access, scope: Scope, filter: Filter | None) -> Extent:
    ids = select(t.revisions.c.memory_id).where(*_matched(access, scope, filter))
    memories = connection.execute(select(func.count()).select_from(ids.subquery())).scalar_one()
    every = t.revisions.alias("every")
    statement = (
        select(func.count()).select_from(every).where(every.c.project == access.project, every.c.memory_id.in_(ids))
    )
    return Extent(memories, connection.execute(statement).scalar_one())


def forget(
    connection: Connection,
    access: Access,
    scope: Scope,
    filter: Filter | None,
    limit: int,
    expected: int | None,
    request: RequestKey | None,
    done: Forgotten | None,
    now: int,
) -> Forgotten:
    """Erase at most `limit` memories that match; see ports.ledger.Ledger.forget."""
    head, time, generations = writing.advance(connection, access.project, 0, now)
    after = done.after if done else head
    if not done and expected is not None:
        found = extent(connection, access, scope, filter).memories
        if found != expected:
            raise CountMismatch(expected=expected, actual=found)
    matching = select(t.revisions.c.memory_id).where(*_matched(access, scope, filter))
    ids = list(connection.execute(matching.order_by(t.revisions.c.memory_id).limit(limit + 1)).scalars())
    more, ids = len(ids) > limit, ids[:limit]
    rows = _rows(connection, access.project, ids)
    kept = 0
    if ids:
        head, time, _ = writing.advance(connection, access.project, len(ids), now)
        first = head - len(ids) + 1
        _erase(connection, access, rows, ids, first, time)
        _drop_derived(connection, access.project, ids)
        kept = _drop_messages(connection, access.project, rows)
        _drop_speakers(connection, access.project, rows)
        writing.pend(connection, access.project, generations, list(enumerate(ids, first)))
    count = (done.count if done else 0) + len(ids)
    revisions = (done.revisions if done else 0) + len(rows)
    kept += done.kept_messages if done else 0
    attempt = (done.attempt if done else -1) + 1
    if request:
        answer = {"count": count, "revisions": revisions, "kept_messages": kept, "after": after}
        change = Change(request=request, answer=answer, partial=True, attempt=attempt)
        writing.store_outcome(connection, access, change, head, time)
    return Forgotten(ids, count, revisions, kept, after, more, generations[0], attempt)


def _rows(connection: Connection, project: str, ids: Sequence[str]) -> Sequence[Row[Any]]:
    columns = ("memory_id", "revision", *_SOURCES)
    statement = (
        select(*(t.revisions.c[name] for name in columns))
        .where(t.revisions.c.project == project, t.revisions.c.memory_id.in_(ids))
        .order_by(t.revisions.c.memory_id, t.revisions.c.revision)
    )
    return connection.execute(statement).all()


def _erase(
    connection: Connection, access: Access, rows: Sequence[Row[Any]], ids: Sequence[str], first_seq: int, time: int
) -> None:
    secret = connection.execute(select(t.ledger.c.secret)).scalar_one()
    last = {row.memory_id: row for row in rows}  # the newest, as they are in order
    hidden = {id: masked(secret, Scope(*(getattr(last[id], name) for name in SCOPE_FIELDS))) for id in ids}
    named = [
        {"p": access.project, "id": id, **{f"new_{name}": getattr(hidden[id], name) for name in SCOPE_FIELDS}}
        for id in ids
    ]
    connection.execute(_ERASE, named)
    closing = [
        _BLANK
        | {name: getattr(hidden[id], name) for name in SCOPE_FIELDS}
        | {"project": access.project, "memory_id": id, "revision": last[id].revision + 1, "text_revision": 0}
        | {"seq_from": seq, "seq_to": seq, "kind": Kind.FORGOTTEN.value, "cause": Cause.NONE.value}
        | {"principal": access.principal, "commit_time": time}
        | {"create_time": last[id].create_time, "update_time": time}
        for seq, id in enumerate(ids, first_seq)
    ]
    connection.execute(t.revisions.insert(), closing)


def _drop_derived(connection: Connection, project: str, ids: Sequence[str]) -> None:
    for table in (t.facets, t.features):
        connection.execute(delete(table).where(table.c.project == project, table.c.memory_id.in_(ids)))


def _drop_messages(connection: Connection, project: str, rows: Sequence[Row[Any]]) -> int:
    """Messages of the adds these came from go unless a live memory was taken from them; so do ended conversations.

    Returns how many messages they were taken from stay.
    """
    adds = sorted({row.add_id for row in rows if row.add_id})
    conversations = sorted({row.conversation for row in rows})
    needed = _needed(connection, project, adds)
    said = select(t.messages.c.add_id, t.messages.c.position).where(
        t.messages.c.project == project, t.messages.c.add_id.in_(adds)
    )
    gone = [tuple(row) for row in connection.execute(said) if tuple(row) not in needed]
    if gone:
        statement = delete(t.messages).where(
            t.messages.c.project == project,
            t.messages.c.add_id == bindparam("a"),
            t.messages.c.position == bindparam("n"),
        )
        connection.execute(statement, [{"a": add_id, "n": position} for add_id, position in gone])
    going_on = select(t.revisions.c.conversation).where(
        t.revisions.c.project == project, t.revisions.c.conversation.in_(conversations)
    )
    connection.execute(
        delete(t.conversations).where(
            t.conversations.c.project == project,
            t.conversations.c.conversation.in_(conversations),
            t.conversations.c.conversation.not_in(going_on),
        )
    )
    return len(needed & {(row.add_id, position) for row in rows for position in json.loads(row.source_positions)})


def _needed(connection: Connection, project: str, adds: Sequence[str]) -> set[tuple[str, int]]:
    """Messages that live memories were taken from."""
    live = select(t.revisions.c.add_id, t.revisions.c.source_positions).where(
        t.revisions.c.project == project, t.revisions.c.seq_to.is_(None), t.revisions.c.add_id.in_(adds)
    )
    return {(add_id, position) for add_id, at in connection.execute(live) for position in json.loads(at)}


def _drop_speakers(connection: Connection, project: str, rows: Sequence[Row[Any]]) -> None:
    fewer: Counter[speakers.Key] = Counter()
    for row in rows:
        if row.seq_to is None:
            fewer.subtract((name, id, row.speaker) for name in SCOPE_FIELDS if (id := getattr(row, name)))
    speakers.count(connection, project, fewer, {})


def remains(connection: Connection, project: str, after: int, since: int) -> Remains:
    """What is still there of all that was forgotten after a sequence number, by looking."""
    row = t.revisions.alias("row")
    forgotten = select(row.c.memory_id).where(
        row.c.project == project, row.c.seq_from > after, row.c.kind == Kind.FORGOTTEN.value
    )

    def count(table: Table, *conditions: ColumnElement[bool]) -> int:
        statement = select(func.count()).select_from(table).where(table.c.project == project, *conditions)
        return connection.execute(statement).scalar_one()

    legible = or_(*(t.revisions.c[name] != blank for name, blank in _BLANK.items() if isinstance(blank, str)))
    return Remains(
        ids=list(connection.execute(forgotten.order_by(row.c.seq_from)).scalars()),
        rows=count(t.revisions, t.revisions.c.memory_id.in_(forgotten), legible),
        derived=sum(count(table, table.c.memory_id.in_(forgotten)) for table in (t.facets, t.features)),
        pending=count(t.pending, t.pending.c.memory_id.in_(forgotten)),
        outcomes=count(t.outcomes, t.outcomes.c.time > since),
    )
