"""The order of search results: what the index nominated, judged together with its surroundings.

Score = how much of the question's information a memory and its neighbours in the conversation cover (BM25 over terms,
Robertson and Zaragoza 2009, with counts that spill over from the neighbours) + how near they are in meaning + who said
it + when. Measured on LoCoMo (Maharana et al. 2024). Pure: no statistics beyond the pool are read, so nothing of other
scopes shows in a score.
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

DEPTH = 40  # candidates of each leg: 50 find no more, 30 a hundredth less in a scope of 3,000 memories
SURROUNDED = 20  # candidates of each leg, its best, that bring their neighbours: with all of them .002 more are found


class Mode(str, Enum):
    """What a search goes by."""

    HYBRID = "HYBRID"
    KEYWORD = "KEYWORD"
    VECTOR = "VECTOR"


@dataclass(frozen=True, slots=True)
class Weights:
    """Every constant of the formula. Measured optima are flat: half or double moves recall@10 by less than .01."""

    near: float = 0.5  # what a neighbour one position away counts: answers follow questions
    far: float = 0.25  # two positions away; beyond that nothing was gained
    conversation: float = 0.05  # of a term's count in the whole conversation: breaks ties towards the right talk
    conversation_cap: float = 2.0  # so that a long talk about one thing does not win by its length
    k1: float = 1.2  # BM25's usual saturation
    b: float = 0.4  # below the usual .75: memories are short, and length tells little
    similarity: float = 0.4  # cosine of the memory itself
    context: float = 0.4  # cosine of the memory with its neighbours
    speaker: float = 0.5  # who is asked about mostly said it; not more, for others speak of them too
    date: float = 0.4  # the month asked for
    year_only: float = 0.5  # a year alone tells less than a month
    other_day: float = 0.5  # the right month, but another day than the one named

    @property
    def offsets(self) -> dict[int, float]:
        """Weight by distance in positions."""
        return {1: self.near, 2: self.far}


@dataclass(frozen=True, slots=True, eq=False)
class Pool:
    """The rows a ranking sees: candidates and their neighbours, live and inside the access and scope.

    n rows, n ≥ 0. `candidate`: nominated by the index. `eligible`: may be a result (inside the filter).
    `conversation`: equal numbers, same conversation, also in another pool of this process. (conversation, position,
    ordinal) is unique in a ledger. `date`: µs UTC. `terms`: analysed, with repeats. `vectors`: (n, d) float32, of unit
    length, or zeros for a memory without a vector.
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
        """The pool of these rows, in this order."""
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
        """The rows of both, each once: as it is here if it is in both, and a candidate if it is one in either."""
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
    """Results and why. All arrays are (n,) over the pool but `order`, the rows of the results, best first,
    and `idf`, (q,) in the order of the question's terms.

    `score` = lexical + weighted similarity_normalised + weighted context_normalised + speaker + date; it orders one
    answer. `relevance` is absolute, 0 to 1: what thresholds test. `speaker` and `date` are weighted already.
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
    """Order the eligible rows of a pool; equal scores by id.

    HYBRID is the whole formula. KEYWORD leaves meaning out, and only rows with a term of the question are results.
    VECTOR leaves words out. `query_vector` is (d,) of unit length; None, with KEYWORD or for a question of whose words
    the model knows too few, stands for no similarity.
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
    # Products of float32 matrices differ in the last bits with the number of rows; equal memories must stay equal.
    score = np.round(score, 6)
    matched = _share(counts > 0, idf)
    results = pool.eligible & (matched > 0) if mode is Mode.KEYWORD else pool.eligible
    by_id = sorted(np.flatnonzero(results).tolist(), key=pool.ids.__getitem__)  # equal scores stay in this order
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
    """The relevance of rows beyond the ranked pool, (n,), 0 to 1. `idf` is that of the ranking, so figures compare."""
    matched = _share(term_counts(question.terms, terms) > 0, idf)
    return _relevance(matched, cosines(vectors, query_vector), mode)


def exact_candidates(
    question: Question,
    query_vector: FloatVector | None,
    pool: Pool,
    depth: int = DEPTH,
    mode: Mode = Mode.HYBRID,
) -> Pool:
    """What an index would have given: the best `depth` eligible rows by BM25 and by cosine, and neighbours of these.

    `pool` holds all rows of a scope. The answer is the smaller pool of those candidates and what stands around them,
    in the order of `pool`: `rank` takes its statistics from the pool, so more rows would order otherwise.
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
    """The rows that a leg reaches at some depth, (n,): those with a term of the question, and those with a vector."""
    rows: BoolArray = np.zeros(len(terms), np.bool_)
    if mode is not Mode.VECTOR:
        rows |= (term_counts(question.terms, terms) > 0).any(axis=1)
    if mode is not Mode.KEYWORD and query_vector is not None:
        rows |= vectors.any(axis=1)
    return rows


def cosines(vectors: FloatMatrix, query_vector: FloatVector | None) -> Float64Array:
    """Cosine of each row to the query, (n,); 0 without a query and for rows of zeros."""
    if query_vector is None:
        return np.zeros(len(vectors))
    return (vectors @ query_vector).astype(np.float64)


def _share(parts: Float64Array | BoolArray, idf: Float64Array) -> Float64Array:
    """Parts of the terms' information, as a share of all of it; 0 without terms."""
    if not len(idf):
        return np.zeros(len(parts))
    shares: Float64Array = parts @ idf / idf.sum()
    return shares


def _relevance(matched: Float64Array, similarity: Float64Array, mode: Mode) -> Float64Array:
    """The larger of the matched share of the idf and the cosine, as far as the mode counts them."""
    near = np.zeros_like(similarity) if mode is Mode.KEYWORD else np.clip(similarity, 0.0, 1.0)
    return near if mode is Mode.VECTOR else np.minimum(np.maximum(near, matched), 1.0)


def _normalised(values: Float64Array, candidate: BoolArray) -> Float64Array:
    """Values between the candidates' smallest (0) and largest (1), clipped; 0 when these are equal or there are none.

    Cosines of float32 that differ by less than 1e-6 are equal: scaling would make an order of their rounding.
    """
    among = values[candidate]
    low, high = (float(among.min()), float(among.max())) if len(among) else (0.0, 0.0)
    return np.clip((values - low) / (high - low), 0.0, 1.0) if high - low > 1e-6 else np.zeros_like(values)


def _best(scores: Float64Array, allowed: BoolArray, depth: int) -> Int64Array:
    """The rows of the highest scores among the allowed, at most `depth`; earlier rows first when equal."""
    rows = np.flatnonzero(allowed)
    return rows[np.argsort(-scores[rows], kind="stable")[:depth]]
