"""The one write path: a change becomes revisions, all of it or none.

The first statement takes the project's row, so writers of a project follow one another, sequence numbers have no gaps
and nothing deadlocks. Everything else happens under that lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, delete, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from recalld_server.adapters.ledger import tables as t
from recalld_server.adapters.ledger.reads import OUTCOMES_KEPT
from recalld_server.adapters.ledger.rows import dump, feature_row, inside, memory_columns, memory_of, row_of
from recalld_server.adapters.sql.filters import facets
from recalld_server.domain.errors import (
    DuplicateText,
    GenerationMoved,
    MemoryNotFound,
    OutcomeTaken,
    ProjectNotFound,
    RevisionConflict,
)
from recalld_server.domain.memory import Access, Cause, Kind, Memory, Message
from recalld_server.domain.revision import Change, Commit, Conversation, Generation, Put, RequestKey

_ADVANCE = (
    update(t.projects)
    .where(t.projects.c.project == bindparam("p"))
    .values(
        head=t.projects.c.head + bindparam("n"),
        last_time=case(
            (t.projects.c.last_time + 1 > bindparam("now"), t.projects.c.last_time + 1), else_=bindparam("now")
        ),
    )
    .returning(t.projects.c.head, t.projects.c.last_time, t.projects.c.generation, t.projects.c.next_generation)
)
_INSERT = {table: insert(table) for table in (t.revisions, t.pending, t.facets, t.features, t.messages)}
_CLOSE = update(t.revisions).where(
    t.revisions.c.project == bindparam("p"),
    t.revisions.c.memory_id == bindparam("id"),
    t.revisions.c.revision == bindparam("r"),
)
_CLOSE = _CLOSE.values(seq_to=bindparam("seq"))
_CONVERSE = insert(t.conversations)
_NEWEST = (
    select(t.revisions.c.memory_id, func.max(t.revisions.c.revision), t.revisions.c.scope_key)
    .where(t.revisions.c.project == bindparam("p"), t.revisions.c.memory_id.in_(bindparam("ids", expanding=True)))
    .group_by(t.revisions.c.memory_id, t.revisions.c.scope_key)
)
_SAID = select(
    t.messages.c.add_id,
    t.messages.c.position,
    t.messages.c.role,
    t.messages.c.content,
    t.messages.c.name,
    t.messages.c.time,
).where(t.messages.c.project == bindparam("p"), t.messages.c.add_id.in_(bindparam("ids", expanding=True)))
_RESERVE = _CONVERSE.on_conflict_do_update(
    index_elements=["project", "conversation"],
    set_={"next_position": t.conversations.c.next_position + _CONVERSE.excluded.next_position},
).returning(t.conversations.c.next_position)
_REACH = _CONVERSE.on_conflict_do_update(
    index_elements=["project", "conversation"],
    set_={"next_position": _CONVERSE.excluded.next_position},
    where=t.conversations.c.next_position < _CONVERSE.excluded.next_position,
)
_SPEAK = insert(t.speakers)
_SPEAK = _SPEAK.on_conflict_do_update(
    index_elements=["project", "type", "id", "name"], set_={"live": t.speakers.c.live + _SPEAK.excluded.live}
)


_OUTCOME = insert(t.outcomes)
_ANSWER = _OUTCOME.on_conflict_do_update(
    index_elements=["project", "principal", "rpc", "request_id"],
    set_={name: _OUTCOME.excluded[name] for name in ("fingerprint", "answer", "seq", "partial", "time")},
    where=or_(
        and_(t.outcomes.c.partial.is_(True), t.outcomes.c.fingerprint == _OUTCOME.excluded.fingerprint),
        t.outcomes.c.time <= _OUTCOME.excluded.time - OUTCOMES_KEPT,
    ),
).returning(t.outcomes.c.seq)
_REPEATED = select(t.revisions.c.memory_id).where(
    t.revisions.c.project == bindparam("p"),
    t.revisions.c.seq_to.is_(None),
    t.revisions.c.scope_key == bindparam("scope"),
    t.revisions.c.text_key.in_(bindparam("keys", expanding=True)),
    or_(t.revisions.c.expire_time.is_(None), t.revisions.c.expire_time > bindparam("now")),
)


@dataclass(frozen=True, slots=True)
class _Moment:
    """Where in the project's order a change stands."""

    first_seq: int
    time: int
    generations: Sequence[Generation]  # the current one, and the one being built beside it


def commit(connection: Connection, access: Access, change: Change, now: int) -> Commit:
    """Write `change` for `access`; see ports.ledger.Ledger.commit."""
    n = len(change.puts) + len(change.deletes)
    head, time, generations = advance(connection, access.project, n, now)
    moment = _Moment(head - n + 1, time, generations)
    current_number = generations[0].number
    if any(put.features and put.features.generation not in (0, current_number) for put in change.puts):
        raise GenerationMoved
    if change.request:
        store_outcome(connection, access, change, head, time)
    current = _guarded(connection, access, change, now)
    # Messages no memory came from would be out of reach of everybody, forgetting included.
    adds = {put.memory.add_id for put in change.puts}
    said = [_reserve(connection, access.project, c, c.add_id in adds) for c in change.conversations]
    bases = {c.add_id: c.messages[0].position for c in said if c.messages and not c.restored}
    try:
        stored = _write(connection, access, change, moment, current, bases)
    except IntegrityError:
        raise RevisionConflict([put.memory.id for put in change.puts if not put.expected]) from None
    touched = [*(m.id for m in stored), *(d.memory_id for d in change.deletes)]
    return Commit(head, _sourced(stored, said), touched, generations[0])


def advance(connection: Connection, project: str, n: int, now: int) -> tuple[int, int, Sequence[Generation]]:
    """Take the project's row and its next `n` sequence numbers: the last of them, their time, and the generations.

    These are the current one and, while one is being built beside it, that one, which is told of every change too.
    """
    row = connection.execute(_ADVANCE, {"p": project, "n": n, "now": now}).one_or_none()
    if row is None:
        raise ProjectNotFound(project_id=project)
    head, time, *names = row
    return head, time, [Generation.parse(name) for name in names if name]


def pend(
    connection: Connection, project: str, generations: Sequence[Generation], changed: Sequence[tuple[int, str]]
) -> None:
    """Note (sequence number, memory id) of each change for the index, in each generation."""
    rows = [
        {"project": project, "generation": generation.number, "seq": seq, "memory_id": id}
        for generation in generations
        for seq, id in changed
    ]
    connection.execute(_INSERT[t.pending], rows)


def store_outcome(connection: Connection, access: Access, change: Change, head: int, time: int) -> None:
    """Keep the answer of `change.request`. Raises OutcomeTaken if there is one, and it is not this call's own part."""
    request = change.request
    assert request is not None  # noqa: S101 - for the type checker
    row = {
        **_owner(access, request),
        "fingerprint": request.fingerprint,
        "answer": dump(dict(change.answer)),
        "seq": head,
        "partial": change.partial,
        "time": time,
    }
    if connection.execute(_ANSWER, row).one_or_none() is None:
        raise OutcomeTaken(rpc=request.rpc, request_id=request.request_id)


def _owner(access: Access, request: RequestKey) -> dict[str, str]:
    return {
        "project": access.project,
        "principal": access.principal,
        "rpc": request.rpc,
        "request_id": request.request_id,
    }


def _guarded(connection: Connection, access: Access, change: Change, now: int) -> Mapping[str, Memory]:
    """The live memories this change replaces, once every guard holds."""
    if any(not access.pin.admits(put.memory.scope) for put in change.puts):
        raise MemoryNotFound
    named = Counter([*(put.memory.id for put in change.puts), *(gone.memory_id for gone in change.deletes)])
    if twice := [id for id, times in named.items() if times > 1]:
        raise RevisionConflict(twice)  # the first of the two leaves no revision that the second could expect
    expected = {put.memory.id: put.expected for put in change.puts if put.expected}
    expected |= {gone.memory_id: gone.expected for gone in change.deletes}
    current: dict[str, Memory] = {}
    if expected:
        live = select(*memory_columns()).where(
            inside(access), t.revisions.c.seq_to.is_(None), t.revisions.c.memory_id.in_(list(expected))
        )
        current = {memory.id: memory for memory in map(memory_of, connection.execute(live))}
    moved = [id for id, revision in expected.items() if id not in current or current[id].revision != revision]
    if moved:
        raise RevisionConflict(moved)
    _refuse_taken(connection, access, [put.memory for put in change.puts if not put.expected])
    _refuse_misquotes(connection, access, change)
    _refuse_repeats(connection, access, [put.memory for put in change.puts if put.unique], now)
    return current


def _refuse_taken(connection: Connection, access: Access, memories: Sequence[Memory]) -> None:
    """A memory that was there before goes on where it ended, in its scope: ids come from importers too."""
    if not memories:
        return
    begun = {memory.id: (memory.revision, memory.scope.key()) for memory in memories}
    newest = connection.execute(_NEWEST, {"p": access.project, "ids": list(begun)})
    if taken := [id for id, revision, scope in newest if begun[id] != (revision, scope)]:
        raise RevisionConflict(taken)


def _refuse_misquotes(connection: Connection, access: Access, change: Change) -> None:
    """Restored messages must agree with those stored under their add, else a memory could claim what others said."""
    given: dict[tuple[str, int], set[Message]] = {}
    for restored in change.conversations:
        for message in restored.messages if restored.restored else ():
            given.setdefault((restored.add_id, message.position), set()).add(message)
    if not given:
        return
    said = connection.execute(_SAID, {"p": access.project, "ids": list({add_id for add_id, _ in given})})
    for add_id, position, role, content, name, time in said:
        if (add_id, position) in given:
            given[add_id, position].add(Message(role, content, name, time, position))
    foreign = {add_id for (add_id, _), claimed in given.items() if len(claimed) > 1}
    if foreign:
        raise RevisionConflict([put.memory.id for put in change.puts if put.memory.add_id in foreign])


def _refuse_repeats(connection: Connection, access: Access, memories: Sequence[Memory], now: int) -> None:
    by_scope: dict[str, dict[str, str]] = {}
    known = [
        memory.id
        for memory in memories
        if by_scope.setdefault(memory.scope.key(), {}).setdefault(memory.text_key, memory.id) != memory.id
    ]
    known += [
        id
        for scope, texts in by_scope.items()
        for id in connection.execute(
            _REPEATED, {"p": access.project, "scope": scope, "keys": list(texts), "now": now}
        ).scalars()
    ]
    if known:
        raise DuplicateText(known)


def _reserve(connection: Connection, project: str, conversation: Conversation, kept: bool) -> Conversation:
    """The conversation with every message at its position, stored if `kept`.

    One that ends with its add starts at 0 and needs no row.
    """
    messages, n = conversation.messages, len(conversation.messages)
    if conversation.restored:
        if conversation.key and n:
            row = {
                "project": project,
                "conversation": conversation.key,
                "next_position": max(m.position for m in messages) + 1,
            }
            connection.execute(_REACH, row)
    else:
        base = 0
        if conversation.key:
            row = {"project": project, "conversation": conversation.key, "next_position": n}
            base = connection.execute(_RESERVE, row).scalar_one() - n
        messages = [replace(message, position=base + offset) for offset, message in enumerate(messages)]
    if n and kept:
        rows = [
            {
                "project": project,
                "add_id": conversation.add_id,
                "position": message.position,
                "role": message.role,
                "name": message.name,
                "content": message.content,
                "time": message.time,
            }
            for message in messages
        ]
        connection.execute(
            _INSERT[t.messages].on_conflict_do_nothing() if conversation.restored else _INSERT[t.messages], rows
        )
    return replace(conversation, messages=messages)


def _write(
    connection: Connection,
    access: Access,
    change: Change,
    moment: _Moment,
    current: Mapping[str, Memory],
    bases: Mapping[str, int],
) -> list[Memory]:
    project = access.project
    seqs = range(moment.first_seq, moment.first_seq + len(change.puts) + len(change.deletes))
    closing: list[dict[str, Any]] = [
        {"p": project, "id": id, "r": current[id].revision, "seq": seq}
        for seq, id in zip(
            seqs, [*(p.memory.id for p in change.puts), *(d.memory_id for d in change.deletes)], strict=True
        )
        if id in current
    ]
    if closing:
        connection.execute(_CLOSE, closing)
    stored = [_stamped(put, moment, bases.get(put.memory.add_id, 0)) for put in change.puts]
    rows = []
    for seq, put, memory in zip(seqs, change.puts, stored, strict=False):
        rows.append(row_of(memory) | _revision(access, change, moment, seq, put.kind, Cause.NONE))
    for seq, gone in zip(seqs[len(stored) :], change.deletes, strict=True):
        ended = current[gone.memory_id]
        row = row_of(replace(ended, revision=ended.revision + 1))
        rows.append(row | _revision(access, change, moment, seq, Kind.DELETED, gone.cause) | {"seq_to": seq})
    if rows:
        connection.execute(_INSERT[t.revisions], rows)
        changed = [(seq, row["memory_id"]) for seq, row in zip(seqs, rows, strict=True)]
        pend(connection, project, moment.generations, changed)
    _write_derived(connection, project, moment.generations[0].number, change.puts, stored)
    _count_speakers(connection, project, (current[row["id"]] for row in closing), stored)
    return stored


def _stamped(put: Put, moment: _Moment, base: int) -> Memory:
    memory = put.memory
    revision = memory.revision + 1
    fresh = put.kind is Kind.ADDED
    return replace(
        memory,
        revision=revision,
        text_revision=revision if put.features else memory.text_revision,
        create_time=memory.create_time or moment.time,
        update_time=(memory.update_time if fresh else 0) or moment.time,
        position=memory.position + base if fresh else memory.position,
        source_positions=tuple(p + base for p in memory.source_positions) if fresh else memory.source_positions,
    )


def _revision(access: Access, change: Change, moment: _Moment, seq: int, kind: Kind, cause: Cause) -> dict[str, Any]:
    return {
        "project": access.project,
        "seq_from": seq,
        "seq_to": None,
        "kind": kind.value,
        "cause": cause.value,
        "principal": access.principal,
        "request_id": change.request.request_id if change.request else change.request_id,
        "commit_time": moment.time,
    }


def _write_derived(
    connection: Connection, project: str, generation: int, puts: Sequence[Put], stored: Sequence[Memory]
) -> None:
    found = [
        {"project": project, "memory_id": m.id, "revision": m.revision, "ordinal": i}
        | {"key": f.key, "kind": f.kind, "text": f.text, "folded": f.folded, "number": f.number}
        for m in stored
        for i, f in enumerate(facets(m))
    ]
    if found:
        connection.execute(_INSERT[t.facets], found)
    derived = [
        {"project": project, "memory_id": memory.id, "text_revision": memory.text_revision, "generation": generation}
        | feature_row(put.features)
        for put, memory in zip(puts, stored, strict=True)
        if put.features
    ]
    if derived:
        connection.execute(_INSERT[t.features], derived)


def _count_speakers(connection: Connection, project: str, ended: Iterable[Memory], stored: Iterable[Memory]) -> None:
    delta: Counter[tuple[str, str, str]] = Counter()
    for memories, step in ((ended, -1), (stored, 1)):
        for memory in memories:
            for type, id in memory.scope.items():
                delta[type, id, memory.speaker] += step
    rows: list[dict[str, Any]] = [
        {"project": project, "type": type, "id": id, "name": name, "live": n}
        for (type, id, name), n in sorted(delta.items())
        if n and name
    ]
    if rows:
        connection.execute(_SPEAK, rows)
    if any(row["live"] < 0 for row in rows):
        connection.execute(delete(t.speakers).where(t.speakers.c.project == project, t.speakers.c.live <= 0))


def _sourced(stored: Sequence[Memory], conversations: Sequence[Conversation]) -> list[Memory]:
    said = {(c.add_id, message.position): message for c in conversations for message in c.messages}
    return [
        replace(
            memory, sources=tuple(said[memory.add_id, p] for p in memory.source_positions if (memory.add_id, p) in said)
        )
        if not memory.sources
        else memory
        for memory in stored
    ]
