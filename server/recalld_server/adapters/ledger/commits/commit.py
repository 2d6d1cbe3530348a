"""The only write path: turns a change into revisions, atomically.

The first statement locks the project's row. So the writers of a project run one after another, sequence numbers have
no gaps and deadlocks are impossible. Everything else happens under that lock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, or_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError

from recalld_server.adapters.ledger.commits import speaker_counts
from recalld_server.adapters.ledger.commits.preconditions import guarded
from recalld_server.adapters.ledger.reads.queries import OUTCOMES_KEPT
from recalld_server.adapters.ledger.rows import dump, feature_row, row_of
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.filters import facets
from recalld_server.domain.errors import (
    GenerationMoved,
    OutcomeTaken,
    ProjectNotFound,
    RevisionConflict,
)
from recalld_server.domain.memory import Access, Cause, Kind, Memory
from recalld_server.domain.revision import Change, Commit, Conversation, Generation, HistoricRevision, Put, RequestKey

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
_RESERVE = _CONVERSE.on_conflict_do_update(
    index_elements=["project", "conversation"],
    set_={"next_position": t.conversations.c.next_position + _CONVERSE.excluded.next_position},
).returning(t.conversations.c.next_position)
_REACH = _CONVERSE.on_conflict_do_update(
    index_elements=["project", "conversation"],
    set_={"next_position": _CONVERSE.excluded.next_position},
    where=t.conversations.c.next_position < _CONVERSE.excluded.next_position,
)
_OUTCOME = insert(t.outcomes)
_ANSWER = _OUTCOME.on_conflict_do_update(
    index_elements=["project", "principal", "rpc", "request_id"],
    set_={name: _OUTCOME.excluded[name] for name in ("fingerprint", "answer", "seq", "partial", "time", "attempt")},
    where=or_(
        and_(
            t.outcomes.c.partial.is_(True),
            t.outcomes.c.fingerprint == _OUTCOME.excluded.fingerprint,
            t.outcomes.c.attempt == _OUTCOME.excluded.attempt - 1,  # otherwise another server continued it meanwhile
        ),
        t.outcomes.c.time <= _OUTCOME.excluded.time - OUTCOMES_KEPT,
    ),
).returning(t.outcomes.c.seq)


@dataclass(frozen=True, slots=True)
class _Moment:
    """The first sequence number, the commit time (µs) and the generations of a change."""

    first_seq: int
    time: int
    generations: Sequence[Generation]  # the current one, then the next one if it is being built

    def of(self, given: int | None) -> int:
        """`given` if it is set, else the commit time, µs."""
        return self.time if given is None else given


def commit(connection: Connection, access: Access, change: Change, now: int) -> Commit:
    """Write `change` for `access`; see ports.ledger.Ledger.commit."""
    n = len(change.puts) + len(change.deletes) + sum(map(len, change.histories))
    head, time, generations = advance(connection, access.project, n, now)
    moment = _Moment(head - n + 1, time, generations)
    current_number = generations[0].number
    featured: list[Put | HistoricRevision] = [*change.puts, *(past for history in change.histories for past in history)]
    if any(each.features and each.features.generation not in (0, current_number) for each in featured):
        raise GenerationMoved
    if change.request:
        store_outcome(connection, access, change, head, time)
    current = guarded(connection, access, change, now)
    # Only adds with memories store their messages: forgetting could not find any others.
    adds = {each.memory.add_id for each in featured}
    said = [_reserve(connection, access.project, c, c.add_id in adds) for c in change.conversations]
    bases = {c.add_id: c.messages[0].position for c in said if c.messages and not c.restored}
    try:
        stored = _write(connection, access, change, moment, current, bases)
        _write_histories(connection, access, change, moment)
    except IntegrityError:
        raise RevisionConflict([put.memory.id for put in change.puts if not put.expected]) from None
    begun = (history[0].memory.id for history in change.histories)
    touched = [*(m.id for m in stored), *(d.memory_id for d in change.deletes), *begun]
    return Commit(head, _sourced(stored, said), touched, generations[0])


def advance(connection: Connection, project: str, n: int, now: int) -> tuple[int, int, Sequence[Generation]]:
    """Lock the project's row and allocate `n` sequence numbers.

    Returns the last number, the commit time (µs) and the generations: the current one, then the next one if one is
    being built, which must get every change too. Raises ProjectNotFound.
    """
    row = connection.execute(_ADVANCE, {"p": project, "n": n, "now": now}).one_or_none()
    if row is None:
        raise ProjectNotFound(project_id=project)
    head, time, *names = row
    return head, time, [Generation.parse(name) for name in names if name]


def pend(
    connection: Connection, project: str, generations: Sequence[Generation], changed: Sequence[tuple[int, str]]
) -> None:
    """Add a pending change for each (sequence number, memory id) in each generation."""
    rows = [
        {"project": project, "generation": generation.number, "seq": seq, "memory_id": id}
        for generation in generations
        for seq, id in changed
    ]
    connection.execute(_INSERT[t.pending], rows)


def store_outcome(connection: Connection, access: Access, change: Change, head: int, time: int) -> None:
    """Store the outcome of `change.request`. Raises OutcomeTaken if one exists that this change does not continue."""
    request = change.request
    assert request is not None  # noqa: S101 - for the type checker
    row = {
        **_owner(access, request),
        "fingerprint": request.fingerprint,
        "answer": dump(dict(change.answer)),
        "seq": head,
        "partial": change.partial,
        "time": time,
        "attempt": change.attempt,
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


def _reserve(connection: Connection, project: str, conversation: Conversation, kept: bool) -> Conversation:
    """Assign positions to the messages of a conversation, and store them if `kept`.

    A conversation without a key belongs to a single add: its positions start at 0 and it needs no row.
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


def _write_histories(connection: Connection, access: Access, change: Change, moment: _Moment) -> None:
    """Write histories; their sequence numbers follow those of the puts and deletes.

    Each revision ends where the next one begins. A DELETED revision is live at no time.
    """
    project = access.project
    seq = moment.first_seq + len(change.puts) + len(change.deletes)
    rows, puts = [], []
    for history in change.histories:
        for past, following in zip_longest(history, history[1:]):
            gone = past.kind is Kind.DELETED
            ended = {"seq_to": seq if gone else seq + 1 if following else None}
            created, updated = moment.of(past.memory.create_time), moment.of(past.memory.update_time)
            memory = replace(past.memory, create_time=created, update_time=updated)
            rows.append(row_of(memory) | _revision(access, change, moment, seq, past.kind, past.cause) | ended)
            puts.append(Put(memory, past.kind, features=past.features))
            seq += 1
    if not rows:
        return
    connection.execute(_INSERT[t.revisions], rows)
    pend(connection, project, moment.generations, [(row["seq_from"], row["memory_id"]) for row in rows])
    _write_derived(connection, project, moment.generations[0].number, puts, [put.memory for put in puts])
    live = (history[-1] for history in change.histories)
    _count_speakers(connection, project, (), [past.memory for past in live if past.kind is not Kind.DELETED])


def _stamped(put: Put, moment: _Moment, base: int) -> Memory:
    memory = put.memory
    revision = memory.revision + 1
    fresh = put.kind is Kind.ADDED
    return replace(
        memory,
        revision=revision,
        text_revision=revision if put.features else memory.text_revision,
        create_time=moment.of(memory.create_time),
        update_time=moment.of(memory.update_time if fresh else None),
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
        for put, m in zip(puts, stored, strict=True)
        for i, f in enumerate(facets(m) if put.kind is not Kind.DELETED else ())
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
    more: Counter[speaker_counts.Key] = Counter()
    seen: dict[speaker_counts.Key, int] = {}
    for memory in ended:
        more.subtract((type, id, memory.speaker) for type, id in memory.scope.items())
    for memory in stored:
        for type, id in memory.scope.items():
            key = (type, id, memory.speaker)
            more[key] += 1
            seen[key] = max(seen.get(key, 0), memory.update_time or 0)
    speaker_counts.count(connection, project, more, seen)


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
