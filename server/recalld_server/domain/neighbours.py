"""The neighbours of the rows of a pool in their conversations."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import numpy as np

from recalld_server.domain.bm25 import Float64Array
from recalld_server.domain.vectors import BoolArray, Int64Array

WINDOW: Final = 2  # positions on each side that count as neighbours
SHARERS: Final = 3  # rows counted per position, so that a message with 20 facts does not outweigh its neighbours


class Neighbours:
    """The rows of a pool grouped by place, which is a (conversation, position), with the places around each place.

    Several rows at one place (the facts of one message) count as the mean of the first SHARERS rows by ordinal. All
    arrays are (n,); n may be 0.
    """

    def __init__(self, conversation: Int64Array, position: Int64Array, ordinal: Int64Array) -> None:
        n = len(conversation)
        self._rows = np.lexsort((ordinal, position, conversation))
        talk, place = conversation[self._rows], position[self._rows]
        new_talk = np.ones(n, dtype=np.bool_)
        new_talk[1:] = talk[1:] != talk[:-1]
        new_place = new_talk.copy()
        new_place[1:] |= place[1:] != place[:-1]
        self._talk_starts = np.flatnonzero(new_talk)
        self._starts = np.flatnonzero(new_place)
        group = np.cumsum(new_place) - 1
        self._talks = _scatter(self._rows, np.cumsum(new_talk) - 1)
        self._groups = _scatter(self._rows, group)
        self._counted = (np.arange(n) - self._starts[group]) < SHARERS
        self._sharers = np.minimum(np.diff(self._starts, append=n), SHARERS)
        self._at = self._places(talk[self._starts], place[self._starts])

    def _places(self, talk: Int64Array, place: Int64Array) -> dict[int, Int64Array]:
        """Return for each offset the index of the place at that offset, or -1.

        Places are sorted and positions are distinct, so the place at offset o is at most |o| indices away.
        """
        count = len(talk)
        at = {o: np.full(count, -1, dtype=np.int64) for o in range(-WINDOW, WINDOW + 1) if o}
        for step in range(1, WINDOW + 1):
            here = np.arange(count - step)
            same = talk[here] == talk[here + step]
            gap = place[here + step] - place[here]
            for offset in range(step, WINDOW + 1):
                near = here[same & (gap == offset)]
                at[offset][near] = near + step
                at[-offset][near + step] = near
        return at

    def sums(self, values: Float64Array, weights: Mapping[int, float]) -> Float64Array:
        """Return Σ over offsets of weight times the mean at that offset, for (n, k) values: (n, k).

        Offsets without rows add 0.
        """
        if not len(values):
            return values.copy()
        counted = np.where(self._counted[:, None], values[self._rows], 0.0)
        means = np.add.reduceat(counted, self._starts, axis=0) / self._sharers[:, None]
        means = np.vstack([means, np.zeros((1, values.shape[1]))])  # index -1 stands for a missing place
        total = np.zeros((len(self._starts), values.shape[1]))
        for offset, places in self._at.items():
            total += weights.get(abs(offset), 0.0) * means[places]
        return total[self._groups]

    def weight(self, weights: Mapping[int, float]) -> Float64Array:
        """Return Σ of the weights of the offsets that have a row: (n,)."""
        total = np.zeros(len(self._starts))
        for offset, places in self._at.items():
            total += weights.get(abs(offset), 0.0) * (places >= 0)
        return total[self._groups]

    def conversation_sums(self, values: Float64Array) -> Float64Array:
        """Return Σ of (n, k) values over all rows of the same conversation: (n, k)."""
        if not len(values):
            return values.copy()
        sums = np.add.reduceat(values[self._rows], self._talk_starts, axis=0)
        return sums[self._talks]

    def around(self, chosen: BoolArray, alone: BoolArray) -> BoolArray:
        """Return the rows at the places of `chosen` and `alone`, and within WINDOW positions of `chosen`.

        All arrays are (n,).
        """
        places = np.zeros(len(self._starts) + 1, dtype=np.bool_)  # the last entry, index -1, is a missing place
        places[self._groups[chosen]] = True
        near = places.copy()
        for at in self._at.values():
            near[:-1] |= places[at]
        near[self._groups[alone]] = True
        return near[self._groups]


def _scatter(rows: Int64Array, values: Int64Array) -> Int64Array:
    """Reorder values from the order of `rows` to the order of the pool."""
    result = np.empty_like(values)
    result[rows] = values
    return result
