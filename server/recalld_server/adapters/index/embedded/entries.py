"""Inserts and deletes the rows of index entries, within the caller's transaction."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import astuple

import numpy as np
from sqlalchemy import Connection

from recalld_server.adapters.index.embedded.blocks import Key
from recalld_server.adapters.sql.filters import facets
from recalld_server.domain.filters import TIME_FIELDS
from recalld_server.domain.folding import loose
from recalld_server.domain.memory import SCOPE_FIELDS, Scope
from recalld_server.domain.revision import IndexEntry

Removed = tuple[int, Sequence[Key]]  # a deleted row number, and the keys of the strips that may hold it

COLUMNS = f"row, space, memory_id, revision, {', '.join((*SCOPE_FIELDS, *TIME_FIELDS))}, text, folded, terms, vector"
INSERT = f"INSERT INTO entries ({COLUMNS}) VALUES ({', '.join('?' * (COLUMNS.count(',') + 1))})"  # noqa: S608 - our names
INSERT_FACET = "INSERT INTO facets (row, ordinal, key, kind, text, folded, number) VALUES (?, ?, ?, ?, ?, ?, ?)"
RETURNING = f"RETURNING row, {', '.join(SCOPE_FIELDS)}"
DELETE_NAMED = f"DELETE FROM entries WHERE space = ? AND memory_id IN (SELECT value FROM json_each(?)) {RETURNING}"  # noqa: S608
OLDEST = "SELECT row FROM entries WHERE space = ? ORDER BY row LIMIT ?"
DELETE_OLDEST = f"DELETE FROM entries WHERE row IN ({OLDEST}) {RETURNING}"  # noqa: S608


def put(connection: Connection, space: int, added: Sequence[IndexEntry]) -> None:
    """Insert entries with the next row numbers. The memories must have no entries in this space."""
    if not added:
        return
    newest = connection.exec_driver_sql("SELECT seq FROM sqlite_sequence WHERE name = 'entries'").scalar() or 0
    numbered = list(enumerate(added, newest + 1))
    connection.exec_driver_sql(INSERT, [_row(space, row, entry) for row, entry in numbered])
    elements = [
        (row, ordinal, *astuple(facet)) for row, entry in numbered for ordinal, facet in enumerate(facets(entry.memory))
    ]
    if elements:
        connection.exec_driver_sql(INSERT_FACET, elements)


def remove(connection: Connection, space: int, ids: Sequence[str]) -> list[Removed]:
    """Delete the entries of memories. Ids without an entry are ignored."""
    return _removed(connection, space, DELETE_NAMED, json.dumps(ids))


def remove_oldest(connection: Connection, space: int, limit: int) -> list[Removed]:
    """Delete the oldest entries of a space, at most `limit`."""
    return _removed(connection, space, DELETE_OLDEST, limit)


def count(connection: Connection, project: str, ids: Sequence[str]) -> int:
    """The number of entries of these memories, in all generations."""
    sql = """
        SELECT count(*) FROM entries WHERE space IN (SELECT space FROM spaces WHERE project = ?)
        AND memory_id IN (SELECT value FROM json_each(?))"""
    return int(connection.exec_driver_sql(sql, (project, json.dumps(ids))).scalar_one())


def _removed(connection: Connection, space: int, sql: str, argument: str | int) -> list[Removed]:
    found = connection.exec_driver_sql(sql, (space, argument)).all()
    if found:
        numbers = [(row,) for row, *_ in found]
        connection.exec_driver_sql("DELETE FROM facets WHERE row = ?", numbers)
    return [(row, [(space, *owner) for owner in (("", ""), *Scope(*ids).items())]) for row, *ids in found]


def _row(space: int, row: int, entry: IndexEntry) -> tuple[object, ...]:
    memory = entry.memory
    return (
        row,
        space,
        memory.id,
        memory.revision,
        *(getattr(memory.scope, name) for name in SCOPE_FIELDS),
        *(getattr(memory, name) for name in TIME_FIELDS),
        memory.text,
        loose(memory.text),
        entry.features.terms.astype("<u4").tobytes(),
        entry.features.vector.astype(np.dtype("<f2")).tobytes(),
    )
