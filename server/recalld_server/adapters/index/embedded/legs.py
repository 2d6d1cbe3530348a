"""The keyword leg (BM25) and the vector leg (cosine). Both are exact and take the rows block by block."""

from __future__ import annotations

import numpy as np

from recalld_server.adapters.index.embedded.blocks import Block
from recalld_server.domain.bm25 import Float64Array, rarity, saturation
from recalld_server.domain.vectors import BoolArray, FloatVector, Int64Array, UInt32Array

K1, B = 1.2, 0.75

Hits = list[tuple[str, float]]  # (memory id, score), highest score first


class KeywordLeg:
    """BM25 with statistics over the searched rows only: memories outside the scope or filter do not change a score.

    A term's weight is known only after all blocks. Until then the leg keeps the rows that have a query term, with their
    term counts.
    """

    def __init__(self, terms: UInt32Array, depth: int) -> None:
        self._terms = np.unique(terms)
        self._depth = depth
        self._rows = 0
        self._length = 0
        self._with_term = np.zeros(len(self._terms), np.int64)
        self._counts: list[Int64Array] = []
        self._lengths: list[Int64Array] = []
        self._ids: list[tuple[tuple[str, ...], Int64Array]] = []  # per block: its ids and the positions of its hits

    def offer(self, block: Block, meant: BoolArray) -> None:
        """Add the rows of a block that are True in the mask `meant`, (n,)."""
        if not len(self._terms):
            return
        words = block.words
        self._rows += int(np.count_nonzero(meant))
        self._length += int(words.lengths @ meant)
        hits, counts = words.counts(self._terms)
        inside = meant[hits]
        hits, counts = hits[inside], counts[inside]
        if len(hits):
            self._with_term += np.count_nonzero(counts, axis=0)
            self._counts.append(counts)
            self._lengths.append(words.lengths[hits])
            self._ids.append((block.ids, hits))

    def best_first(self) -> Hits:
        """At most `depth` rows with any of the terms. Of rows with equal scores the earlier one comes first."""
        if not self._counts:
            return []
        lengths = np.concatenate(self._lengths).astype(np.float64)
        shares = saturation(np.concatenate(self._counts), lengths, K1, B, self._length / self._rows)
        scores: Float64Array = shares @ rarity(self._with_term, self._rows)
        best = _highest(scores, self._depth).tolist()
        starts = np.cumsum([0, *(len(hits) for _, hits in self._ids)])
        found = []
        for at in best:
            part = int(np.searchsorted(starts, at, "right")) - 1
            ids, hits = self._ids[part]
            found.append((ids[hits[at - starts[part]]], float(scores[at])))
        return found


class VectorLeg:
    """The `depth` rows with the highest cosine. Skips rows below the lowest score that is still needed."""

    def __init__(self, vector: FloatVector | None, depth: int) -> None:
        self._vector = vector
        self._depth = depth
        self._floor = -np.inf
        self._scores: list[FloatVector] = []
        self._ids: list[str] = []

    def offer(self, block: Block, meant: BoolArray) -> None:
        """Add the rows of a block that are True in the mask `meant`, (n,)."""
        if self._vector is None:
            return
        scores = block.vectors @ self._vector
        above = np.flatnonzero((scores > self._floor) & meant)
        nothing = above[scores[above] == 0.0]
        if len(nothing):  # rows without a vector hold zeros, and this leg must not find them
            above = np.setdiff1d(above, nothing[~block.vectors[nothing].any(axis=1)])
        if len(above) > self._depth:
            above = above[np.argpartition(scores[above], -self._depth)[-self._depth :]]
        if len(above):
            self._scores.append(scores[above])
            self._ids.extend(block.ids[i] for i in above.tolist())
            if len(self._ids) >= 2 * self._depth:
                self._cut()

    def best_first(self) -> Hits:
        """At most `depth` rows, highest score first."""
        if not self._ids:
            return []
        self._cut()
        scores = self._scores[0]
        return [(self._ids[i], float(scores[i])) for i in np.argsort(-scores, kind="stable").tolist()]

    def _cut(self) -> None:
        scores = np.concatenate(self._scores)
        if len(scores) > self._depth:
            kept = np.argpartition(scores, -self._depth)[-self._depth :]
            scores, self._ids = scores[kept], [self._ids[i] for i in kept.tolist()]
        if len(scores) == self._depth:
            self._floor = float(scores.min())
        self._scores = [scores]


def _highest(scores: Float64Array, depth: int) -> Int64Array:
    """The positions of the highest scores, at most `depth`, best first. Of equal scores the earlier one comes first."""
    among = np.arange(len(scores))
    if len(scores) > depth:
        among = np.flatnonzero(scores >= np.partition(scores, -depth)[-depth])
    return among[np.argsort(-scores[among], kind="stable")[:depth]]
