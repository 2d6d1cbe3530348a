"""What ranking reads: candidates, their neighbours in the conversation, and the features of both."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, FromClause, Row, and_, bindparam, or_, select, true, tuple_

from recalld_server.adapters.ledger import tables as t
from recalld_server.adapters.ledger.rows import (
    AT_ONCE,
    inside,
    live_at,
    pinned,
    satisfying,
    unexpired,
    who,
)
from recalld_server.domain.errors import GenerationMoved
from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.ranking import Pool
from recalld_server.domain.revision import Features, Generation
from recalld_server.domain.vectors import UInt32Array

Key = tuple[str, str, int, int]  # project, memory id, text revision, generation
Cached = tuple[UInt32Array, bytes]  # terms, and the vector as float32
CACHED = 20_000  # rows; about 1.9 kB each with 384 dimensions


class FeatureCache:
    """A bounded LRU of features, as a pool takes them. They never change under their key, so nothing goes stale."""

    def __init__(self, capacity: int = CACHED) -> None:
        self._capacity = capacity
        self._rows: OrderedDict[Key, Cached] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, Cached]:
        """Terms and vector of each key that has features; one query for what is not cached."""
        with self._lock:
            found = {key: row for key, row in zip(keys, map(self._rows.get, keys), strict=True) if row is not None}
            for key in found:
                self._rows.move_to_end(key)
        missing = [key for key in keys if key not in found] if len(found) < len(keys) else ()
        if missing:
            loaded = dict(_load(connection, missing))
            found |= loaded
            with self._lock:
                self._rows |= loaded
                while len(self._rows) > self._capacity:
                    self._rows.popitem(last=False)
        return found

    def __len__(self) -> int:
        return len(self._rows)

    def clear(self) -> None:
        """Keep nothing of what was read so far."""
        with self._lock:
            self._rows.clear()


_LOAD = select(t.features.c.memory_id, t.features.c.text_revision, t.features.c.terms, t.features.c.vector).where(
    t.features.c.project == bindparam("p"),
    t.features.c.generation == bindparam("g"),
    tuple_(t.features.c.memory_id, t.features.c.text_revision).in_(bindparam("at", expanding=True)),
)


def _load(connection: Connection, keys: Sequence[Key]) -> Iterable[tuple[Key, Cached]]:
    project, _, _, generation = keys[0]
    for start in range(0, len(keys), AT_ONCE):
        at = [(key[1], key[2]) for key in keys[start : start + AT_ONCE]]
        for id, revision, terms, vector in connection.execute(_LOAD, {"p": project, "g": generation, "at": at}).all():
            wide = np.frombuffer(vector, "<f2").astype(np.float32).tobytes()
            yield (project, id, revision, generation), (np.frombuffer(terms, "<u4"), wide)


_ROW = (
    "memory_id",
    "text_revision",
    "conversation",
    "position",
    "ordinal",
    "speaker",
    "event_time",
    "said_time",
    "create_time",
)


# Built once: making the columns of an alias takes longer than running the statement.
_CANDIDATE, _NEAR = t.revisions.alias("candidate"), t.revisions.alias("near")
_AROUND = (
    select(*(_NEAR.c[name] for name in _ROW))
    .select_from(
        _CANDIDATE.join(
            _NEAR,
            and_(
                _NEAR.c.project == _CANDIDATE.c.project,
                _NEAR.c.conversation == _CANDIDATE.c.conversation,
                _NEAR.c.position >= _CANDIDATE.c.position - bindparam("window"),
                _NEAR.c.position <= _CANDIDATE.c.position + bindparam("window"),
                _NEAR.c.seq_to.is_(None),
            ),
        )
    )
    .where(
        pinned(_CANDIDATE),
        pinned(_NEAR),
        _CANDIDATE.c.memory_id.in_(bindparam("ids", expanding=True)),
        _CANDIDATE.c.seq_to.is_(None),
        or_(_CANDIDATE.c.expire_time.is_(None), _CANDIDATE.c.expire_time > bindparam("now")),
        or_(_NEAR.c.expire_time.is_(None), _NEAR.c.expire_time > bindparam("now")),
    )
)


def _eligible(filter: Filter | None, source: FromClause) -> ColumnElement[bool]:
    return (and_(*satisfying(filter, source)) if filter is not None else true()).label("eligible")


_ALL_AROUND = _AROUND.add_columns(_eligible(None, _NEAR))


def pool(
    connection: Connection,
    cache: FeatureCache,
    access: Access,
    scope: Scope,
    filter: Filter | None,
    ids: Sequence[str],
    generation: Generation,
    now: int,
    window: int,
) -> Pool:
    narrowed = scope.narrowed(access.pin)
    named = set(ids)
    rows: Sequence[Row[Any]] = ()
    if narrowed is not None and ids:
        statement = _ALL_AROUND if filter is None else _AROUND.add_columns(_eligible(filter, _NEAR))
        limits = {"ids": list(ids), "now": now, "window": window, **who(replace(access, pin=narrowed))}
        # A row near two candidates comes twice; telling them apart by id costs a tenth of DISTINCT over all columns.
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
    statement = (
        select(*(t.revisions.c[name] for name in _ROW), _eligible(filter, t.revisions))
        .where(inside(access, scope), live_at(as_of), unexpired(now))
        .limit(limit + 1)
    )
    _refuse_moved(connection, access, generation)
    rows = connection.execute(statement).all()
    return None if len(rows) > limit else _assembled(connection, cache, access.project, generation, rows, set())


_GENERATION = select(t.projects.c.generation).where(t.projects.c.project == bindparam("p"))


def _refuse_moved(connection: Connection, access: Access, generation: Generation) -> None:
    """After a switch entries and features of the generation before go: a query must begin again with the new one.

    Where all it named were found, nothing of the old one has gone yet.
    """
    if connection.execute(_GENERATION, {"p": access.project}).scalar() != generation.name:
        raise GenerationMoved


def features(
    connection: Connection, cache: FeatureCache, access: Access, ids: Sequence[str], generation: Generation
) -> Mapping[str, Features]:
    statement = select(t.revisions.c.memory_id, t.revisions.c.text_revision).where(
        inside(access), t.revisions.c.seq_to.is_(None), t.revisions.c.memory_id.in_(list(ids))
    )
    keys = [(access.project, id, revision, generation.number) for id, revision in connection.execute(statement)]
    found = cache.get(connection, keys) if keys else {}
    return {key[1]: Features(terms, np.frombuffer(vector, np.float32)) for key, (terms, vector) in found.items()}


def _assembled(
    connection: Connection,
    cache: FeatureCache,
    project: str,
    generation: Generation,
    rows: Sequence[Sequence[Any]],
    named: set[str],
) -> Pool:
    keys: list[Key] = [(project, row[0], row[1], generation.number) for row in rows]
    found = cache.get(connection, keys)
    if len(found) < len(keys):  # some are not made yet
        rows = [row for row, key in zip(rows, keys, strict=True) if key in found]
    # Whole columns at a time: a loop over the rows for each of them would cost more than the statement.
    columns = zip(*rows, strict=True) if rows else ((),) * (len(_ROW) + 1)
    ids, _, conversations, positions, ordinals, speakers, events, said, created, eligible = columns
    features = [found[key] for key in keys if key in found]
    vectors = np.frombuffer(b"".join([vector for _, vector in features]), np.float32)
    dates = [event or said or create for event, said, create in zip(events, said, created, strict=True)]
    codes = {conversation: code for code, conversation in enumerate(dict.fromkeys(conversations))}
    return Pool(
        ids=ids,
        candidate=np.array([id in named for id in ids], np.bool_),
        eligible=np.array(eligible, np.bool_),
        conversation=np.array(list(map(codes.__getitem__, conversations)), np.int64),
        position=np.array(positions, np.int64),
        ordinal=np.array(ordinals, np.int64),
        speaker=speakers,
        date=np.array(dates, np.int64),
        terms=tuple([terms for terms, _ in features]),
        vectors=vectors.reshape(len(ids), generation.dimension),
    )


_SPEAKERS = select(t.speakers.c.name, t.speakers.c.type).where(
    t.speakers.c.project == bindparam("p"),
    tuple_(t.speakers.c.type, t.speakers.c.id).in_(bindparam("ids", expanding=True)),
    t.speakers.c.live > 0,
)


def speakers(connection: Connection, access: Access, scope: Scope) -> frozenset[str]:
    narrowed = scope.narrowed(access.pin)
    if not narrowed:
        return frozenset()
    ids = narrowed.items()
    of: dict[str, set[str]] = {name: set() for name, _ in ids}
    for name, type in connection.execute(_SPEAKERS, {"p": access.project, "ids": list(ids)}).all():
        of[type].add(name)
    return frozenset(set.intersection(*of.values()))
