"""SearchService: checks each request, converts it, calls the use case and converts the result."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration

from recalld.v1 import search_service_pb2 as pb
from recalld.v1 import search_service_pb2_grpc
from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.errors import ConsistencyTokenForeign
from recalld_server.domain.filters import Filter
from recalld_server.domain.limits import PAGE_BYTES
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.page_tokens import Tokens
from recalld_server.domain.ranking import Mode
from recalld_server.domain.steps import Steps, once
from recalld_server.rpc.interceptors.auth import access
from recalld_server.rpc.parse.commands import as_of, filter_given
from recalld_server.rpc.parse.requests import parsed
from recalld_server.rpc.render import memory_protos, paging
from recalld_server.telemetry.span import current
from recalld_server.usecases.queries import Queries
from recalld_server.usecases.search.live import Search
from recalld_server.usecases.search.results import FRESH_WITHIN, LOADED, FoundMemory, Ranked, SearchQuery

DEFAULT_LIMIT = 10
MARGIN = 0.05  # seconds before the caller's deadline at which INDEX_BEHIND is answered, so that it arrives in time
_MODES = {pb.SEARCH_MODE_KEYWORD: Mode.KEYWORD, pb.SEARCH_MODE_VECTOR: Mode.VECTOR}


class SearchService(search_service_pb2_grpc.SearchServiceServicer):
    """See search_service.proto."""

    def __init__(self, search: Search, read: Queries, tokens: Tokens) -> None:
        self._search = search
        self._read = read
        self._tokens = tokens

    async def Search(self, request: pb.SearchRequest, context: Any) -> pb.SearchResponse:
        scope, condition = await parsed(request, once(lambda: _where(request)), unary=True)
        query = await self._query(access(), request, context, scope, condition)
        ranked = await self._search.rank(access(), query)
        answer = pb.SearchResponse(candidate_count=ranked.candidates, sequence=ranked.seq)
        budget, size = _Budget(query.max_tokens), 0
        async for found, hit in _rendered(self._search.hits(access(), ranked, query), request.explain):
            size += hit.ByteSize()
            if not budget.spend(found.memory.text) or (size > PAGE_BYTES and answer.hits):
                answer.truncated = True
                break
            answer.hits.append(hit)
        answer.stages.extend(_stages())
        return answer

    async def StreamSearch(self, request: pb.SearchRequest, context: Any) -> AsyncIterator[pb.StreamSearchResponse]:
        who = access()
        bound, (scope, condition) = await parsed(
            request, once(lambda: (paging.binding("StreamSearch", who, request), _where(request)))
        )
        token = self._tokens.open_resume(request.resume_token, bound) if request.resume_token else None
        query = await self._query(who, request, context, scope, condition)
        ranked = await self._search.rank(who, query)
        start, changed, spent = _resumed(ranked, token)
        done = pb.Done(changed=changed, sequence=ranked.seq, candidate_count=ranked.candidates)
        if token is not None:
            checkpoint = pb.Checkpoint(changed=changed)
            yield pb.StreamSearchResponse(checkpoint=checkpoint, resume_token=request.resume_token)
        budget, trail = _Budget(query.max_tokens, spent), _PrefixDigest(ranked)
        async for found, hit in _rendered(self._search.hits(who, ranked, query, start), request.explain):
            if not budget.spend(found.memory.text):
                done.truncated = True
                break
            position = [found.at + 1, *ranked.state, trail.upto(found.at + 1), budget.spent]
            yield pb.StreamSearchResponse(hit=hit, resume_token=self._tokens.resume(bound, position))
            done.hit_count += 1
        done.stages.extend(_stages())
        yield pb.StreamSearchResponse(done=done)

    async def _query(
        self, who: Access, request: pb.SearchRequest, context: Any, scope: Scope, condition: Filter | None
    ) -> SearchQuery:
        fresh = 0
        if request.at_least_as_fresh:
            fresh = self._tokens.open_consistency(request.at_least_as_fresh, who.project)
            if fresh > (head := await self._read.head(who)):
                raise ConsistencyTokenForeign(sequence=fresh, head=head)
        remaining = context.time_remaining()
        return SearchQuery(
            text=request.query,
            scope=scope,
            filter=condition,
            limit=request.limit if request.HasField("limit") else DEFAULT_LIMIT,
            threshold=request.threshold if request.HasField("threshold") else 0.0,
            mode=_MODES.get(request.mode, Mode.HYBRID),
            as_of=as_of(request),
            fresh_seq=fresh,
            budget=FRESH_WITHIN if remaining is None else max(0.0, remaining - MARGIN),
            max_tokens=request.max_tokens,
        )


def _where(request: pb.SearchRequest) -> tuple[Scope, Filter | None]:
    return memory_protos.scope_of(request.scope), filter_given(request)


async def _rendered(hits: AsyncIterator[FoundMemory], explain: bool) -> AsyncIterator[tuple[FoundMemory, Any]]:
    """Yield each result with its Hit message, rendered in groups of LOADED, which is how many are read at once."""
    waiting: list[FoundMemory] = []
    async for found in hits:
        waiting.append(found)
        if len(waiting) == LOADED:
            for pair in await sliced(_rendering(waiting, explain)):
                yield pair
            waiting = []
    for pair in await sliced(_rendering(waiting, explain)):
        yield pair


def _rendering(found: Sequence[FoundMemory], explain: bool) -> Steps[list[tuple[FoundMemory, Any]]]:
    made = []
    for each in found:
        made.append((each, memory_protos.hit_pb(each, explain)))
        yield
    return made


class _Budget:
    """The token budget of a response (0: unlimited). A token is estimated as 4 bytes, the usual figure for English."""

    def __init__(self, tokens: int, spent: int = 0) -> None:
        self._tokens = tokens
        self.spent = spent

    def spend(self, text: str) -> bool:
        """Charge a text to the budget; return False, and charge nothing, if it no longer fits."""
        cost = -(-len(text.encode()) // 4)
        if self._tokens and self.spent + cost > self._tokens:
            return False
        self.spent += cost
        return True


class _PrefixDigest:
    """A digest of the memory ids in the first places of a ranking."""

    def __init__(self, ranked: Ranked) -> None:
        self._hits = ranked.hits
        self._at = 0
        self._digest = hashlib.blake2b(digest_size=8)

    def upto(self, at: int) -> str:
        """The digest of the first `at` hits. `at` must not decrease from call to call."""
        for hit in self._hits[self._at : at]:
            self._digest.update(hit.id.encode() + b"\0")
        self._at = at
        return self._digest.hexdigest()


def _resumed(ranked: Ranked, token: Sequence[Any] | None) -> tuple[int, bool, int]:
    """The place to resume at, whether the project changed since the token was issued, and the tokens spent so far.

    Every change of a project shifts all scores slightly. A stream resumes only if the hits before the place are still
    the same, because only then no hit is lost. Otherwise it starts again, and callers drop the hits they have.
    """
    if token is None:
        return 0, False, 0
    at, head, applied, trail, spent = token
    if _PrefixDigest(ranked).upto(at) != trail:
        return 0, True, 0
    return at, (head, applied) != ranked.state, spent


def _stages() -> list[pb.StageTime]:
    times = []
    for name, seconds in current().items():
        duration = Duration()
        duration.FromNanoseconds(int(seconds * 1e9))
        times.append(pb.StageTime(name=name, duration=duration))
    return times
