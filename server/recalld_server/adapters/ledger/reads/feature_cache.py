"""Bounded in-memory cache of features for searches."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from sqlalchemy import Connection, bindparam, select

from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.array_params import in_list
from recalld_server.domain.bm25 import NO_TERMS
from recalld_server.domain.revision import Generation
from recalld_server.domain.vectors import FloatMatrix, FloatVector, Int64Array, UInt32Array

Key = tuple[str, str, int, int]  # project, memory id, text revision, generation
Row = tuple[UInt32Array, FloatVector]
CACHED = 20_000  # rows; about 1.9 kB each with 384 dimensions
SHARE = 16  # a full cache evicts at least 1/16 of its rows at once
MISSING = -1
NEVER = np.iinfo(np.int64).max

_LOAD = select(t.features.c.memory_id, t.features.c.text_revision, t.features.c.terms, t.features.c.vector).where(
    t.features.c.project == bindparam("p"),
    t.features.c.generation == bindparam("g"),
    in_list(t.features.c.memory_id, "ids"),
    in_list(t.features.c.text_revision, "revisions"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Found:
    """Features of those keys that have any.

    `present` (n,) holds their positions in the list of keys; `terms` has n entries, `vectors` has the shape (n, d).
    """

    present: Int64Array
    terms: tuple[UInt32Array, ...]
    vectors: FloatMatrix


class FeatureCache:
    """LRU cache of features. Features never change under their key, so entries cannot be stale. Thread-safe.

    The vectors of one dimension are rows of one matrix, so one copy operation gathers hundreds of them.
    """

    def __init__(self, capacity: int = CACHED) -> None:
        self._capacity = capacity
        self._shelves: dict[int, _Shelf] = {}
        self._lock = threading.Lock()

    def get(self, connection: Connection, project: str, generation: Generation, at: Sequence[tuple[str, int]]) -> Found:
        """Features of (memory id, text revision) pairs. Reads all that are not cached with one query."""
        keys = [(project, id, revision, generation.number) for id, revision in at]
        with self._lock:
            shelf = self._shelves.get(generation.dimension)
            if shelf is None:
                shelf = self._shelves[generation.dimension] = _Shelf(self._capacity, generation.dimension)
            slots = shelf.find(keys)
            terms, vectors = [shelf.terms[slot] for slot in slots.tolist()], shelf.vectors[slots]
        there = slots != MISSING
        if not there.all():
            missing = np.flatnonzero(~there).tolist()
            loaded = dict(_load(connection, [keys[place] for place in missing]))
            for place in missing:
                if row := loaded.get(keys[place]):
                    terms[place], vectors[place] = row
                    there[place] = True
            with self._lock:
                shelf.put(loaded)
        if there.all():
            return Found(np.arange(len(keys)), tuple(terms), vectors)
        present = np.flatnonzero(there)  # the other texts have no features yet
        return Found(present, tuple([terms[place] for place in present.tolist()]), vectors[present])

    def __len__(self) -> int:
        return sum(map(len, self._shelves.values()))

    def clear(self) -> None:
        """Drop all entries."""
        with self._lock:
            self._shelves.clear()


class _Shelf:
    """Slots for the features of one dimension. The system allocates their memory as they are first filled."""

    def __init__(self, capacity: int, dimension: int) -> None:
        self.terms: list[UInt32Array] = [NO_TERMS] * capacity
        self.vectors: FloatMatrix = np.empty((capacity, dimension), np.float32)
        self._capacity = capacity
        self._slots: dict[Key, int] = {}
        self._keys: list[Key | None] = [None] * capacity
        self._free = list(range(capacity))[::-1]
        self._used = np.full(capacity, NEVER)  # last use of each slot, as a number of `_calls`; NEVER: empty
        self._calls = 0

    def __len__(self) -> int:
        return len(self._slots)

    def find(self, keys: Sequence[Key]) -> Int64Array:
        """The slot of each key, (n,); MISSING for keys that are not cached. Marks the slots as used."""
        self._calls += 1
        slots = np.array([self._slots.get(key, MISSING) for key in keys], np.int64)
        self._used[slots[slots != MISSING]] = self._calls
        return slots

    def put(self, rows: Mapping[Key, Row]) -> None:
        """Add rows, or the last ones that fit, and evict the least recently used ones for them."""
        new = [key for key in rows if key not in self._slots][-self._capacity :]
        if len(new) > len(self._free):
            self._evict(max(len(new), self._capacity // SHARE))
        for key in new:
            slot = self._free.pop()
            self._slots[key], self._keys[slot], self._used[slot] = slot, key, self._calls
            self.terms[slot], self.vectors[slot] = rows[key]

    def _evict(self, wanted: int) -> None:
        """Free slots until `wanted` are free."""
        for slot in np.argsort(self._used)[: wanted - len(self._free)].tolist():
            key = self._keys[slot]
            if key is not None:
                del self._slots[key]
            self._keys[slot], self.terms[slot], self._used[slot] = None, NO_TERMS, NEVER
            self._free.append(slot)


def _load(connection: Connection, keys: Sequence[Key]) -> Iterable[tuple[Key, Row]]:
    """Load the features of keys of one generation. May also yield other text revisions of the same memories."""
    project, _, _, generation = keys[0]
    # Two lists are cheaper than a list of pairs, and they match few extra rows: nearly all text revisions are 1.
    asked = {"ids": [key[1] for key in keys], "revisions": list({key[2] for key in keys})}
    rows = connection.execute(_LOAD, {"p": project, "g": generation, **asked}).all()
    if not rows:
        return
    vectors = np.frombuffer(b"".join([row[3] for row in rows]), "<f2").astype(np.float32)
    for (id, revision, terms, _), vector in zip(rows, vectors.reshape(len(rows), -1), strict=True):
        yield (project, id, revision, generation), (np.frombuffer(terms, "<u4"), vector)
