"""Ranking of search results: candidates from the index, scored together with their neighbours in the conversation.

Score = lexical match (the share of the question's idf that a memory covers, by BM25 over terms, Robertson and Zaragoza
2009, with term counts that include weighted counts of the neighbours) + cosine of the memory and of its context +
speaker + date. The constants were measured on LoCoMo (Maharana et al. 2024). All statistics come from the pool, so a
score reveals nothing about other scopes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

import numpy as np

from recalld_server.domain.bm25 import Float64Array, bm25, information, row_lengths, saturation, term_counts
from recalld_server.domain.neighbours import Neighbours
from recalld_server.domain.query import Question
from recalld_server.domain.vectors import BoolArray, FloatMatrix, FloatVector, Int64Array, UInt32Array

DEPTH = 40  # candidates per leg: 50 find no more, 30 find .01 less in a scope of 3,000 memories
SURROUNDED = 20  # best candidates per leg whose neighbours join the pool; with those of all, .002 more are found


class Mode(str, Enum):
    """Which legs a search uses."""

    HYBRID = "HYBRID"
    KEYWORD = "KEYWORD"
    VECTOR = "VECTOR"


@dataclass(frozen=True, slots=True)
class Weights:
    """The constants of the formula. The optima are flat: halving or doubling one moves recall@10 by less than .01."""

    near: float = 0.5  # weight of a neighbour one position away: answers follow questions
    far: float = 0.25  # weight of a neighbour two positions away; larger distances gained nothing
    conversation: float = 0.05  # weight of the term count of the whole conversation, which breaks ties
    conversation_cap: float = 2.0  # limit of that count, so that long conversations do not win by length
    k1: float = 1.2  # the usual BM25 saturation
    b: float = 0.4  # below the usual .75, because memories are short and their length says little
    similarity: float = 0.4  # cosine of the memory itself
    context: float = 0.4  # weighted mean cosine of the memory and its neighbours
    speaker: float = 0.5  # the speaker asked about is mostly the author; not more, as others speak about them, too
    date: float = 0.4  # the month asked for
    year_only: float = 0.5  # a year alone is less specific than a month
    other_day: float = 0.5  # the right month, but not the day asked for

    @property
    def offsets(self) -> dict[int, float]:
        """The weights by distance in positions."""
        return {1: self.near, 2: self.far}


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The rows of a ranking: candidates and their neighbours, live and inside the access and scope.

    n rows, n >= 0. `candidate`: nominated by the index. `eligible`: may be a result (inside the filter).
    `conversation`: equal numbers mean the same conversation, in all pools of the process. (conversation, position,
    ordinal) is unique in a ledger. `date`: µs, UTC. `terms`: analysed, with repeats. `vectors`: (n, d) float32, rows of
    unit length, or of zeros for memories without a vector.
    """

    ids: tuple[str, ...]
    candidate: BoolArray
    eligible: BoolArray
    conversation: Int64Array
    position: Int64Array
    ordinal: Int64Array
    speaker: tuple[str, ...]
    date: Int64Array
    terms: tuple[UInt32Array, ...]
    vectors: FloatMatrix

    def __len__(self) -> int:
        return len(self.ids)

    def only(self, rows: Int64Array) -> Pool:
        """Return the pool of these rows, in this order."""
        picked = rows.tolist()
        return Pool(
            ids=tuple(self.ids[i] for i in picked),
            candidate=self.candidate[rows],
            eligible=self.eligible[rows],
            conversation=self.conversation[rows],
            position=self.position[rows],
            ordinal=self.ordinal[rows],
            speaker=tuple(self.speaker[i] for i in picked),
            date=self.date[rows],
            terms=tuple(self.terms[i] for i in picked),
            vectors=self.vectors[rows],
        )

    def joined(self, other: Pool) -> Pool:
        """Return the union of both pools.

        A row in both pools is taken from this one, and is a candidate if it is one in either.
        """
        place = {id: i for i, id in enumerate(self.ids)}
        known = np.array([place.get(id, -1) for id in other.ids], np.int64)
        new = np.flatnonzero(known < 0)
        more = other if len(new) == len(other) else other.only(new)
        candidate = self.candidate.copy()
        candidate[known[(known >= 0) & other.candidate]] = True
        return Pool(
            ids=self.ids + more.ids,
            candidate=np.concatenate((candidate, more.candidate)),
            eligible=np.concatenate((self.eligible, more.eligible)),
            conversation=np.concatenate((self.conversation, more.conversation)),
            position=np.concatenate((self.position, more.position)),
            ordinal=np.concatenate((self.ordinal, more.ordinal)),
            speaker=self.speaker + more.speaker,
            date=np.concatenate((self.date, more.date)),
            terms=self.terms + more.terms,
            vectors=np.concatenate((self.vectors, more.vectors)),
        )


@dataclass(frozen=True, slots=True, eq=False)
class Ranking:
    """The results of a ranking and the parts of their scores.

    `order` holds the pool rows of the results, best first. `idf` is (q,), in the order of the question's terms. All
    other arrays are (n,) over the pool. `score` = lexical + weighted similarity_normalised + weighted
    context_normalised + speaker + date, where `speaker` and `date` are already weighted; it is comparable only within
    one answer. `relevance` is absolute, 0 to 1; thresholds apply to it.
    """

    order: Int64Array
    score: Float64Array
    relevance: Float64Array
    idf: Float64Array
    matched: Float64Array
    lexical: Float64Array
    similarity: Float64Array
    similarity_normalised: Float64Array
    context: Float64Array
    context_normalised: Float64Array
    speaker: Float64Array
    date: Float64Array


DEFAULT_WEIGHTS = Weights()


def rank(
    question: Question,
    query_vector: FloatVector | None,
    pool: Pool,
    mode: Mode = Mode.HYBRID,
    weights: Weights = DEFAULT_WEIGHTS,
) -> Ranking:
    """Rank the eligible rows of a pool by score; rows with equal scores by id.

    HYBRID uses the whole formula. KEYWORD leaves out the cosines, and only rows with a term of the question are
    results. VECTOR leaves out the lexical part. `query_vector` is (d,), unit length; None (with KEYWORD, or if the
    model knows too few words of the question) counts as no similarity.
    """
    counts = term_counts(question.terms, pool.terms)
    idf = information(counts)
    similarity = cosines(pool.vectors, query_vector)
    beside = Neighbours(pool.conversation, pool.position, pool.ordinal)
    lengths = row_lengths(pool.terms).astype(np.float64)

    own = np.column_stack([counts, lengths, similarity])
    nearby = beside.sums(own, weights.offsets)
    talk = weights.conversation * np.minimum(beside.conversation_sums(counts), weights.conversation_cap)
    spread = counts + nearby[:, :-2] + talk
    covered = saturation(spread, lengths + nearby[:, -2], weights.k1, weights.b)
    lexical = _share(covered, idf)
    context = (similarity + nearby[:, -1]) / (1.0 + beside.weight(weights.offsets))

    similarity_normalised = _normalised(similarity, pool.candidate)
    context_normalised = _normalised(context, pool.candidate)
    asked = np.fromiter((name in question.asked for name in pool.speaker), dtype=np.float64, count=len(pool))
    speaker: Float64Array = weights.speaker * asked
    date = weights.date * question.agreement(pool.date, weights.year_only, weights.other_day)

    score = speaker + date
    if mode is not Mode.VECTOR:
        score = score + lexical
    if mode is not Mode.KEYWORD:
        score = score + weights.similarity * similarity_normalised + weights.context * context_normalised
    # The last bits of float32 matrix products depend on the number of rows, but equal memories must have equal scores.
    score = np.round(score, 6)
    matched = _share(counts > 0, idf)
    results = pool.eligible & (matched > 0) if mode is Mode.KEYWORD else pool.eligible
    by_id = sorted(np.flatnonzero(results).tolist(), key=pool.ids.__getitem__)  # the stable sort keeps this for ties
    order = np.array(by_id, dtype=np.int64)
    order = order[np.argsort(-score[order], kind="stable")]
    return Ranking(
        order=order,
        score=score,
        relevance=_relevance(matched, similarity, mode),
        idf=idf,
        matched=matched,
        lexical=lexical,
        similarity=similarity,
        similarity_normalised=similarity_normalised,
        context=context,
        context_normalised=context_normalised,
        speaker=speaker,
        date=date,
    )


def relevance_only(
    question: Question,
    query_vector: FloatVector | None,
    terms: Sequence[UInt32Array],
    vectors: FloatMatrix,
    idf: Float64Array,
    mode: Mode = Mode.HYBRID,
) -> Float64Array:
    """Return the relevance of rows outside of the ranked pool: (n,), 0 to 1.

    `idf` is that of the ranking, so that the values are comparable.
    """
    matched = _share(term_counts(question.terms, terms) > 0, idf)
    return _relevance(matched, cosines(vectors, query_vector), mode)


def exact_candidates(
    question: Question,
    query_vector: FloatVector | None,
    pool: Pool,
    depth: int = DEPTH,
    mode: Mode = Mode.HYBRID,
) -> Pool:
    """Nominate candidates without an index, as an index would: the best `depth` eligible rows by BM25 and by cosine.

    `pool` holds all rows of a scope. Returns the pool of the candidates and their neighbours, in the order of `pool`.
    Only these may be ranked: `rank` takes its statistics from the pool, so more rows would change the order.
    """
    legs = []
    if mode is not Mode.VECTOR:
        scores = bm25(term_counts(question.terms, pool.terms), row_lengths(pool.terms).astype(np.float64))
        legs.append(_best(scores, pool.eligible & (scores > 0), depth))
    if mode is not Mode.KEYWORD and query_vector is not None:
        legs.append(_best(cosines(pool.vectors, query_vector), pool.eligible & pool.vectors.any(axis=1), depth))
    candidate, surrounded = np.zeros((2, len(pool)), dtype=np.bool_)
    for leg in legs:
        candidate[leg] = surrounded[leg[:SURROUNDED]] = True
    beside = Neighbours(pool.conversation, pool.position, pool.ordinal)
    return replace(pool, candidate=candidate).only(np.flatnonzero(beside.around(surrounded, candidate)))


def reached(
    question: Question,
    query_vector: FloatVector | None,
    terms: Sequence[UInt32Array],
    vectors: FloatMatrix,
    mode: Mode = Mode.HYBRID,
) -> BoolArray:
    """Return the rows that a leg can nominate: (n,); those with a term of the question, and those with a vector."""
    rows: BoolArray = np.zeros(len(terms), np.bool_)
    if mode is not Mode.VECTOR:
        rows |= (term_counts(question.terms, terms) > 0).any(axis=1)
    if mode is not Mode.KEYWORD and query_vector is not None:
        rows |= vectors.any(axis=1)
    return rows


def cosines(vectors: FloatMatrix, query_vector: FloatVector | None) -> Float64Array:
    """Return the cosine of each row and the query vector: (n,); 0 without a query vector and for rows of zeros."""
    if query_vector is None:
        return np.zeros(len(vectors))
    return (vectors @ query_vector).astype(np.float64)


def _share(parts: Float64Array | BoolArray, idf: Float64Array) -> Float64Array:
    """Return the idf-weighted sum of each row's parts, (n, q), as a share of the total idf: (n,); 0 without terms."""
    if not len(idf):
        return np.zeros(len(parts))
    shares: Float64Array = parts @ idf / idf.sum()
    return shares


def _relevance(matched: Float64Array, similarity: Float64Array, mode: Mode) -> Float64Array:
    """Return the larger of the matched share of the idf and the cosine, using only the legs of the mode."""
    near = np.zeros_like(similarity) if mode is Mode.KEYWORD else np.clip(similarity, 0.0, 1.0)
    return near if mode is Mode.VECTOR else np.minimum(np.maximum(near, matched), 1.0)


def _normalised(values: Float64Array, candidate: BoolArray) -> Float64Array:
    """Scale values so that the smallest among the candidates is 0 and the largest 1, and clip the others.

    All are 0 if there are no candidates or their values differ by at most 1e-6, the rounding error of float32 cosines.
    """
    among = values[candidate]
    low, high = (float(among.min()), float(among.max())) if len(among) else (0.0, 0.0)
    return np.clip((values - low) / (high - low), 0.0, 1.0) if high - low > 1e-6 else np.zeros_like(values)


def _best(scores: Float64Array, allowed: BoolArray, depth: int) -> Int64Array:
    """Return up to `depth` allowed rows with the highest scores; among equal scores, earlier rows first."""
    rows = np.flatnonzero(allowed)
    return rows[np.argsort(-scores[rows], kind="stable")[:depth]]
