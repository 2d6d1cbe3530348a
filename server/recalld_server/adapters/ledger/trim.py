"""Statements of the janitor: what has expired, and what is older than the history a project keeps."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, exists, select, update

from recalld_server.adapters.ledger import tables as t
from recalld_server.adapters.ledger.reads import sequence_at, stand
from recalld_server.domain.errors import ProjectNotFound
from recalld_server.domain.memory import Access


def expired(connection: Connection, project: str, now: int, limit: int) -> list[tuple[str, int]]:
    statement = (
        select(t.revisions.c.memory_id, t.revisions.c.revision)
        .where(t.revisions.c.project == project, t.revisions.c.seq_to.is_(None), t.revisions.c.expire_time <= now)
        .order_by(t.revisions.c.memory_id)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in connection.execute(statement)]


def purge_outcomes(connection: Connection, before: int) -> int:
    return connection.execute(delete(t.outcomes).where(t.outcomes.c.time <= before)).rowcount


def retention(connection: Connection, project: str) -> int | None:
    row = connection.execute(select(t.projects.c.settings).where(t.projects.c.project == project)).one_or_none()
    if row is None:
        raise ProjectNotFound(project=project)
    kept = json.loads(row[0]).get("history_retention")
    return int(kept) if kept else None


def trim(connection: Connection, project: str, before: int, limit: int) -> bool:
    """See ports.ledger.Ledger.trim."""
    positions, _ = stand(connection, Access(project))
    # An index that was not told of a deletion could not learn of it any more.
    seq = min(sequence_at(connection, Access(project), before), positions.applied)
    if seq > positions.oldest:
        connection.execute(update(t.projects).where(t.projects.c.project == project).values(oldest=seq))
    upto = max(seq, positions.oldest)
    statement = (
        select(t.revisions.c.memory_id, t.revisions.c.revision, t.revisions.c.text_revision, t.revisions.c.add_id)
        .where(t.revisions.c.project == project, t.revisions.c.seq_to <= upto)
        .limit(limit)
    )
    rows = connection.execute(statement).all()
    if rows:
        _drop(connection, project, rows)
    return len(rows) == limit


def _drop(connection: Connection, project: str, rows: Sequence[Any]) -> None:
    at = [{"p": project, "id": row[0], "r": row[1]} for row in rows]
    for table in (t.facets, t.revisions):
        this = and_(
            table.c.project == bindparam("p"),
            table.c.memory_id == bindparam("id"),
            table.c.revision == bindparam("r"),
        )
        connection.execute(delete(table).where(this), at)
    still = exists().where(
        t.revisions.c.project == t.features.c.project,
        t.revisions.c.memory_id == t.features.c.memory_id,
        t.revisions.c.text_revision == t.features.c.text_revision,
    )
    unused = delete(t.features).where(
        t.features.c.project == bindparam("p"), t.features.c.memory_id == bindparam("id"), ~still
    )
    connection.execute(unused, [{"p": project, "id": id} for id in sorted({row[0] for row in rows})])
    adds = sorted({row[3] for row in rows})
    going_on = select(t.revisions.c.add_id).where(t.revisions.c.project == project, t.revisions.c.add_id.in_(adds))
    connection.execute(
        delete(t.messages).where(
            t.messages.c.project == project, t.messages.c.add_id.in_(adds), t.messages.c.add_id.not_in(going_on)
        )
    )
