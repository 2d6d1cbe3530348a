"""Statements about entities: the users, agents, apps and runs that live memories carry."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, Executable, func, literal, select

from recalld_server.adapters.ledger.rows import EMPTY_TEXT, given, inside
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.domain.memory import Access
from recalld_server.domain.revision import Entity

_R, _S = t.revisions.c, t.speakers.c


def entities(
    connection: Connection, access: Access, types: Sequence[str], after: tuple[str, str] | None, limit: int
) -> list[Entity]:
    """At most `limit` entities by (type, id). Reads one type after the other along an index from the page's start."""
    found: list[Entity] = []
    page = _pinned if access.pin else _counted
    for type in sorted(types):
        if len(found) < limit and (after is None or type >= after[0]):
            start = after[1] if after is not None and type == after[0] else ""
            rows = connection.execute(page(access, type, start, limit - len(found)))
            found += [Entity(type, *row) for row in rows]
    return found


def count_entities(connection: Connection, access: Access, types: Sequence[str]) -> int:
    total = 0
    for type in types:
        if access.pin:
            statement = select(func.count(_id(type).distinct())).where(*_carrying(access, type))
        else:
            statement = select(func.count(_S.id.distinct())).where(_S.project == access.project, _S.type == type)
        total += connection.execute(statement).scalar_one()
    return total


def _counted(access: Access, type: str, after: str, limit: int) -> Executable:
    """A page from the speaker counts. The create time of an entity's oldest memory comes from an index."""
    page = (
        select(_S.id.label("id"), func.sum(_S.live).label("count"), func.max(_S.last_seen).label("last"))
        .where(_S.project == access.project, _S.type == type, _S.id > after)
        .group_by(_S.id)
        .order_by(_S.id)
        .limit(limit)
        .subquery()
    )
    first = select(func.min(_R.create_time)).where(
        _R.project == access.project, _R[type] == page.c.id, _R[type] != EMPTY_TEXT, _R.seq_to.is_(None)
    )
    return select(page.c.id, page.c.count, first.scalar_subquery(), page.c.last).order_by(page.c.id)


def _pinned(access: Access, type: str, after: str, limit: int) -> Executable:
    """A page from the memories inside the pin: the speaker counts include memories that the caller must not see."""
    id = _id(type)
    return (
        select(id, func.count(), func.min(_R.create_time), func.max(_R.update_time))
        .where(*_carrying(access, type), id > literal(after))
        .group_by(id)
        .order_by(id)
        .limit(limit)
    )


def _carrying(access: Access, type: str) -> list[ColumnElement[bool]]:
    return [inside(access), *given(access.pin), _R.seq_to.is_(None), _id(type) != EMPTY_TEXT]


def _id(type: str) -> ColumnElement[str]:
    """The id column as an expression, so that planners use the index of the pin, which leaves fewer rows."""
    return _R[type].concat(EMPTY_TEXT)
