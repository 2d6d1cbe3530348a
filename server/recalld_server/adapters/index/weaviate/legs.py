"""The keyword leg and the vector leg of a search.

They send Weaviate's protobuf messages directly: through the driver a search takes a third longer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from weaviate.classes.query import Filter as Where
from weaviate.proto.v1 import base_pb2, base_search_pb2, search_get_pb2

from recalld_server.adapters.index.weaviate.filters import Compiled
from recalld_server.adapters.index.weaviate.objects import named, read
from recalld_server.adapters.index.weaviate.tokens import question
from recalld_server.domain.filters import matches
from recalld_server.domain.memory import Scope
from recalld_server.ports.index import IndexQuery

MOST = 10_000  # objects per response; Weaviate refuses to return more
VERSION = 14  # position of the version digit in the text form of a UUID
BARE = 200  # up to this depth a second request reads the names: with each object they would cost a third of a search
DEEPER = 8  # factor by which the limit grows while too few of the objects found match the filter

Request: TypeAlias = search_get_pb2.SearchRequest
Result: TypeAlias = search_get_pb2.SearchResult
About: TypeAlias = search_get_pb2.MetadataResult
Ask: TypeAlias = Callable[[Request], Awaitable[Sequence[Result]]]  # sends a request to a tenant, with a deadline


@dataclass(frozen=True, slots=True)
class Retriever:
    """The result of a leg: (memory id, score), best first, and whether a larger depth would give more."""

    found: Sequence[tuple[str, float]]
    more: bool


async def keyword(ask: Ask, compiled: Compiled, query: IndexQuery, scope: Scope, depth: int) -> Retriever:
    """The best entries by BM25.

    Weaviate's term weights are those of the whole tenant, in which every token of a small scope is rare. That flattens
    the weights, but costs little: with 50,000 memories of other users in the tenant, the final top 10 for LoCoMo's
    questions share .993 with those of the embedded index, which weights terms within the scope. recall@10 is .836 with
    both.
    """
    if not len(query.terms):
        return Retriever((), more=False)
    words = base_search_pb2.BM25(query=" ".join(question(scope, query.terms)), properties=["terms"])
    request = _request(compiled, bm25_search=words, score=True)
    return await _leg(ask, request, lambda about: about.score, compiled, query, depth)


async def vector(ask: Ask, compiled: Compiled, query: IndexQuery, depth: int) -> Retriever:
    """The nearest entries by cosine."""
    if query.vector is None:
        return Retriever((), more=False)
    packed = base_pb2.Vectors(
        vector_bytes=query.vector.astype("<f4").tobytes(), type=base_pb2.Vectors.VECTOR_TYPE_SINGLE_FP32
    )
    request = _request(compiled, near_vector=base_search_pb2.NearVector(vectors=[packed]), distance=True)
    return await _leg(ask, request, lambda about: 1.0 - about.distance, compiled, query, depth)


def _request(inside: Compiled, *, score: bool = False, distance: bool = False, **leg: Any) -> Request:
    """A search request with the compiled condition; the caller sets collection, tenant and limit."""
    return Request(
        **leg,
        filters=inside.message,
        metadata=search_get_pb2.MetadataRequest(uuid=True, score=score, distance=distance),
        properties=search_get_pb2.PropertiesRequest(),
        uses_123_api=True,  # selects the current encoding of properties, metadata and filters
        uses_125_api=True,
        uses_127_api=True,
    )


async def _leg(
    ask: Ask,
    request: Request,
    score: Callable[[About], float],
    compiled: Compiled,
    query: IndexQuery,
    depth: int,
) -> Retriever:
    """The first `depth` objects that match the filter. If too few match, the request is repeated with a larger limit.

    If Weaviate cannot decide the filter and finds more than 10,000 objects, only the best 10,000 of the leg are
    checked; `more` is then True.
    """
    bare = compiled.exact and depth <= BARE
    request.properties.non_ref_properties.extend([] if bare else ["name"] if compiled.exact else ["name", "memory"])
    request.limit = min(depth, MOST)
    while True:
        results = await ask(request)
        scored = [(about.id, score(about)) for about in (one.metadata for one in results)]
        found: dict[str, float] = {}
        if bare:
            names = await _names(ask, [id for id, _ in scored])
            for id, value in scored:
                found.setdefault(names.get(id, id), value)
        else:
            for one, (_, value) in zip(results, scored, strict=True):
                memory_id = _name(one)
                if compiled.exact or _fits(query, memory_id, one):
                    found.setdefault(memory_id, value)
        more = len(results) >= request.limit
        if compiled.exact or len(found) >= depth or not more or request.limit == MOST:
            return Retriever(list(found.items())[:depth], more or len(found) > depth)
        request.limit = min(request.limit * DEEPER, MOST)


async def _names(ask: Ask, ids: Sequence[str]) -> dict[str, str]:
    """The memory ids of those objects whose id is derived (version 5). There are few of them, usually none."""
    derived = [UUID(id) for id in ids if id[VERSION] == "5"]
    if not derived:
        return {}
    request = _request(Compiled.of(Where.by_id().contains_any(derived)))
    request.properties.non_ref_properties.append("name")
    request.limit = len(derived)
    return {one.metadata.id: _name(one) for one in await ask(request)}


def _name(one: Result) -> str:
    return named(one.metadata.id, {"name": _text(one, "name")})


def _text(one: Result, property: str) -> str:
    """A requested text property of an object; empty if it is not set."""
    return str(one.properties.non_ref_props.fields[property].text_value)


def _fits(query: IndexQuery, memory_id: str, one: Result) -> bool:
    memory = read(memory_id, _text(one, "memory"))
    return memory.live_at(query.now) and (query.filter is None or matches(query.filter, memory))
