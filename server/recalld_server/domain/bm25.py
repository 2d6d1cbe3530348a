"""Term counts, their information and BM25 over small sets of rows (Robertson and Zaragoza, 2009)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recalld_server.domain.vectors import Int64Array, UInt32Array

Float64Array = NDArray[np.float64]

NO_TERMS: UInt32Array = np.empty(0, dtype=np.uint32)


def row_lengths(rows: Sequence[UInt32Array]) -> Int64Array:
    """How many terms each row has, with repeats: (n,)."""
    return np.fromiter(map(len, rows), dtype=np.int64, count=len(rows))


def term_counts(terms: UInt32Array, rows: Sequence[UInt32Array]) -> Float64Array:
    """How often each of the q terms stands in each of the n rows: (n, q).

    `terms` must be distinct and ascending. Rows are read as one flat array: a loop over 400 rows would cost more than
    the whole ranking.
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
    """The idf of each term among these rows: (q,), above zero.

    A term that no row has counts as if one had it: else one unknown word would outweigh all that was found.
    """
    return rarity(np.maximum(np.count_nonzero(counts, axis=0), 1), len(counts))


def rarity(with_term: Int64Array, rows: int) -> Float64Array:
    """The idf of terms that stand in so many of the rows each: (q,), above zero."""
    without = np.maximum(rows - with_term, 0)
    idf: Float64Array = np.log1p((without + 0.5) / (with_term + 0.5))
    return idf


def saturation(
    counts: Float64Array | Int64Array, lengths: Float64Array, k1: float, b: float, mean: float | None = None
) -> Float64Array:
    """The share of a term's information that its count gives, (n, q), between 0 and k1 + 1.

    Rows longer than the mean, by default that of these rows, need more; all are of mean length when that is zero.
    """
    if mean is None:
        mean = float(lengths.mean()) if len(lengths) else 0.0
    relative = lengths / mean if mean > 0 else np.ones_like(lengths)
    pull = k1 * (1 - b + b * relative)
    result: Float64Array = counts * (k1 + 1) / (counts + pull[:, None])
    return result


def bm25(counts: Float64Array, lengths: Float64Array, k1: float = 1.2, b: float = 0.75) -> Float64Array:
    """Scores of the rows, (n,); zero where no term occurs. The defaults are those of Weaviate."""
    scores: Float64Array = saturation(counts, lengths, k1, b) @ information(counts)
    return scores
