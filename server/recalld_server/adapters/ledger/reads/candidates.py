"""Statements for ranking: candidates, their neighbours in the conversation, and the features of both.

Functions without a docstring implement the method of ports.ledger.Ledger with the same name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    FromClause,
    Row,
    Select,
    and_,
    bindparam,
    func,
    select,
    union_all,
)

from recalld_server.adapters.ledger.reads.feature_cache import FeatureCache
from recalld_server.adapters.ledger.rows import (
    EMPTY_TEXT,
    given,
    inside,
    pinned,
    satisfying,
    unexpired,
    versions,
    who,
)
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.array_params import in_list
from recalld_server.domain.errors import GenerationMoved
from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.neighbours import WINDOW
from recalld_server.domain.ranking import SURROUNDED, Pool
from recalld_server.domain.revision import Features, Generation


def _columns(source: FromClause, filter: Filter | None = None) -> list[ColumnElement[Any]]:
    """The columns that `_assembled` reads. With a filter, the last column says whether the row matches it."""
    c = source.c
    date = func.coalesce(c.event_time, c.said_time, c.create_time)
    columns = [c.memory_id, c.text_revision, c.conversation, c.position, c.ordinal, c.speaker, date]
    return columns if filter is None else [*columns, and_(*satisfying(filter, source))]


# Built once: SQLAlchemy takes longer to create the columns of an alias than the statement takes to run.
_CANDIDATE, _NEAR = t.revisions.alias("candidate"), t.revisions.alias("near")


def _beside(candidates: str, place: ColumnElement[bool]) -> Select[Any]:
    """The rows that satisfy `place` relative to a candidate bound as `candidates`, including the candidate itself."""
    same = and_(
        _NEAR.c.project == _CANDIDATE.c.project,
        _NEAR.c.conversation == _CANDIDATE.c.conversation,
        place,
        _NEAR.c.seq_to.is_(None),
    )
    return (
        select(*_columns(_NEAR))
        .select_from(_CANDIDATE.join(_NEAR, same))
        .where(
            pinned(_CANDIDATE),
            pinned(_NEAR),
            in_list(_CANDIDATE.c.memory_id, candidates),
            _CANDIDATE.c.seq_to.is_(None),
            unexpired(bindparam("now"), _CANDIDATE),
            unexpired(bindparam("now"), _NEAR),
        )
    )


# Two statements: one with a window per candidate would take SQLite half as long again.
_SURROUNDED = _beside(
    "around",
    and_(
        _NEAR.c.position >= _CANDIDATE.c.position - bindparam("window"),
        _NEAR.c.position <= _CANDIDATE.c.position + bindparam("window"),
    ),
)
_ALONE = _beside("alone", _NEAR.c.position == _CANDIDATE.c.position)
_POOLS = {1: union_all(_SURROUNDED), 2: union_all(_SURROUNDED, _ALONE)}


def _filtered(parts: Sequence[Select[Any]], filter: Filter) -> CompoundSelect[Any]:
    columns = _columns(_NEAR, filter)
    return union_all(*(part.with_only_columns(*columns) for part in parts))


def pool(
    connection: Connection,
    cache: FeatureCache,
    access: Access,
    scope: Scope,
    filter: Filter | None,
    ids: Sequence[str],
    generation: Generation,
    now: int,
    window: int = WINDOW,
) -> Pool:
    narrowed = scope.narrowed(access.pin)
    named = set(ids)
    rows: Sequence[Row[Any]] = ()
    if narrowed is not None and ids:
        # Leave out the second statement if its list is empty: PostgreSQL would still scan an index for it.
        parts = [_SURROUNDED, _ALONE] if len(ids) > SURROUNDED else [_SURROUNDED]
        statement = _POOLS[len(parts)] if filter is None else _filtered(parts, filter)
        limits = {
            "around": list(ids[:SURROUNDED]),
            "alone": list(ids[SURROUNDED:]),
            "now": now,
            "window": window,
            **who(replace(access, pin=narrowed)),
        }
        # A row near two candidates is returned twice. A dict by id costs a tenth of DISTINCT over all columns.
        rows = list({row[0]: row for row in connection.execute(statement, limits).all()}.values())
    found = _assembled(connection, cache, access.project, generation, rows, named)
    if not named or np.count_nonzero(found.candidate) < len(named):
        _refuse_moved(connection, access, generation)
    return found


def snapshot(
    connection: Connection,
    cache: FeatureCache,
    access: Access,
    scope: Scope,
    filter: Filter | None,
    generation: Generation,
    as_of: int,
    now: int,
    limit: int,
) -> Pool | None:
    mine = [inside(access, scope), *given(scope, access.pin), unexpired(now)]
    columns = _columns(t.revisions, filter)
    statement = union_all(*(select(*columns).where(*mine, part) for part in versions(as_of))).limit(limit + 1)
    _refuse_moved(connection, access, generation)
    rows = connection.execute(statement).all()
    return None if len(rows) > limit else _assembled(connection, cache, access.project, generation, rows, set())


_GENERATION = select(t.projects.c.generation).where(t.projects.c.project == bindparam("p"))


def _refuse_moved(connection: Connection, access: Access, generation: Generation) -> None:
    """Raise GenerationMoved if the project uses another generation by now: the search must start again.

    After a switch, entries and features of the old generation are deleted. A caller that found all its candidates need
    not check.
    """
    if connection.execute(_GENERATION, {"p": access.project}).scalar() != generation.name:
        raise GenerationMoved


def features(
    connection: Connection, cache: FeatureCache, access: Access, ids: Sequence[str], generation: Generation
) -> Mapping[str, Features]:
    statement = select(t.revisions.c.memory_id, t.revisions.c.text_revision).where(
        inside(access), t.revisions.c.seq_to.is_(None), in_list(t.revisions.c.memory_id, ids)
    )
    at = [(id, revision) for id, revision in connection.execute(statement)]
    found = cache.get(connection, access.project, generation, at)
    ids = [at[place][0] for place in found.present.tolist()]
    return {id: Features(terms, vector) for id, terms, vector in zip(ids, found.terms, found.vectors, strict=True)}


def _assembled(
    connection: Connection,
    cache: FeatureCache,
    project: str,
    generation: Generation,
    rows: Sequence[Sequence[Any]],
    named: set[str],
) -> Pool:
    found = cache.get(connection, project, generation, [(row[0], row[1]) for row in rows])
    if len(found.present) < len(rows):
        rows = [rows[place] for place in found.present.tolist()]
    # Transpose once: a loop over the rows for each column would cost more than the statement.
    columns = list(zip(*rows, strict=True)) if rows else [()] * 7
    ids, _, conversations, positions, ordinals, speakers, dates, *eligible = columns
    return Pool(
        ids=ids,
        candidate=np.array([id in named for id in ids], np.bool_),
        eligible=np.array(eligible[0], np.bool_) if eligible else np.ones(len(ids), np.bool_),
        conversation=np.array(list(map(hash, conversations)), np.int64),
        position=np.array(positions, np.int64),
        ordinal=np.array(ordinals, np.int64),
        speaker=speakers,
        date=np.array(dates, np.int64),
        terms=found.terms,
        vectors=found.vectors,
    )


_SPEAKERS = select(t.speakers.c.name).where(
    t.speakers.c.project == bindparam("p"),
    t.speakers.c.type == bindparam("type"),
    t.speakers.c.id == bindparam("id"),
    t.speakers.c.name != EMPTY_TEXT,
    t.speakers.c.live > 0,
)


def speakers(connection: Connection, access: Access, scope: Scope) -> frozenset[str]:
    """The names of speakers with live memories under every id of the scope and the pin; empty without any id."""
    narrowed = scope.narrowed(access.pin)
    if not narrowed:
        return frozenset()
    of = [  # one statement per id; most scopes have one id
        set(connection.execute(_SPEAKERS, {"p": access.project, "type": type, "id": id}).scalars())
        for type, id in narrowed.items()
    ]
    return frozenset(set.intersection(*of))
