"""Results of a search: how they are made from a ranking, and how they are read and given out."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.filters import Filter, matches
from recalld_server.domain.memory import Access, Memory, Scope
from recalld_server.domain.query import Question
from recalld_server.domain.ranking import Mode, Pool, Ranking, reached, relevance_only
from recalld_server.domain.steps import Steps
from recalld_server.domain.vectors import FloatVector, Int64Array
from recalld_server.ports.clock import Clock
from recalld_server.ports.memories import MemoryReader
from recalld_server.telemetry.span import span
from recalld_server.usecases.queries import AsOf

LOADED = 50  # memories read at a time while they are given out
STEP = 1e-6  # the least difference of two scores, which ranking rounds
FRESH_WITHIN = 5.0  # seconds a search waits at most to be as fresh as asked
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

    hits: Sequence[RankedHit]
    candidates: int
    seq: int
    state: tuple[int, int]
    past: int | None = None
    memories: Mapping[str, Memory] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FoundMemory:
    """One result. `terms` are the parts of its score by name; `at` is its hit in the whole order, from 0."""

    memory: Memory
    hit: RankedHit
    at: int


class Results:
    """Gives out the results of a search that has been ranked."""

    def __init__(self, ledger: MemoryReader, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def read(
        self, access: Access, ranked: Ranked, query: SearchQuery, start: int = 0
    ) -> AsyncIterator[FoundMemory]:
        """Results in order from place `start`: the first as they were ranked, the others read as they are given out.

        What was deleted meanwhile, has expired or no longer fits the filter is left out.
        """
        as_of = None if ranked.past is None else ranked.seq
        for at in range(start, len(ranked.hits), LOADED):
            batch = ranked.hits[at : at + LOADED]
            found = ranked.memories
            if unread := [hit.id for hit in batch if hit.id not in found]:
                with span("ledger"):
                    found = {**found, **await self._ledger.memories(access, unread, as_of)}
            now = self._clock.now() if ranked.past is None else ranked.past
            live = [
                FoundMemory(memory, hit, at + offset)
                for offset, hit in enumerate(batch)
                if (memory := found.get(hit.id)) and memory.live_at(now)
            ]
            for each in live if query.filter is None else await sliced(_matching(query.filter, live)):
                yield each


def _matching(condition: Filter, found: Sequence[FoundMemory]) -> Steps[list[FoundMemory]]:
    kept = []
    for each in found:
        if matches(condition, each.memory):
            kept.append(each)
        yield
    return kept


def passing(ranking: Ranking, threshold: float) -> Int64Array:
    """The rows of the results that are relevant enough, in order."""
    return ranking.order[ranking.relevance[ranking.order] >= threshold]


def hits_at(
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


def relevant(
    question: Question, vector: FloatVector | None, pool: Pool, ranking: Ranking, query: SearchQuery
) -> list[tuple[float, str]]:
    """Relevance and id of the rows of a pool that are results, by the ranking's idf so that figures compare."""
    found = relevance_only(question, vector, pool.terms, pool.vectors, ranking.idf, query.mode)
    results = reached(question, vector, pool.terms, pool.vectors, query.mode) & (found >= query.threshold)
    return [(float(found[i]), pool.ids[i]) for i in np.flatnonzero(results).tolist()]


def tail_hits(ranking: Ranking, tail: Sequence[tuple[float, str]]) -> list[RankedHit]:
    """What lies beyond the ranked head, by relevance: as far below the last score there as it falls short of 1."""
    top = (float(ranking.score[ranking.order[-1]]) if len(ranking.order) else 1.0) - STEP
    hits = [RankedHit(id, round(top - (1 - relevance), 6), relevance, tail=True) for relevance, id in tail]
    return sorted(hits, key=lambda hit: hit.below)
