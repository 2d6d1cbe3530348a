"""Statements of the janitor: expired memories, old outcomes, and history beyond the retention of a project.

Functions without a docstring implement the method of ports.ledger.Ledger with the same name.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Connection, Select, and_, bindparam, delete, exists, literal, select, tuple_, update

from recalld_server.adapters.ledger.reads.queries import sequence_at, stand
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.filters import Position
from recalld_server.domain.errors import ProjectNotFound
from recalld_server.domain.memory import Access
from recalld_server.domain.revision import Expired

_PLACE = (t.revisions.c.expire_time, t.revisions.c.project, t.revisions.c.memory_id)


def expired(
    connection: Connection, now: int, without: Collection[str], after: tuple[int, str, str] | None, limit: int
) -> list[Expired]:
    statement = (
        select(*_PLACE, t.revisions.c.revision)
        .where(t.revisions.c.seq_to.is_(None), t.revisions.c.expire_time <= now)
        .order_by(*_PLACE)
        .limit(limit)
    )
    if without:
        statement = statement.where(t.revisions.c.project.not_in(sorted(without)))
    if after is not None:
        statement = statement.where(tuple_(*_PLACE) > tuple_(*map(literal, after)))
    return [Expired(*row) for row in connection.execute(statement)]


_KEY = tuple(t.outcomes.primary_key.columns)
_OLD = select(*_KEY).where(t.outcomes.c.time <= bindparam("before")).order_by(t.outcomes.c.time).limit(bindparam("n"))
_PURGE = delete(t.outcomes).where(*(column == bindparam(f"of_{column.name}") for column in _KEY))


def purge_outcomes(connection: Connection, before: int, limit: int) -> int:
    rows = connection.execute(_OLD, {"before": before, "n": limit}).all()
    if rows:
        connection.execute(_PURGE, [{f"of_{name}": value for name, value in row._mapping.items()} for row in rows])
    return len(rows)


_SETTING = "history_retention"
# One statement over the settings of all projects, which are short, instead of one statement per project.
_LIMITED = select(t.projects.c.project, t.projects.c.settings).where(Position(t.projects.c.settings, _SETTING) > 0)


def retentions(connection: Connection) -> dict[str, int]:
    found = {row.project: json.loads(row.settings).get(_SETTING) for row in connection.execute(_LIMITED)}
    return {project: int(kept) for project, kept in found.items() if kept}


def retention(connection: Connection, project: str) -> int | None:
    row = connection.execute(select(t.projects.c.settings).where(t.projects.c.project == project)).one_or_none()
    if row is None:
        raise ProjectNotFound(project=project)
    kept = json.loads(row[0]).get("history_retention")
    return int(kept) if kept else None


def due(connection: Connection, project: str, before: int) -> bool:
    """Whether `trim` has anything to do."""
    oldest, upto = _limits(connection, project, before)
    return upto > oldest or connection.execute(_ended(project, upto, 1)).first() is not None


def trim(connection: Connection, project: str, before: int, limit: int) -> bool:
    """See ports.ledger.Ledger.trim."""
    oldest, upto = _limits(connection, project, before)
    if upto > oldest:
        connection.execute(update(t.projects).where(t.projects.c.project == project).values(oldest=upto))
    rows = connection.execute(_ended(project, upto, limit)).all()
    if rows:
        _drop(connection, project, rows)
    return len(rows) == limit


def _limits(connection: Connection, project: str, before: int) -> tuple[int, int]:
    """The oldest sequence number kept so far, and the oldest one to keep from now on."""
    positions, _ = stand(connection, Access(project))
    # Changes that the index has not applied yet stay: it could not learn of a trimmed deletion any more.
    seq = min(sequence_at(connection, Access(project), before), positions.applied)
    return positions.oldest, max(seq, positions.oldest)


def _ended(project: str, upto: int, limit: int) -> Select[Any]:
    r = t.revisions.c
    ended = and_(r.project == project, r.seq_to.is_not(None), r.seq_to <= upto)
    return select(r.memory_id, r.revision, r.text_revision, r.add_id).where(ended).order_by(r.seq_to).limit(limit)


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
    going_on = exists().where(
        t.revisions.c.project == t.messages.c.project, t.revisions.c.add_id == t.messages.c.add_id
    )
    ended = delete(t.messages).where(
        t.messages.c.project == bindparam("p"), t.messages.c.add_id == bindparam("id"), ~going_on
    )
    connection.execute(ended, [{"p": project, "id": id} for id in sorted({row[3] for row in rows})])
