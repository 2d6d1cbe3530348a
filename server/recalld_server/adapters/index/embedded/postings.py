"""The inverted index of the rows of one block."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recalld_server.domain.bm25 import NO_TERMS
from recalld_server.domain.vectors import BoolArray, Int64Array, UInt32Array


@dataclass(frozen=True, slots=True)
class Postings:
    """The occurrences of terms in n rows.

    `terms` (m,): the terms of all rows, ascending, with repeats. `places` (m,): the row of each term, from 0.
    `lengths` (n,): the number of terms of each row.
    """

    terms: UInt32Array
    places: Int64Array
    lengths: Int64Array

    @classmethod
    def of(cls, rows: Sequence[UInt32Array]) -> Postings:
        """Build the postings of rows, each given as its terms with repeats."""
        lengths = np.fromiter(map(len, rows), np.int64, len(rows))
        return cls._sorted(np.concatenate([NO_TERMS, *rows]), np.repeat(np.arange(len(rows)), lengths), lengths)

    @property
    def size(self) -> int:
        """Size in bytes."""
        return self.terms.nbytes + self.places.nbytes + self.lengths.nbytes

    def counts(self, asked: UInt32Array) -> tuple[Int64Array, Int64Array]:
        """The h rows with any of the q distinct terms `asked`: their positions (h,) and term counts (h, q)."""
        n, q = len(self.lengths), len(asked)
        first, end = (np.searchsorted(self.terms, asked, side).tolist() for side in ("left", "right"))
        found = [(self.places[a:b], column) for column, (a, b) in enumerate(zip(first, end, strict=True)) if b > a]
        if not found:
            return np.empty(0, np.int64), np.empty((0, q), np.int64)
        cells = np.bincount(np.concatenate([places * q + column for places, column in found]), minlength=n * q)
        rows = np.flatnonzero(np.bincount(np.concatenate([places for places, _ in found])))
        return rows, cells.reshape(n, q)[rows]

    def joined(self, later: Postings) -> Postings:
        """The postings of these rows followed by the rows of `later`."""
        return self._sorted(
            np.concatenate((self.terms, later.terms)),
            np.concatenate((self.places, later.places + len(self.lengths))),
            np.concatenate((self.lengths, later.lengths)),
        )

    def only(self, kept: BoolArray) -> Postings:
        """The postings of the rows for which the mask `kept` (n,) is True."""
        number = np.cumsum(kept) - 1
        stays = kept[self.places]
        return Postings(self.terms[stays], number[self.places[stays]], self.lengths[kept])

    @classmethod
    def _sorted(cls, terms: UInt32Array, places: Int64Array, lengths: Int64Array) -> Postings:
        order = np.argsort(terms, kind="stable")
        return cls(terms[order], places[order], lengths)
