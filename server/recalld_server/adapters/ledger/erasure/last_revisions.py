"""Finds memories, live or deleted, whose last revision with content matches a scope and a filter.

Pages follow the order of an index, so all pages together cost one pass over the memories of the scope.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, func, literal, literal_column, select, tuple_, union_all

from recalld_server.adapters.ledger.rows import given, inside, satisfying
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.array_params import in_list
from recalld_server.domain.filters import Filter
from recalld_server.domain.forgetting import ErasureCursor, ErasureScope
from recalld_server.domain.memory import Access, Kind, Scope

_R = t.revisions.alias("last")
_ENDED = t.revisions.alias("ended")  # the DELETED revision after `last`; it has no facets
_LATER = t.revisions.alias("later")
_EVERY = t.revisions.alias("every")
_DELETED: ColumnElement[str] = literal_column(f"'{Kind.DELETED.value}'", Text)
_STAGES = 4


def page(
    connection: Connection, access: Access, scope: Scope, filter: Filter | None, place: ErasureCursor, limit: int
) -> tuple[list[tuple[str, ErasureCursor]], ErasureCursor | None]:
    """At most `limit` ids from a cursor on, each with the cursor after it; and the next page's cursor or None.

    Stages: live memories, deleted memories, then again both, limited to commits after `place.since`, because a
    concurrent change may have moved a memory to a part that was read already.
    """
    while place.stage < _STAGES:
        statement, key = _stage(access, scope, filter, place)
        rows = connection.execute(statement.add_columns(*key).order_by(*key).limit(limit)).all()
        found = [(row[0], ErasureCursor(place.since, place.stage, tuple(row[1:]))) for row in rows]
        after = ErasureCursor(place.since, place.stage + 1) if len(rows) < limit else found[-1][1]
        if found:
            return found, after if after.stage < _STAGES else None
        place = after
    return [], None


def still(connection: Connection, access: Access, scope: Scope, filter: Filter | None, ids: Sequence[str]) -> set[str]:
    """Those of `ids` that match now."""
    named = (
        half.where(in_list(column, "ids"))
        for half, column in (
            (_live(access, scope, filter), _R.c.memory_id),
            (_deleted(access, scope, filter), _ENDED.c.memory_id),
        )
    )
    return set(connection.execute(union_all(*named), {"ids": list(ids)}).scalars())


def extent(connection: Connection, access: Access, scope: Scope, filter: Filter | None) -> ErasureScope:
    """How many memories match, and how many revisions they have together."""
    found = union_all(_live(access, scope, filter), _deleted(access, scope, filter)).subquery()
    own = (
        select(func.count())
        .select_from(_EVERY)
        .where(_EVERY.c.project == access.project, _EVERY.c.memory_id == found.c.memory_id)
        .scalar_subquery()
    )
    memories, revisions = connection.execute(select(func.count(), func.sum(own)).select_from(found)).one()
    return ErasureScope(memories, int(revisions or 0))


def any_before(connection: Connection, access: Access, scope: Scope, filter: Filter | None, seq: int) -> bool:
    """Whether a matching memory existed at a sequence number.

    A memory whose first revisions were trimmed counts as older, because its begin is unknown.
    """
    for half, revision in ((_live(access, scope, filter), _R), (_deleted(access, scope, filter), _ENDED)):
        mine = (_EVERY.c.project == access.project, _EVERY.c.memory_id == revision.c.memory_id)
        seen = select(_EVERY.c.revision).where(*mine, _EVERY.c.seq_from <= seq).exists()
        whole = select(_EVERY.c.revision).where(*mine, _EVERY.c.revision == 1).exists()
        if connection.execute(half.where(seen | ~whole).limit(1)).first():
            return True
    return False


def _stage(
    access: Access, scope: Scope, filter: Filter | None, place: ErasureCursor
) -> tuple[Select[Any], Sequence[ColumnElement[Any]]]:
    recent = place.stage >= 2
    if place.stage % 2 == 0:
        statement, revision = _live(access, scope, filter), _R
        key: list[ColumnElement[Any]] = [_R.c.create_time, _R.c.memory_id]
    else:
        statement, revision = _deleted(access, scope, filter), _ENDED
        key = [_ENDED.c.memory_id]
    if recent:
        key = [revision.c.seq_from]
        statement = statement.where(revision.c.seq_from > place.since)
    if place.key:
        statement = statement.where(tuple_(*key) > tuple_(*map(literal, place.key)))
    return statement, key


def _live(access: Access, scope: Scope, filter: Filter | None) -> Select[Any]:
    return select(_R.c.memory_id).where(
        *_within(access, scope, _R), _R.c.seq_to.is_(None), _R.c.text != "", *satisfying(filter, _R)
    )


def _deleted(access: Access, scope: Scope, filter: Filter | None) -> Select[Any]:
    same = (_R.c.project == _ENDED.c.project) & (_R.c.memory_id == _ENDED.c.memory_id)
    newer = select(_LATER.c.revision).where(
        _LATER.c.project == _ENDED.c.project,
        _LATER.c.memory_id == _ENDED.c.memory_id,
        _LATER.c.revision == _ENDED.c.revision + 1,
    )
    return (
        select(_ENDED.c.memory_id)
        .select_from(_ENDED.join(_R, same & (_R.c.revision == _ENDED.c.revision - 1)))
        .where(*_within(access, scope, _ENDED), _ENDED.c.kind == _DELETED, _ENDED.c.seq_to.is_not(None))
        .where(~newer.exists(), _R.c.text != "", *satisfying(filter, _R))
    )


def _within(access: Access, scope: Scope, revision: Any) -> list[ColumnElement[bool]]:
    return [inside(access, scope, revision), *given(access.pin, scope, source=revision)]
