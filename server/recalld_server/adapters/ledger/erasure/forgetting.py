"""Statements of ForgetMemories: they erase the content of every revision, its sources, and all derived data.

The rows stay, so that sequence numbers have no gaps, but they no longer say what was said or about whom. A forgotten
revision is the only kind with an empty text, and it is live at no time.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    Table,
    Text,
    bindparam,
    delete,
    func,
    literal_column,
    or_,
    select,
    update,
)

from recalld_server.adapters.ledger.commits import commit as commit_statements
from recalld_server.adapters.ledger.commits import speaker_counts
from recalld_server.adapters.ledger.erasure import file_erasures, last_revisions, withdrawals
from recalld_server.adapters.ledger.rows import scope_of
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.array_params import in_list, in_pairs
from recalld_server.domain.filters import Filter
from recalld_server.domain.forgetting import KEPT, ErasureCursor, Forgotten, Remains, masked
from recalld_server.domain.memory import SCOPE_FIELDS, Access, Cause, Kind, Scope
from recalld_server.domain.revision import Change, Generation, RequestKey

_BLANK: dict[str, Any] = {
    "scope_key": "",
    "text": "",
    "folded": "",
    "text_key": "",
    "metadata": "{}",
    "categories": "[]",
    "given_categories": None,
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
    "request_id": "",  # callers choose it, so it may carry content
}
_ERASE = (
    update(t.revisions)
    .where(t.revisions.c.project == bindparam("p"), t.revisions.c.memory_id == bindparam("id"))
    .values(seq_to=t.revisions.c.seq_from, **_BLANK, **{name: bindparam(f"new_{name}") for name in SCOPE_FIELDS})
)
_SOURCES = (
    "add_id",
    "source_positions",
    "conversation",
    "speaker",
    "seq_from",
    "seq_to",
    "create_time",
    *SCOPE_FIELDS,
)
_FORGOTTEN: ColumnElement[str] = literal_column(
    f"'{Kind.FORGOTTEN.value}'", Text
)  # a literal, because the partial index is used only if the statement repeats its condition


def begin(
    connection: Connection, access: Access, exports: Sequence[str], request: RequestKey | None, now: int
) -> Forgotten:
    """Withdraw the exports, and store a partial outcome that records the start. Erases nothing."""
    head, time, _ = commit_statements.advance(connection, access.project, 0, now)
    withdrawn = withdrawals.withdraw(connection, access.project, exports, now)
    done = Forgotten(head, ErasureCursor(head), exports=withdrawn, attempt=0)
    _keep(connection, access, request, done, head, time)
    return done


def forget(
    connection: Connection,
    access: Access,
    scope: Scope,
    filter: Filter | None,
    request: RequestKey | None,
    done: Forgotten,
    found: tuple[Sequence[str], ErasureCursor | None],
    now: int,
) -> Forgotten:
    """Erase those of the found memories that still match; see ports.ledger.Ledger.forget."""
    head, time, generations = commit_statements.advance(connection, access.project, 0, now)
    ids = sorted(last_revisions.still(connection, access, scope, filter, found[0]))
    rows = _rows(connection, access.project, ids)
    kept, withdrawn = done.kept, 0
    if ids:
        head, time, _ = commit_statements.advance(connection, access.project, len(ids), now)
        first = head - len(ids) + 1
        withdrawn = withdrawals.withdraw_holding(connection, access.project, rows, now)
        file_erasures.count(connection)
        _erase(connection, access, rows, ids, first, time)
        _drop_derived(connection, access.project, ids)
        stay, gone = _drop_messages(connection, access.project, rows)
        kept = frozenset(sorted((kept | stay) - gone)[:KEPT])
        _drop_speakers(connection, access.project, rows)
        commit_statements.pend(connection, access.project, generations, list(enumerate(ids, first)))
    told = replace(
        done,
        place=found[1],
        ids=ids,
        count=done.count + len(ids),
        revisions=done.revisions + len(rows),
        kept=kept,
        exports=done.exports + withdrawn,
        generation=generations[0],
        attempt=done.attempt + 1,
    )
    _keep(connection, access, request, told, head, time)
    return told


def _keep(
    connection: Connection, access: Access, request: RequestKey | None, done: Forgotten, head: int, time: int
) -> None:
    if request:
        answer: dict[str, Any] = {name: getattr(done, name) for name in ("count", "revisions", "exports", "after")}
        answer["kept"] = sorted(done.kept)
        change = Change(request=request, answer=answer, partial=True, attempt=done.attempt)
        commit_statements.store_outcome(connection, access, change, head, time)


def found(
    connection: Connection, access: Access, scope: Scope, filter: Filter | None, place: ErasureCursor, limit: int
) -> tuple[Sequence[str], ErasureCursor | None]:
    """The ids of the next memories to erase, and the cursor after them; None at the end.

    Together they have at most `limit` revisions, unless a single memory has more.
    """
    page, after = last_revisions.page(connection, access, scope, filter, place, limit)
    ids = [id for id, _ in page]
    r = t.revisions.c
    statement = select(r.memory_id, func.count()).where(r.project == access.project, in_list(r.memory_id, "ids"))
    counted = {row[0]: row[1] for row in connection.execute(statement.group_by(r.memory_id), {"ids": ids})}
    revisions = 0
    for taken, id in enumerate(ids):
        revisions += counted.get(id, 0)
        if taken and revisions > limit:
            return ids[:taken], page[taken - 1][1]
    return ids, after


def _rows(connection: Connection, project: str, ids: Sequence[str]) -> Sequence[Row[Any]]:
    columns = ("memory_id", "revision", *_SOURCES)
    statement = (
        select(*(t.revisions.c[name] for name in columns))
        .where(t.revisions.c.project == project, in_list(t.revisions.c.memory_id, "ids"))
        .order_by(t.revisions.c.memory_id, t.revisions.c.revision)
    )
    return connection.execute(statement, {"ids": list(ids)}).all()


def _erase(
    connection: Connection, access: Access, rows: Sequence[Row[Any]], ids: Sequence[str], first_seq: int, time: int
) -> None:
    secret = connection.execute(select(t.ledger.c.secret)).scalar_one()
    last = {row.memory_id: row for row in rows}  # the rows are ordered, so the newest revision wins
    hidden = {id: masked(secret, scope_of(last[id])) for id in ids}
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
        named = delete(table).where(table.c.project == project, in_list(table.c.memory_id, "ids"))
        connection.execute(named, {"ids": list(ids)})


def _drop_messages(
    connection: Connection, project: str, rows: Sequence[Row[Any]]
) -> tuple[set[tuple[str, int]], set[tuple[str, int]]]:
    """Delete the messages of the memories' adds, except sources of live memories, and conversations without memories.

    Returns two sets of (add id, position): the memories' own source messages that stay, and the deleted messages.
    """
    adds = sorted({row.add_id for row in rows if row.add_id})
    conversations = sorted({row.conversation for row in rows})
    needed = _needed(connection, project, adds)
    found = select(t.messages.c.add_id, t.messages.c.position).where(
        t.messages.c.project == project, in_list(t.messages.c.add_id, "ids")
    )
    gone = {(row[0], row[1]) for row in connection.execute(found, {"ids": adds})} - needed
    if gone:
        statement = delete(t.messages).where(
            t.messages.c.project == project,
            t.messages.c.add_id == bindparam("a"),
            t.messages.c.position == bindparam("n"),
        )
        connection.execute(statement, [{"a": add_id, "n": position} for add_id, position in sorted(gone)])
    c, r = t.conversations.c, t.revisions.c
    same = select(r.memory_id).where(r.project == project, r.conversation == c.conversation)
    going_on = or_(same.where(r.seq_to.is_(None)).exists(), same.where(r.seq_to.is_not(None)).exists())
    ended = delete(t.conversations).where(c.project == project, in_list(c.conversation, "keys"), ~going_on)
    connection.execute(ended, {"keys": conversations})
    return needed & {(row.add_id, position) for row in rows for position in json.loads(row.source_positions)}, gone


def _needed(connection: Connection, project: str, adds: Sequence[str]) -> set[tuple[str, int]]:
    """The messages of these adds that are sources of live memories, as (add id, position)."""
    live = select(t.revisions.c.add_id, t.revisions.c.source_positions).where(
        t.revisions.c.project == project, t.revisions.c.seq_to.is_(None), in_list(t.revisions.c.add_id, "ids")
    )
    found = connection.execute(live, {"ids": list(adds)})
    return {(add_id, position) for add_id, at in found for position in json.loads(at)}


def _drop_speakers(connection: Connection, project: str, rows: Sequence[Row[Any]]) -> None:
    fewer: Counter[speaker_counts.Key] = Counter()
    for row in rows:
        if row.seq_to is None:
            fewer.subtract((name, id, row.speaker) for name in SCOPE_FIELDS if (id := getattr(row, name)))
    speaker_counts.count(connection, project, fewer, {})


def remains(connection: Connection, project: str, after: int, limit: int) -> Remains:
    """Count what the tables still hold of the next memories that were forgotten after a sequence number."""
    r = t.revisions.c
    forgotten = (
        select(r.memory_id, r.seq_from)
        .where(r.project == project, r.seq_from > after, r.kind == _FORGOTTEN)
        .order_by(r.seq_from)
        .limit(limit)
    )
    found = connection.execute(forgotten).all()
    if not found:
        return Remains()
    ids = [id for id, _ in found]

    def count(table: Table, *conditions: ColumnElement[bool]) -> int:
        named = select(func.count()).select_from(table).where(table.c.project == project, *conditions)
        return connection.execute(named.where(in_list(table.c.memory_id, "ids")), {"ids": ids}).scalar_one()

    legible = or_(*(r[name] != blank for name, blank in _BLANK.items() if isinstance(blank, str)))
    p = t.projects.c
    names = connection.execute(select(p.generation, p.next_generation).where(p.project == project)).one()
    generations = [Generation.parse(name).number for name in names if name]
    return Remains(
        ids=ids,
        upto=found[-1].seq_from,
        rows=count(t.revisions, legible),
        derived=sum(count(table) for table in (t.facets, t.features)),
        pending=count(t.pending, t.pending.c.generation.in_(generations)),
    )


def said(connection: Connection, project: str, messages: Collection[tuple[str, int]]) -> int:
    """How many of these messages still exist."""
    m = t.messages.c
    found = select(func.count()).where(m.project == project, in_pairs(m.add_id, m.position, "at"))
    return connection.execute(found, {"at": [list(at) for at in messages]}).scalar_one()


def answers(connection: Connection, project: str, since: int) -> bool:
    """Whether the project has outcomes stored after `since`, µs."""
    o = t.outcomes.c
    return connection.execute(select(o.rpc).where(o.project == project, o.time > since).limit(1)).first() is not None
