"""Term counts, idf and BM25 over small sets of rows (Robertson and Zaragoza, 2009)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recalld_server.domain.vectors import Int64Array, UInt32Array

Float64Array = NDArray[np.float64]

NO_TERMS: UInt32Array = np.empty(0, dtype=np.uint32)


def row_lengths(rows: Sequence[UInt32Array]) -> Int64Array:
    """Return the number of terms of each row, with repeats: (n,)."""
    return np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))


def term_counts(terms: UInt32Array, rows: Sequence[UInt32Array]) -> Float64Array:
    """Return the count of each of the q terms in each of the n rows: (n, q).

    `terms` must be distinct and ascending. The rows are processed as one flat array, because a loop over 400 rows takes
    longer than the rest of the ranking.
    """
    n, q = len(rows), len(terms)
    if not n or not q:
        return np.zeros((n, q))
    flat = np.concatenate([NO_TERMS, *rows])
    row_of = np.repeat(np.arange(n), row_lengths(rows))
    column = np.searchsorted(terms, flat)
    column[column == q] = 0
    hit = terms[column] == flat
    cells = np.bincount(row_of[hit] * q + column[hit], minlength=n * q)
    return cells.reshape(n, q).astype(np.float64)


def information(counts: Float64Array) -> Float64Array:
    """Return the idf of each term among these rows: (q,), above zero.

    A term that occurs in no row counts as if one row had it; otherwise a single unknown word would outweigh all others.
    """
    return rarity(np.maximum(np.count_nonzero(counts, axis=0), 1), len(counts))


def rarity(with_term: Int64Array, rows: int) -> Float64Array:
    """Return the idf of terms from the number of rows that have each term, out of `rows`: (q,), above zero."""
    without = np.maximum(rows - with_term, 0)
    idf: Float64Array = np.log1p((without + 0.5) / (with_term + 0.5))
    return idf


def saturation(
    counts: Float64Array | Int64Array, lengths: Float64Array, k1: float, b: float, mean: float | None = None
) -> Float64Array:
    """Return the BM25 saturation of the counts, the factor of the idf: (n, q), from 0 to below k1 + 1.

    Rows longer than `mean` need higher counts for the same value. `mean` defaults to the mean length of these rows; if
    it is zero, all rows count as of mean length.
    """
    if mean is None:
        mean = float(lengths.mean()) if len(lengths) else 0.0
    relative = lengths / mean if mean > 0 else np.ones_like(lengths)
    pull = k1 * (1 - b + b * relative)
    result: Float64Array = counts * (k1 + 1) / (counts + pull[:, None])
    return result


def bm25(counts: Float64Array, lengths: Float64Array, k1: float = 1.2, b: float = 0.75) -> Float64Array:
    """Return the BM25 scores of the rows: (n,); zero if no term occurs. The defaults are those of Weaviate."""
    scores: Float64Array = saturation(counts, lengths, k1, b) @ information(counts)
    return scores
