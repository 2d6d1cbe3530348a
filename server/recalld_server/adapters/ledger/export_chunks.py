"""Deletes the data of exports that nobody can read any more, in small parts: an export may have gigabytes."""

from __future__ import annotations

from sqlalchemy import Connection, and_, delete, or_, select, tuple_

from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.domain.exports import ExportState

CLEARED = 8  # chunks of 1 MiB per transaction, because SQLite overwrites what it deletes (secure_delete)
_E, _K = t.exports.c, t.export_chunks.c
_UNREADABLE = (ExportState.WITHDRAWN.value, ExportState.FAILED.value)


def clear(connection: Connection, project: str | None = None) -> int:
    """Delete at most CLEARED chunks of withdrawn, failed or deleted exports. Returns how many; 0 if none are left.

    `project` limits this to one project.
    """
    own = and_(_E.project == _K.project, _E.id == _K.export_id)
    found = (
        select(_K.project, _K.export_id, _K.number)
        .select_from(t.export_chunks.outerjoin(t.exports, own))
        .where(or_(_E.id.is_(None), _E.state.in_(_UNREADABLE)))
        .limit(CLEARED)
    )
    if project is not None:
        found = found.where(_K.project == project)
    return connection.execute(delete(t.export_chunks).where(tuple_(*found.selected_columns).in_(found))).rowcount


def withdrawn(connection: Connection, project: str) -> bool:
    """Whether any chunk of a withdrawn export is left in the project."""
    gone = select(_E.id).where(_E.project == project, _E.state == ExportState.WITHDRAWN.value)
    left = select(_K.number).where(_K.project == project, _K.export_id.in_(gone)).limit(1)
    return connection.execute(left).first() is not None
