"""Counts the live memories of each speaker, per user, agent, app and run.

Every commit updates the counts, so that queries for the speakers of a scope or for entities need not read memories.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, bindparam, case, delete
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger.schema import tables as t

Key = tuple[str, str, str]  # type and id of an entity, and the name of the speaker, which may be empty
_KEY = ("type", "id", "name")

_COUNT = insert(t.speakers)
_COUNT = _COUNT.on_conflict_do_update(
    index_elements=["project", "type", "id", "name"],
    set_={
        "live": t.speakers.c.live + _COUNT.excluded.live,
        "last_seen": case(
            (t.speakers.c.last_seen > _COUNT.excluded.last_seen, t.speakers.c.last_seen),
            else_=_COUNT.excluded.last_seen,
        ),
    },
)
_DROP = delete(t.speakers).where(
    *(t.speakers.c[name] == bindparam(f"of_{name}") for name in ("project", *_KEY)), t.speakers.c.live <= 0
)


def count(connection: Connection, project: str, more: Mapping[Key, int], seen: Mapping[Key, int]) -> None:
    """Add `more` (may be negative) to the counts. Rows whose count falls to 0 are deleted.

    `seen` holds the latest update time (µs) of the memories that are being written.
    """
    rows: list[dict[str, Any]] = [
        dict(zip(_KEY, key, strict=True), project=project, live=more[key], last_seen=seen.get(key, 0))
        for key in sorted(more)
        if more[key] or key in seen
    ]
    if rows:
        connection.execute(_COUNT, rows)
    if fewer := [row for row in rows if row["live"] < 0]:
        connection.execute(_DROP, [{"of_" + name: row[name] for name in ("project", *_KEY)} for row in fewer])
