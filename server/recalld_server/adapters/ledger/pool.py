"""What ranking reads: candidates, their neighbours in the conversation, and the features of both."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from sqlalchemy import ColumnElement, Connection, FromClause, and_, bindparam, or_, select, true, tuple_

from recalld_server.adapters.ledger import tables as t
from recalld_server.adapters.ledger.rows import AT_ONCE, features_of, inside, live_at, satisfying, unexpired
from recalld_server.domain.errors import GenerationMoved
from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.ranking import Pool
from recalld_server.domain.revision import Features, Generation

Key = tuple[str, str, int, int]  # project, memory id, text revision, generation
CACHED = 32_768  # rows; about 1.2 kB each with 384 dimensions


class FeatureCache:
    """A bounded LRU of features in their stored form. They never change under their key, so nothing goes stale."""

    def __init__(self, capacity: int = CACHED) -> None:
        self._capacity = capacity
        self._rows: OrderedDict[Key, tuple[bytes, bytes]] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, tuple[bytes, bytes]]:
        """Terms and vector of each key that has features; one query for what is not cached."""
        with self._lock:
            found = {key: row for key in keys if (row := self._rows.get(key)) is not None}
            for key in found:
                self._rows.move_to_end(key)
        missing = [key for key in keys if key not in found]
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


def _load(connection: Connection, keys: Sequence[Key]) -> Iterable[tuple[Key, tuple[bytes, bytes]]]:
    project, _, _, generation = keys[0]
    for start in range(0, len(keys), AT_ONCE):
        at = [(key[1], key[2]) for key in keys[start : start + AT_ONCE]]
        for id, revision, terms, vector in connection.execute(_LOAD, {"p": project, "g": generation, "at": at}):
            yield (project, id, revision, generation), (terms, vector)


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
        _CANDIDATE.c.memory_id.in_(bindparam("ids", expanding=True)),
        _CANDIDATE.c.seq_to.is_(None),
        or_(_CANDIDATE.c.expire_time.is_(None), _CANDIDATE.c.expire_time > bindparam("now")),
        or_(_NEAR.c.expire_time.is_(None), _NEAR.c.expire_time > bindparam("now")),
    )
    .distinct()
)


def _eligible(filter: Filter | None, source: FromClause) -> ColumnElement[bool]:
    return (and_(*satisfying(filter, source)) if filter is not None else true()).label("eligible")


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
    _refuse_moved(connection, access, generation)
    statement = _AROUND.add_columns(_eligible(filter, _NEAR)).where(
        inside(access, scope, _CANDIDATE), inside(access, scope, _NEAR)
    )
    named = set(ids)
    rows = connection.execute(statement, {"ids": list(ids), "now": now, "window": window}).all()
    return _assembled(connection, cache, access.project, generation, rows, named)


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
    """After a switch the features of the generation before go: a query must begin again with the new one."""
    if connection.execute(_GENERATION, {"p": access.project}).scalar() != generation.name:
        raise GenerationMoved


def features(
    connection: Connection, cache: FeatureCache, access: Access, ids: Sequence[str], generation: Generation
) -> Mapping[str, Features]:
    statement = select(t.revisions.c.memory_id, t.revisions.c.text_revision).where(
        inside(access), t.revisions.c.seq_to.is_(None), t.revisions.c.memory_id.in_(list(ids))
    )
    keys = [(access.project, id, revision, generation.number) for id, revision in connection.execute(statement)]
    return {key[1]: features_of(*row) for key, row in cache.get(connection, keys).items()} if keys else {}


def _assembled(
    connection: Connection,
    cache: FeatureCache,
    project: str,
    generation: Generation,
    rows: Sequence[Sequence[Any]],
    named: set[str],
) -> Pool:
    keys: list[Key] = [(project, row[0], row[1], generation.number) for row in rows]
    found = cache.get(connection, keys) if keys else {}
    kept = [(row, found[key]) for row, key in zip(rows, keys, strict=True) if key in found]
    codes: dict[str, int] = {}
    n = len(kept)
    vectors = np.frombuffer(b"".join(f[1] for _, f in kept), "<f2").astype(np.float32)
    return Pool(
        ids=tuple(row[0] for row, _ in kept),
        candidate=np.fromiter((row[0] in named for row, _ in kept), np.bool_, n),
        eligible=np.fromiter((bool(row[9]) for row, _ in kept), np.bool_, n),
        conversation=np.fromiter((codes.setdefault(row[2], len(codes)) for row, _ in kept), np.int64, n),
        position=np.fromiter((row[3] for row, _ in kept), np.int64, n),
        ordinal=np.fromiter((row[4] for row, _ in kept), np.int64, n),
        speaker=tuple(row[5] for row, _ in kept),
        date=np.fromiter((row[6] or row[7] or row[8] for row, _ in kept), np.int64, n),
        terms=tuple(np.frombuffer(f[0], "<u4") for _, f in kept),
        vectors=vectors.reshape(n, generation.dimension),
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
    for name, type in connection.execute(_SPEAKERS, {"p": access.project, "ids": list(ids)}):
        of[type].add(name)
    return frozenset(set.intersection(*of.values()))
