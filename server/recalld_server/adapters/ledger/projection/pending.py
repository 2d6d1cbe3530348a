"""Statements about pending changes: the revisions that the index of a project has not confirmed yet.

Functions without a docstring implement the method of ports.ledger.Ledger with the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, and_, bindparam, case, delete, exists, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger.reads.queries import stand
from recalld_server.adapters.ledger.rows import feature_row, features_of, memory_columns, memory_of
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.array_params import in_list
from recalld_server.domain.errors import FeaturesMissing, GenerationMoved
from recalld_server.domain.memory import Access, Memory
from recalld_server.domain.revision import Features, Generation, IndexEntry, IndexLag, Positions

_WIDTH = len(memory_columns())

_ENTRIES = (
    select(*memory_columns(), t.features.c.terms, t.features.c.vector, t.revisions.c.seq_from)
    .select_from(
        t.revisions.outerjoin(
            t.features,
            and_(
                t.features.c.project == t.revisions.c.project,
                t.features.c.memory_id == t.revisions.c.memory_id,
                t.features.c.text_revision == t.revisions.c.text_revision,
                t.features.c.generation == bindparam("g"),
            ),
        )
    )
    .where(
        t.revisions.c.project == bindparam("p"),
        t.revisions.c.seq_to.is_(None),
        in_list(t.revisions.c.memory_id, "ids"),
    )
)
_STANDING = (  # the generation in use, and the live revisions of the memories, if any
    select(t.projects.c.generation_number, t.revisions.c.memory_id, t.revisions.c.revision)
    .select_from(
        t.projects.outerjoin(
            t.revisions,
            and_(
                t.revisions.c.project == bindparam("p"),
                t.revisions.c.seq_to.is_(None),
                in_list(t.revisions.c.memory_id, "ids"),
            ),
        )
    )
    .where(t.projects.c.project == bindparam("p"))
)
_CLEAR = delete(t.pending).where(
    t.pending.c.project == bindparam("p"),
    t.pending.c.generation == bindparam("g"),
    t.pending.c.seq <= bindparam("seq"),
    in_list(t.pending.c.memory_id, "ids"),
)
# Changes that were committed at or before `before` and that no projector has claimed.
_LATE = and_(
    t.revisions.c.project == t.pending.c.project,
    t.revisions.c.seq_from == t.pending.c.seq,
    t.revisions.c.commit_time <= bindparam("before"),
    t.pending.c.free_from <= bindparam("now"),
)
# The projects with pending changes. The recursion jumps from project to project in the index (a skip scan).
_FIRST = select(func.min(t.pending.c.project).label("project")).cte("waiting", recursive=True)
_NEXT = select(func.min(t.pending.c.project)).where(t.pending.c.project > _FIRST.c.project)
_WAITING = _FIRST.union_all(select(_NEXT.scalar_subquery()).where(_FIRST.c.project.is_not(None)))
# A scalar subquery with LIMIT 1: for EXISTS, PostgreSQL would join all pending rows with all revisions.
_FIRST_LATE = (
    select(t.pending.c.seq)
    .where(t.pending.c.project == _WAITING.c.project, _LATE)
    .order_by(t.pending.c.generation, t.pending.c.seq)
    .limit(1)
    .scalar_subquery()
)
_INTERRUPTED = exists().where(  # see `recovery`
    t.pending.c.project == _WAITING.c.project,
    t.projects.c.project == _WAITING.c.project,
    t.pending.c.generation == t.projects.c.generation_number,
    t.pending.c.seq == 0,
    t.pending.c.free_from <= bindparam("now"),
)
_BEHIND = select(_WAITING.c.project).where(or_(_FIRST_LATE.is_not(None), _INTERRUPTED)).order_by(_WAITING.c.project)
_OLDEST = (
    select(t.pending.c.project, t.pending.c.generation, t.pending.c.seq)
    .where(_LATE, t.pending.c.project == bindparam("p"), t.pending.c.generation == bindparam("g"))
    .order_by(t.pending.c.seq)
    .limit(bindparam("n"))
    .with_for_update(of=t.pending, skip_locked=True)  # do not wait for rows that another server is claiming
    .cte("oldest")  # evaluated once: a subquery may run again, and would then skip the rows it locked itself
)
_CLAIM = (
    update(t.pending)
    .where(tuple_(t.pending.c.project, t.pending.c.generation, t.pending.c.seq).in_(select(_OLDEST)))
    .values(free_from=bindparam("until"))
    .returning(t.pending.c.memory_id)
)
_RELEASE = (
    update(t.pending)
    .where(
        t.pending.c.project == bindparam("p"),
        t.pending.c.generation == bindparam("g"),
        in_list(t.pending.c.memory_id, "ids"),
    )
    .values(free_from=0)
)


def behind(connection: Connection, before: int, now: int) -> list[str]:
    return list(connection.execute(_BEHIND, {"before": before, "now": now}).scalars())


def claim(
    connection: Connection, project: str, generation: Generation, before: int, now: int, until: int, limit: int
) -> list[str]:
    parameters = {"before": before, "now": now, "until": until, "n": limit}
    return list(connection.execute(_CLAIM, {"p": project, "g": generation.number, **parameters}).scalars())


def release(connection: Connection, project: str, generation: Generation, ids: Sequence[str]) -> None:
    connection.execute(_RELEASE, {"p": project, "g": generation.number, "ids": list(ids)})


def pending(connection: Connection, project: str, generation: Generation, limit: int) -> list[str]:
    statement = (
        select(t.pending.c.memory_id)
        .where(t.pending.c.project == project, t.pending.c.generation == generation.number, t.pending.c.seq > 0)
        .order_by(t.pending.c.seq)
        .limit(limit)
    )
    return list(dict.fromkeys(connection.execute(statement).scalars()))


def entries(
    connection: Connection, project: str, generation: Generation, ids: Sequence[str]
) -> tuple[Mapping[str, IndexEntry], Positions]:
    where, current = stand(connection, Access(project))
    if current != generation:  # a generation that is being built has no reliable position
        where = replace(where, applied=0)
    rows = connection.execute(_ENTRIES, {"p": project, "g": generation.number, "ids": list(ids)}).all()
    if current == generation and (lacking := [row[0] for row in rows if row[_WIDTH] is None]):
        raise FeaturesMissing(lacking)
    found = {
        row[0]: IndexEntry(memory_of(row), features_of(row[_WIDTH], row[_WIDTH + 1]), row[_WIDTH + 2])
        for row in rows
        if row[_WIDTH] is not None  # a generation that is being built gets its missing features later
    }
    return found, where


def add_features(
    connection: Connection,
    project: str,
    generation: Generation,
    memories: Sequence[Memory],
    features: Sequence[Features],
) -> None:
    ids = [memory.id for memory in memories]
    # A memory may have been forgotten while its text was embedded: it must not get a vector now.
    live = select(t.revisions.c.memory_id, t.revisions.c.text_revision).where(
        t.revisions.c.project == bindparam("p"),
        t.revisions.c.seq_to.is_(None),
        in_list(t.revisions.c.memory_id, "ids"),
    )
    kept = {tuple(row) for row in connection.execute(live, {"p": project, "ids": ids})}
    owner = {"project": project, "generation": generation.number}
    rows = [
        {**owner, "memory_id": memory.id, "text_revision": memory.text_revision, **feature_row(found)}
        for memory, found in zip(memories, features, strict=True)
        if (memory.id, memory.text_revision) in kept
    ]
    if rows:
        connection.execute(insert(t.features).on_conflict_do_nothing(), rows)


def settle(
    connection: Connection, project: str, generation: Generation, applied: Mapping[str, int], seq: int
) -> list[str]:
    ids = list(applied)
    rows = connection.execute(_STANDING, {"p": project, "ids": ids}).all()
    if not rows or rows[0][0] > generation.number:
        raise GenerationMoved
    live = {id: revision for _, id, revision in rows}
    moved = [id for id in ids if live.get(id, 0) != applied[id]]
    stayed = [id for id in ids if live.get(id, 0) == applied[id]]
    if stayed:
        connection.execute(_CLEAR, {"p": project, "g": generation.number, "seq": seq, "ids": stayed})
    return moved


def live(connection: Connection, project: str, after: str, limit: int) -> list[tuple[str, int]]:
    statement = (
        select(t.revisions.c.memory_id, t.revisions.c.revision)
        .where(t.revisions.c.project == project, t.revisions.c.seq_to.is_(None), t.revisions.c.memory_id > after)
        .order_by(t.revisions.c.memory_id)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in connection.execute(statement).all()]


_LIVE_AMONG = select(t.revisions.c.memory_id).where(
    t.revisions.c.project == bindparam("p"), t.revisions.c.seq_to.is_(None), in_list(t.revisions.c.memory_id, "ids")
)
_PENDING_AMONG = select(t.pending.c.memory_id).where(
    t.pending.c.project == bindparam("p"),
    t.pending.c.generation == bindparam("g"),
    in_list(t.pending.c.memory_id, "ids"),
)


def live_among(connection: Connection, project: str, ids: Sequence[str]) -> set[str]:
    return set(connection.execute(_LIVE_AMONG, {"p": project, "ids": list(ids)}).scalars())


def pending_among(connection: Connection, project: str, generation: Generation, ids: Sequence[str]) -> set[str]:
    asked = {"p": project, "g": generation.number, "ids": list(ids)}
    return set(connection.execute(_PENDING_AMONG, asked).scalars())


_IN_USE = t.pending.c.generation == t.projects.c.generation_number
_FIRST_SEQ = func.min(t.pending.c.seq).filter(_IN_USE)
_BEFORE = case((_FIRST_SEQ == 0, 0), else_=_FIRST_SEQ - 1)
_LAGS = (
    select(
        t.pending.c.project,
        # NULL if nothing is pending in the generation in use: the lag is 0.
        func.coalesce(t.projects.c.head - _BEFORE, 0),
        func.count().filter(t.pending.c.seq > 0),
    )
    .select_from(t.pending.join(t.projects, t.projects.c.project == t.pending.c.project))
    .group_by(t.pending.c.project, t.projects.c.head)
)


def lags(connection: Connection) -> dict[str, IndexLag]:
    return {project: IndexLag(changes, pending) for project, changes, pending in connection.execute(_LAGS)}


def backlog(connection: Connection, project: str) -> int:
    """The number of pending changes of a project, in all generations."""
    statement = select(func.count()).select_from(t.pending).where(t.pending.c.project == project, t.pending.c.seq > 0)
    return connection.execute(statement).scalar_one()
