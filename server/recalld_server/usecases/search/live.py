"""Searches of the present: the index nominates, the ledger decides what is eligible, the domain ranks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import numpy as np

from recalld_server.domain.errors import GenerationMoved
from recalld_server.domain.limits import SEARCH_LIMIT
from recalld_server.domain.memory import Access
from recalld_server.domain.query import Question
from recalld_server.domain.ranking import DEPTH, Mode, Pool, Ranking, rank
from recalld_server.domain.revision import Generation, SearchState
from recalld_server.domain.vectors import FloatVector, Int64Array, UInt32Array
from recalld_server.ports.clock import Clock
from recalld_server.ports.index import Index, IndexQuery, Nominations
from recalld_server.ports.ledger import Ledger
from recalld_server.telemetry.span import span
from recalld_server.usecases.features import FeatureMaker
from recalld_server.usecases.projection import Projection
from recalld_server.usecases.queries import Queries
from recalld_server.usecases.search.past import PastSearch
from recalld_server.usecases.search.results import (
    FRESH_WITHIN,
    LOADED,
    FoundMemory,
    Ranked,
    Results,
    SearchQuery,
    hits_at,
    passing,
    relevant,
    tail_hits,
)

T = TypeVar("T")

ROUNDING = 0.002  # of the index's cosines, which are of float16 vectors


class Search:
    """The use case behind Search and StreamSearch."""

    def __init__(
        self,
        ledger: Ledger,
        index: Index,
        features: FeatureMaker,
        projection: Projection,
        queries: Queries,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._features = features
        self._projection = projection
        self._clock = clock
        self._past = PastSearch(ledger, features, queries)
        self._results = Results(ledger, clock)

    async def rank(self, access: Access, query: SearchQuery) -> Ranked:
        """Order everything the query finds, up to its limit.

        Raises IndexBehind, IndexUnavailable, EmbedderUnavailable, LedgerUnavailable, and for searches of the past
        AsOfFuture, HistoryTrimmed, AsOfNeedsScope, AsOfTooWide. A switch of the index on the way is met once.
        """
        if query.as_of is not None:
            return await self._past.rank(access, query, query.as_of)
        try:
            return await self._rank(access, query)
        except GenerationMoved:
            return await self._rank(access, query)

    async def _rank(self, access: Access, query: SearchQuery) -> Ranked:
        if query.fresh_seq:
            await self._projection.wait(access, query.fresh_seq, min(query.budget, FRESH_WITHIN))
        self._projection.require(access.project)
        with span("ledger"):
            state = await self._ledger.search_state(access, query.scope)
        now, depth = self._clock.now(), DEPTH
        question, vector, nominated, by_words = await self._first(access, query, state, now)
        nominations = nominated

        def ordered(by_meaning: Pool) -> tuple[tuple[Pool, Ranking, Int64Array], Sequence[str]]:
            with span("rank"):
                pool = by_meaning.joined(by_words)  # what was read later is as it is now
                ranking = rank(question, vector, pool, query.mode)
                head = passing(ranking, query.threshold)
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
            brought = relevant(question, vector, more, ranking, query)
            if fresh and query.threshold and not brought:
                break  # deeper ones are less relevant still, but for a rare order of the keyword leg
            tail += brought
            found += len(brought)
        hits = hits_at(pool, ranking, head[: query.limit], dict(nominated.keyword), dict(nominated.vector))
        hits += tail_hits(ranking, tail)[: query.limit - len(hits)]
        positions = state.positions
        return Ranked(hits, len(known), positions.head, (positions.head, positions.applied), memories=memories)

    def hits(self, access: Access, ranked: Ranked, query: SearchQuery, start: int = 0) -> AsyncIterator[FoundMemory]:
        """See Results.read."""
        return self._results.read(access, ranked, query, start)

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


@asynccontextmanager
async def _meanwhile(work: Coroutine[Any, Any, T]) -> AsyncIterator[asyncio.Task[T]]:
    """`work` as a task, which begins when what is inside first waits and ends with it at the latest."""
    task = asyncio.create_task(work)
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _terms(question: Question, mode: Mode) -> UInt32Array:
    return question.terms[:0] if mode is Mode.VECTOR else question.terms


def _ids(leg: Sequence[tuple[str, float]]) -> list[str]:
    return [id for id, _ in leg]


def _deeper(nominations: Nominations, depth: int, threshold: float) -> bool:
    """Whether a leg may hold more: its end was not reached, and its cosines are not below the threshold yet."""
    if nominations.exhausted or not threshold:
        return not nominations.exhausted
    near = bool(nominations.vector) and nominations.vector[-1][1] >= threshold - ROUNDING
    return near or len(nominations.keyword) >= depth
