"""The two legs of a search."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias
from uuid import UUID

from weaviate.classes.query import Filter as Where
from weaviate.classes.query import MetadataQuery
from weaviate.collections import CollectionAsync

from recalld_server.adapters.index.weaviate.filters import Compiled, Condition
from recalld_server.adapters.index.weaviate.objects import named, read
from recalld_server.adapters.index.weaviate.tokens import question
from recalld_server.domain.filters import matches
from recalld_server.domain.memory import Scope
from recalld_server.ports.index import IndexQuery

MOST = 10_000  # objects in one answer; the engine refuses to give more
BARE = 200  # objects up to which names are asked for by themselves: reading them with each costs a third of a search
DEEPER = 8  # times as many are asked for, while too few of those found fit the filter


Objects: TypeAlias = Sequence[Any]
Tenant: TypeAlias = CollectionAsync[Any, Any]
Ask: TypeAlias = Callable[
    [Callable[[Tenant], Awaitable[Objects]]], Awaitable[Objects]
]  # one request, with its deadline


@dataclass(frozen=True, slots=True)
class Leg:
    """(memory id, score), best first, and whether there is more at a larger depth."""

    found: Sequence[tuple[str, float]]
    more: bool


async def keyword(ask: Ask, compiled: Compiled, query: IndexQuery, scope: Scope, depth: int) -> Leg:
    """The best by BM25, whose weights are those of the whole tenant, where every token of a small scope is rare.

    That flattens them, and costs little: beside 50,000 memories of others the final top 10 of LoCoMo's questions share
    .993 with those over the embedded index, which weighs within the scope; recall@10 is .836 with both.
    """
    if not len(query.terms):
        return Leg((), more=False)
    words = " ".join(question(scope, query.terms))

    async def fetch(tenant: Tenant, limit: int, properties: list[str]) -> Objects:
        found = await tenant.query.bm25(
            query=words,
            query_properties=["terms"],
            filters=_asked(compiled.condition),
            limit=limit,
            return_properties=properties,
            return_metadata=MetadataQuery(score=True),
        )
        return found.objects

    return await _leg(ask, fetch, lambda found: float(found.metadata.score), compiled, query, depth)


async def vector(ask: Ask, compiled: Compiled, query: IndexQuery, depth: int) -> Leg:
    """The nearest by cosine."""
    if query.vector is None:
        return Leg((), more=False)
    near = query.vector.tolist()

    async def fetch(tenant: Tenant, limit: int, properties: list[str]) -> Objects:
        found = await tenant.query.near_vector(
            near_vector=near,
            filters=_asked(compiled.condition),
            limit=limit,
            return_properties=properties,
            return_metadata=MetadataQuery(distance=True),
        )
        return found.objects

    return await _leg(ask, fetch, lambda found: 1.0 - float(found.metadata.distance), compiled, query, depth)


async def _leg(
    ask: Ask,
    fetch: Callable[..., Awaitable[Objects]],
    score: Callable[[Any], float],
    compiled: Compiled,
    query: IndexQuery,
    depth: int,
) -> Leg:
    """The first `depth` that the filter admits: what it does not is made up for by asking for more.

    Of more than 10,000 that the engine can't tell apart only the best of the leg are looked at; `more` then says that
    this was not all.
    """
    properties = ["name"] if compiled.exact else ["name", "memory"]
    if compiled.exact and depth <= BARE:
        properties = []
    limit = min(depth, MOST)
    while True:
        objects = await ask(partial(fetch, limit=limit, properties=properties))
        names = {} if properties else await _names(ask, objects)
        found: dict[str, float] = {}
        for one in objects:
            memory_id = names.get(one.uuid) or named(one.uuid, one.properties)
            if compiled.exact or _fits(query, memory_id, one):
                found.setdefault(memory_id, score(one))
        more = len(objects) >= limit
        if compiled.exact or len(found) >= depth or not more or limit == MOST:
            return Leg(list(found.items())[:depth], more or len(found) > depth)
        limit = min(limit * DEEPER, MOST)


async def _names(ask: Ask, objects: Objects) -> dict[UUID, str]:
    """The ids of those among the memories whose object is not called as they are: few, and mostly none."""
    derived = [one.uuid for one in objects if one.uuid.version == 5]
    if not derived:
        return {}

    async def fetch(tenant: Tenant) -> Objects:
        found = await tenant.query.fetch_objects(
            filters=Where.by_id().contains_any(derived), limit=len(derived), return_properties=["name"]
        )
        return found.objects

    return {one.uuid: named(one.uuid, one.properties) for one in await ask(fetch)}


def _fits(query: IndexQuery, memory_id: str, one: Any) -> bool:
    memory = read(memory_id, one.properties["memory"])
    return memory.live_at(query.now) and (query.filter is None or matches(query.filter, memory))


def _asked(condition: Condition) -> Any:
    return None if isinstance(condition, bool) else condition
