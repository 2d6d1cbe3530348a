"""Searching: the index nominates, the ledger disposes, the domain ranks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.errors import AsOfNeedsScope, AsOfTooWide, GenerationMoved
from recalld_server.domain.filters import Filter, matches
from recalld_server.domain.limits import SEARCH_LIMIT
from recalld_server.domain.memory import Access, Memory, Scope
from recalld_server.domain.query import Question
from recalld_server.domain.ranking import DEPTH, Mode, Pool, Ranking, exact_candidates, rank, reached, relevance_only
from recalld_server.domain.revision import Generation, SearchState
from recalld_server.domain.steps import Steps
from recalld_server.domain.vectors import FloatVector, Int64Array, UInt32Array
from recalld_server.ports.clock import Clock
from recalld_server.ports.index import Index, IndexQuery, Nominations
from recalld_server.ports.ledger import Ledger
from recalld_server.telemetry.span import span
from recalld_server.usecases.features import FeatureMaker
from recalld_server.usecases.projection import Projection
from recalld_server.usecases.queries import AsOf, Queries

T = TypeVar("T")

LOADED = 50  # memories read at a time while they are given out
STEP = 1e-6  # the least difference of two scores, which ranking rounds
ROUNDING = 0.002  # of the index's cosines, which are of float16 vectors
TERMS = (
    "lexical",
    "similarity",
    "similarity_normalised",
    "context",
    "context_normalised",
    "speaker",
    "date",
    "matched",
)
FRESH_WITHIN = 5.0  # seconds a search waits at most to be as fresh as asked


@dataclass(frozen=True, slots=True)
class SearchQuery:
    """What to look for. `fresh_seq` is the state to wait for, `budget` seconds at most; `max_tokens` 0 is no limit."""

    text: str
    scope: Scope = Scope()
    filter: Filter | None = None
    limit: int = 10
    threshold: float = 0.0
    mode: Mode = Mode.HYBRID
    as_of: AsOf | None = None
    fresh_seq: int = 0
    budget: float = FRESH_WITHIN
    max_tokens: int = 0


@dataclass(frozen=True, slots=True)
class RankedHit:
    """One result before its text is read: why it stands where it does, and the index's figures if it was nominated."""

    id: str
    score: float
    relevance: float
    terms: Mapping[str, float] = field(default_factory=dict)
    neighbour: bool = False
    tail: bool = False
    keyword_raw: float | None = None
    vector_raw: float | None = None

    @property
    def below(self) -> tuple[float, str]:
        """Sorts as the answer does."""
        return (-self.score, self.id)


@dataclass(frozen=True, slots=True)
class Ranked:
    """All results in order, and the state they were taken from: equal states give equal orders.

    `past` is the moment of a search as of one, µs. `memories` are the first, as they were when they were ranked.
    """

    places: Sequence[RankedHit]
    candidates: int
    seq: int
    state: tuple[int, int]
    past: int | None = None
    memories: Mapping[str, Memory] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FoundMemory:
    """One result. `terms` are the parts of its score by name; `at` is its place in the whole order, from 0."""

    memory: Memory
    place: RankedHit
    at: int


class Search:
    """The use case behind Search and StreamSearch."""

    def __init__(
        self, ledger: Ledger, index: Index, features: FeatureMaker, projection: Projection, read: Queries, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._features = features
        self._projection = projection
        self._read = read
        self._clock = clock

    async def rank(self, access: Access, query: SearchQuery) -> Ranked:
        """Order everything the query finds, up to its limit.

        Raises IndexBehind, IndexUnavailable, EmbedderUnavailable, LedgerUnavailable, and for searches of the past
        AsOfFuture, HistoryTrimmed, AsOfNeedsScope, AsOfTooWide. A switch of the index on the way is met once.
        """
        try:
            return await self._rank(access, query)
        except GenerationMoved:
            return await self._rank(access, query)

    async def _rank(self, access: Access, query: SearchQuery) -> Ranked:
        if query.as_of is not None:
            return await self._rank_past(access, query, *await self._read.moment(access, query.as_of))
        if query.fresh_seq:
            await self._projection.wait(access, query.fresh_seq, min(query.budget, FRESH_WITHIN))
        self._projection.require(access.project)
        state = await self._state(access, query)
        now, depth = self._clock.now(), DEPTH
        question, vector, nominated, by_words = await self._first(access, query, state, now)
        nominations = nominated

        def ordered(by_meaning: Pool) -> tuple[tuple[Pool, Ranking, Int64Array], Sequence[str]]:
            with span("rank"):
                pool = by_meaning.joined(by_words)  # what was read later is as it is now
                ranking = rank(question, vector, pool, query.mode)
                head = _passing(ranking, query.threshold)
            return (pool, ranking, head), [pool.ids[i] for i in head[: min(query.limit, LOADED)].tolist()]

        with span("ledger"):
            (pool, ranking, head), memories = await self._ledger.chosen(
                access, query.scope, query.filter, _ids(nominated.vector), state.generation, now, ordered
            )
        if nominated.absent and state.positions.applied:
            await self._projection.found_absent(access.project)
        found = len(head)
        tail: list[tuple[float, str]] = []
        known = set(pool.ids)
        while found < query.limit and depth < SEARCH_LIMIT and _deeper(nominations, depth, query.threshold):
            depth = min(SEARCH_LIMIT, max(2 * depth, query.limit))
            with span("index"):
                terms = _terms(question, query.mode)
                nominations = await self._nominate(access, query, state.generation, terms, vector, now, depth)
            fresh = [id for id in dict.fromkeys(_ids([*nominations.keyword, *nominations.vector])) if id not in known]
            known.update(fresh)
            with span("ledger"):
                more = await self._ledger.pool(
                    access, query.scope, query.filter, fresh, state.generation, now, window=0
                )
            more = more.only(np.flatnonzero(more.eligible & more.candidate))
            brought = _relevant(question, vector, more, ranking, query)
            if fresh and query.threshold and not brought:
                break  # deeper ones are less relevant still, but for a rare order of the keyword leg
            tail += brought
            found += len(brought)
        places = _places(pool, ranking, head[: query.limit], dict(nominated.keyword), dict(nominated.vector))
        places += _below(ranking, tail)[: query.limit - len(places)]
        stand = state.positions
        return Ranked(places, len(known), stand.head, (stand.head, stand.applied), memories=memories)

    async def hits(
        self, access: Access, ranked: Ranked, query: SearchQuery, start: int = 0
    ) -> AsyncIterator[FoundMemory]:
        """Results in order from place `start`: the first as they were ranked, the others read as they are given out.

        What was deleted meanwhile, has expired or no longer fits the filter is left out.
        """
        as_of = None if ranked.past is None else ranked.seq
        for at in range(start, len(ranked.places), LOADED):
            batch = ranked.places[at : at + LOADED]
            found = ranked.memories
            if unread := [place.id for place in batch if place.id not in found]:
                with span("ledger"):
                    found = {**found, **await self._ledger.memories(access, unread, as_of)}
            now = self._clock.now() if ranked.past is None else ranked.past
            live = [
                FoundMemory(memory, place, at + offset)
                for offset, place in enumerate(batch)
                if (memory := found.get(place.id)) and memory.live_at(now)
            ]
            for each in live if query.filter is None else await sliced(_matching(query.filter, live)):
                yield each

    async def _state(self, access: Access, query: SearchQuery) -> SearchState:
        with span("ledger"):
            return await self._ledger.search_state(access, query.scope)

    async def _first(
        self, access: Access, query: SearchQuery, state: SearchState, now: int
    ) -> tuple[Question, FloatVector | None, Nominations, Pool]:
        """The question, its vector, what both legs nominate, and the rows of the words' leg.

        That leg needs no vector: it runs, and its rows are read, while the model is at work. An index that is known to
        be away is noticed before the model is asked.
        """
        self._index.require()
        generation = state.generation
        question = await self._features.question(generation, query.text, state.speakers)
        terms = _terms(question, query.mode)
        async with _meanwhile(self._words(access, query, generation, terms, now)) as leg:
            vector = await self._vector(access, query, generation, question)
            with span("index"):
                meaning = await self._nominate(access, query, generation, terms[:0], vector, now, DEPTH)
                words, pool = await leg
        exhausted = words.exhausted and meaning.exhausted
        absent = words.absent or meaning.absent
        return question, vector, Nominations(words.keyword, meaning.vector, exhausted, absent), pool

    async def _vector(
        self, access: Access, query: SearchQuery, generation: Generation, question: Question
    ) -> FloatVector | None:
        if query.mode is Mode.KEYWORD:
            return None
        return await self._features.vector(generation, question, project=access.project)

    async def _words(
        self, access: Access, query: SearchQuery, generation: Generation, terms: UInt32Array, now: int
    ) -> tuple[Nominations, Pool]:
        words = await self._nominate(access, query, generation, terms, None, now, DEPTH)
        ids = _ids(words.keyword)
        return words, await self._ledger.pool(access, query.scope, query.filter, ids, generation, now)

    async def _nominate(
        self,
        access: Access,
        query: SearchQuery,
        generation: Generation,
        terms: UInt32Array,
        vector: FloatVector | None,
        now: int,
        depth: int,
    ) -> Nominations:
        if not len(terms) and vector is None:
            return Nominations((), (), exhausted=True)
        wanted = IndexQuery(query.scope, query.filter, terms, vector, now)
        return await self._index.nominate(access, generation, wanted, depth)

    async def _rank_past(self, access: Access, query: SearchQuery, seq: int, now: int) -> Ranked:
        """Every row of the scope as it was, ranked without the index."""
        if not (query.scope or access.pin):
            raise AsOfNeedsScope
        state = await self._state(access, query)
        question = await self._features.question(state.generation, query.text, state.speakers)
        vector = await self._vector(access, query, state.generation, question)
        with span("ledger"):
            rows = await self._ledger.snapshot(
                access, query.scope, query.filter, state.generation, seq, now, SEARCH_LIMIT
            )
        if rows is None:
            raise AsOfTooWide(limit=SEARCH_LIMIT)
        with span("rank"):
            pool = exact_candidates(question, vector, rows, DEPTH, query.mode)
            ranking = rank(question, vector, pool, query.mode)
            head = _passing(ranking, query.threshold)
            rest = rows.only(np.flatnonzero(rows.eligible & ~np.isin(rows.ids, pool.ids)))
            places = _places(pool, ranking, head[: query.limit], {}, {})
            places += _below(ranking, _relevant(question, vector, rest, ranking, query))[: query.limit - len(places)]
        return Ranked(places, len(rows), seq, (seq, seq), now)


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """`work` as a task, which begins when what is inside first waits and ends with it at the latest."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _matching(condition: Filter, found: Sequence[FoundMemory]) -> Steps[list[FoundMemory]]:
    kept = []
    for each in found:
        if matches(condition, each.memory):
            kept.append(each)
        yield
    return kept


def _terms(question: Question, mode: Mode) -> UInt32Array:
    return question.terms[:0] if mode is Mode.VECTOR else question.terms


def _ids(leg: Sequence[tuple[str, float]]) -> list[str]:
    return [id for id, _ in leg]


def _passing(ranking: Ranking, threshold: float) -> Int64Array:
    """The rows of the results that are relevant enough, in order."""
    return ranking.order[ranking.relevance[ranking.order] >= threshold]


def _places(
    pool: Pool, ranking: Ranking, rows: Int64Array, keyword: Mapping[str, float], vector: Mapping[str, float]
) -> list[RankedHit]:
    """The results at these rows of the pool: making one costs more than ranking it, so not all are made."""
    columns = [getattr(ranking, name)[rows].tolist() for name in ("score", "relevance", *TERMS)]
    return [
        RankedHit(
            id=pool.ids[i],
            score=score,
            relevance=relevance,
            terms=dict(zip(TERMS, terms, strict=True)),
            neighbour=not candidate,
            keyword_raw=keyword.get(pool.ids[i]),
            vector_raw=vector.get(pool.ids[i]),
        )
        for i, candidate, score, relevance, *terms in zip(
            rows.tolist(), pool.candidate[rows].tolist(), *columns, strict=True
        )
    ]


def _deeper(nominations: Nominations, depth: int, threshold: float) -> bool:
    """Whether a leg may hold more: its end was not reached, and its cosines are not below the threshold yet."""
    if nominations.exhausted or not threshold:
        return not nominations.exhausted
    near = bool(nominations.vector) and nominations.vector[-1][1] >= threshold - ROUNDING
    return near or len(nominations.keyword) >= depth


def _relevant(
    question: Question, vector: FloatVector | None, pool: Pool, ranking: Ranking, query: SearchQuery
) -> list[tuple[float, str]]:
    """Relevance and id of the rows of a pool that are results, by the ranking's idf so that figures compare."""
    found = relevance_only(question, vector, pool.terms, pool.vectors, ranking.idf, query.mode)
    results = reached(question, vector, pool.terms, pool.vectors, query.mode) & (found >= query.threshold)
    return [(float(found[i]), pool.ids[i]) for i in np.flatnonzero(results).tolist()]


def _below(ranking: Ranking, tail: Sequence[tuple[float, str]]) -> list[RankedHit]:
    """What lies beyond the ranked head, by relevance: as far below the last score there as it falls short of 1."""
    top = (float(ranking.score[ranking.order[-1]]) if len(ranking.order) else 1.0) - STEP
    places = [RankedHit(id, round(top - (1 - relevance), 6), relevance, tail=True) for relevance, id in tail]
    return sorted(places, key=lambda place: place.below)
