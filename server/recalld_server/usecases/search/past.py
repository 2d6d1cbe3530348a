"""Searches of the past: every row of the scope as it was, ranked without the index."""

from __future__ import annotations

import numpy as np

from recalld_server.domain.errors import AsOfNeedsScope, AsOfTooWide
from recalld_server.domain.limits import SEARCH_LIMIT
from recalld_server.domain.memory import Access
from recalld_server.domain.ranking import DEPTH, Mode, exact_candidates, rank
from recalld_server.ports.candidates import CandidateSource
from recalld_server.telemetry.span import span
from recalld_server.usecases.features import FeatureMaker
from recalld_server.usecases.queries import AsOf, Queries
from recalld_server.usecases.search.results import Ranked, SearchQuery, hits_at, passing, relevant, tail_hits


class PastSearch:
    """Ranks the memories of one moment."""

    def __init__(self, ledger: CandidateSource, features: FeatureMaker, queries: Queries) -> None:
        self._ledger = ledger
        self._features = features
        self._queries = queries

    async def rank(self, access: Access, query: SearchQuery, as_of: AsOf) -> Ranked:
        """Order everything the query found then.

        Raises AsOfFuture, HistoryTrimmed, AsOfNeedsScope, AsOfTooWide, EmbedderUnavailable, LedgerUnavailable.
        """
        seq, now = await self._queries.moment(access, as_of)
        if not (query.scope or access.pin):
            raise AsOfNeedsScope
        with span("ledger"):
            state = await self._ledger.search_state(access, query.scope)
        question = await self._features.question(state.generation, query.text, state.speakers)
        vector = None
        if query.mode is not Mode.KEYWORD:
            vector = await self._features.vector(state.generation, question, project=access.project)
        with span("ledger"):
            rows = await self._ledger.snapshot(
                access, query.scope, query.filter, state.generation, seq, now, SEARCH_LIMIT
            )
        if rows is None:
            raise AsOfTooWide(limit=SEARCH_LIMIT)
        with span("rank"):
            pool = exact_candidates(question, vector, rows, DEPTH, query.mode)
            ranking = rank(question, vector, pool, query.mode)
            head = passing(ranking, query.threshold)
            rest = rows.only(np.flatnonzero(rows.eligible & ~np.isin(rows.ids, pool.ids)))
            hits = hits_at(pool, ranking, head[: query.limit], {}, {})
            hits += tail_hits(ranking, relevant(question, vector, rest, ranking, query))[: query.limit - len(hits)]
        return Ranked(hits, len(rows), seq, (seq, seq), now)
