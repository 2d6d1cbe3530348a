"""Checks that must pass before a change is written. They run under the lock of the project's row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, bindparam, func, select

from recalld_server.adapters.ledger.rows import SAID, inside, memory_columns, memory_of, messages, repeating
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.array_params import in_list
from recalld_server.domain.errors import DuplicateText, MemoryNotFound, RevisionConflict
from recalld_server.domain.memory import Access, Memory, Message
from recalld_server.domain.revision import Change

_NEWEST = (
    select(t.revisions.c.memory_id, func.max(t.revisions.c.revision), t.revisions.c.scope_key)
    .where(t.revisions.c.project == bindparam("p"), in_list(t.revisions.c.memory_id, "ids"))
    .group_by(t.revisions.c.memory_id, t.revisions.c.scope_key)
)
_REPEATED = select(t.revisions.c.memory_id).where(t.revisions.c.project == bindparam("p"), repeating())


def guarded(connection: Connection, access: Access, change: Change, now: int) -> Mapping[str, Memory]:
    """Check all preconditions, and return the live memories that the change replaces or deletes, by id.

    Raises MemoryNotFound (outside the pin), RevisionConflict, DuplicateText.
    """
    begun = [history[0].memory for history in change.histories]
    if any(not access.pin.admits(memory.scope) for memory in (*(put.memory for put in change.puts), *begun)):
        raise MemoryNotFound
    named = Counter(each.id for each in (*(put.memory for put in change.puts), *begun))
    named.update(gone.memory_id for gone in change.deletes)
    if twice := [id for id, times in named.items() if times > 1]:
        raise RevisionConflict(twice)  # after the first of the two, the expected revision of the second is out of date
    expected = {put.memory.id: put.expected for put in change.puts if put.expected}
    expected |= {gone.memory_id: gone.expected for gone in change.deletes}
    current: dict[str, Memory] = {}
    if expected:
        live = select(*memory_columns()).where(
            inside(access), t.revisions.c.seq_to.is_(None), in_list(t.revisions.c.memory_id, expected)
        )
        current = {memory.id: memory for memory in map(memory_of, connection.execute(live))}
    moved = [id for id, revision in expected.items() if id not in current or current[id].revision != revision]
    if moved:
        raise RevisionConflict(moved)
    _refuse_taken(connection, access, [put.memory for put in change.puts if not put.expected])
    _refuse_taken(connection, access, [replace(memory, revision=-1) for memory in begun])  # -1: the id must be unused
    _refuse_misquotes(connection, access, change)
    _refuse_repeats(connection, access, [put.memory for put in change.puts if put.unique], now)
    return current


def _refuse_taken(connection: Connection, access: Access, memories: Sequence[Memory]) -> None:
    """An id that was used before may only continue at its newest revision and in its scope: importers choose ids."""
    if not memories:
        return
    begun = {memory.id: (memory.revision, memory.scope.key()) for memory in memories}
    newest = connection.execute(_NEWEST, {"p": access.project, "ids": list(begun)})
    if taken := [id for id, revision, scope in newest if begun[id] != (revision, scope)]:
        raise RevisionConflict(taken)


def _refuse_misquotes(connection: Connection, access: Access, change: Change) -> None:
    """Restored messages must equal the messages stored under their add id.

    Otherwise a memory could claim a source that its speaker never said.
    """
    given: dict[tuple[str, int], set[Message]] = {}
    for restored in change.conversations:
        for message in restored.messages if restored.restored else ():
            given.setdefault((restored.add_id, message.position), set()).add(message)
    if not given:
        return
    asked = {"p": access.project, "ids": list({add_id for add_id, _ in given})}
    for place, message in messages(connection, SAID, asked):
        if place in given:
            given[place].add(message)
    foreign = {add_id for (add_id, _), claimed in given.items() if len(claimed) > 1}
    if foreign:
        memories = [put.memory for put in change.puts] + [p.memory for history in change.histories for p in history]
        raise RevisionConflict(sorted({memory.id for memory in memories if memory.add_id in foreign}))


def _refuse_repeats(connection: Connection, access: Access, memories: Sequence[Memory], now: int) -> None:
    if not memories:
        return
    first: dict[tuple[str, str], str] = {}
    known = [
        memory.id
        for memory in memories
        if first.setdefault((memory.scope.key(), memory.text_key), memory.id) != memory.id
    ]
    known += connection.execute(_REPEATED, {"p": access.project, "texts": list(first), "now": now}).scalars()
    if known:
        raise DuplicateText(known)
