"""The index on Weaviate: a multi-tenant collection for each generation, a tenant for each project."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any, TypeVar
from uuid import UUID

import numpy as np
from weaviate import WeaviateAsyncClient
from weaviate.classes.config import ConsistencyLevel
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter as Where

from recalld_server.adapters.index.weaviate import schema
from recalld_server.adapters.index.weaviate.client import Absent, Address, Client, refuse
from recalld_server.adapters.index.weaviate.filters import compiled
from recalld_server.adapters.index.weaviate.idle import Idle
from recalld_server.adapters.index.weaviate.legs import Objects, Tenant, keyword, vector
from recalld_server.adapters.index.weaviate.objects import MARK, data_object, key, mark_object, named
from recalld_server.domain.errors import IndexUnavailable
from recalld_server.domain.memory import Access
from recalld_server.domain.revision import Generation, IndexEntry
from recalld_server.ports.index import IndexQuery, Nominations, Scrubbed

T = TypeVar("T")
log = logging.getLogger(__name__)

# Seconds for one call.
SEARCH = 1.5  # each of its requests: without an answer a search fails within 2 s, all in all
APPLY = 10.0  # each of its requests; who waits for a write has a limit of its own
MAKE = 10.0  # of collections and tenants: every node has to agree
PAGE = 1000  # entries read at a time
PUTS = 100  # objects in one request, and
PUT_BYTES = 4 * 2**20  # about how large it may be; the engine refuses 100 MB
DELETES = 1000  # objects in one request; the engine stops at 10,000
START = "00000000-0000-0000-0000-000000000000"
NOTHING = Nominations((), (), exhausted=True)


class WeaviateIndex:
    """The index of a ledger, named by its id, at an address that other ledgers may share.

    Made inside the event loop that uses it; connects when it is first asked.
    """

    def __init__(self, address: Address, ledger: str = "") -> None:
        self._client = Client(address)
        self._ledger = ledger
        self._idle = Idle(self._client)
        self._replication = address.replication
        self._made: set[str] = set()
        self._marks: dict[tuple[str, str], int] = {}
        self._breaks = 0
        self._seen = 0
        self._healthy: set[str] | None = None

    async def apply(
        self,
        project: str,
        generation: Generation,
        puts: Sequence[IndexEntry],
        deletes: Sequence[str],
        mark: int,
        *,
        anew: bool = False,
    ) -> None:
        """Deletes, then puts and the mark, each in requests of bounded size: a failure leaves some of them done.

        Of several puts of a memory the last counts, and a put counts more than a delete. Nothing here keeps an older
        put from overwriting a newer one: whoever applies reads the ledger again afterwards.

        `anew` gives the vectors another length, which cosine does not see: the engine indexes a vector again only when
        it differs from the one it has.
        """
        added = {entry.memory.id: entry for entry in puts}
        for entry in added.values():
            _check(entry, generation)
        gone = [key(memory_id) for memory_id in dict.fromkeys(deletes) if memory_id not in added]
        for at in range(0, len(gone), DELETES):
            some = gone[at : at + DELETES]
            await self._reading(project, generation, lambda tenant: _delete(tenant, some), APPLY, None)  # noqa: B023
        length = random.uniform(1.0, 2.0) if anew else 1.0  # noqa: S311 - another one each time is all it takes
        objects = [data_object(entry, length) for entry in added.values()]
        place = (project, generation.name)
        if mark > self._marks.get(place, 0):
            objects.append(mark_object(mark))
        name = schema.collection(generation, self._ledger)
        for batch in _batches(objects):
            await self._making(generation, lambda driver: _put(self._named(driver, name, project), batch))  # noqa: B023
        self._marks[place] = max(mark, self._marks.get(place, 0))

    async def mark(self, project: str, generation: Generation) -> int:
        """Asks the engine, so that one that was lost or can't be reached is noticed."""

        async def work(tenant: Tenant) -> int:
            agreed = tenant.with_consistency_level(ConsistencyLevel.QUORUM)
            found = await agreed.query.fetch_object_by_id(MARK, return_properties=["mark"])
            return int(found.properties["mark"]) if found else 0

        kept = await self._reading(project, generation, work, SEARCH, 0)
        self._marks[project, generation.name] = kept
        return kept

    async def nominate(self, access: Access, generation: Generation, query: IndexQuery, depth: int) -> Nominations:
        """Both legs at once, each with the whole filter; what the engine can't decide is decided on what it found."""
        scope = query.scope.narrowed(access.pin)
        if scope is None or depth < 1:
            return Nominations((), (), exhausted=scope is None)
        asked = compiled(query.filter, scope, query.now)
        if asked.condition is False:
            return NOTHING

        async def ask(request: Callable[[Tenant], Awaitable[Objects]]) -> Objects:
            nothing: Objects = ()
            return await self._reading(access.project, generation, request, SEARCH, nothing)

        words, meaning = await asyncio.gather(
            keyword(ask, asked, query, scope, depth), vector(ask, asked, query, depth)
        )
        return Nominations(words.found, meaning.found, not words.more and not meaning.more)

    async def entries(self, project: str, generation: Generation) -> AsyncIterator[tuple[str, int]]:
        after = START

        async def read(tenant: Tenant) -> list[Any]:
            found = await tenant.query.fetch_objects(limit=PAGE, after=after, return_properties=["revision", "name"])
            return list(found.objects)

        nothing: list[Any] = []
        while page := await self._reading(project, generation, read, APPLY, nothing):
            for found in page:
                if found.uuid != MARK:
                    yield named(found.uuid, found.properties), int(found.properties["revision"])
            after = str(page[-1].uuid)

    async def scrub(self, project: str, ids: Sequence[str]) -> Scrubbed:
        """Looks in every generation. The engine's files can't be looked into: it merges them when it sees fit."""

        collections: Iterable[str] = await self._client.call(lambda driver: driver.collections.list_all(), APPLY)
        left = 0
        for name in collections:
            if name.startswith(schema.PREFIX) and schema.family(self._ledger) in name:
                left += await self._found(project, name, lambda tenant: _left(tenant, ids), APPLY, 0)
        return Scrubbed(left, clean=None)

    async def drop(self, project: str, generation: Generation) -> None:
        """The tenant goes as a whole, with its mark."""

        async def work(driver: WeaviateAsyncClient) -> None:
            name = schema.collection(generation, self._ledger)
            if await driver.collections.exists(name):
                await driver.collections.use(name).tenants.remove([schema.tenant(project)])

        self._marks.pop((project, generation.name), None)
        with suppress(Absent):
            await self._client.call(work, MAKE)

    async def breaks(self) -> int:
        """Lost connections and sick nodes, as far as they were seen."""
        nodes = await self._client.call(lambda driver: driver.cluster.nodes(output="minimal"), SEARCH)
        healthy = {node.name for node in nodes if node.status == "HEALTHY"}
        if self._healthy not in (None, healthy):  # one went, or came back; in between it may not be listed at all
            self._breaks += 1
        self._healthy = healthy
        if len(healthy) < len(nodes):
            log.warning("nodes are not healthy", extra={"nodes": len(nodes), "healthy": len(healthy)})
            raise IndexUnavailable
        return self._breaks + self._client.breaks

    async def close(self) -> None:
        await self._idle.close()
        await self._client.close()

    def _named(self, driver: WeaviateAsyncClient, collection: str, project: str) -> Tenant:
        tenant = schema.tenant(project)
        self._idle.used(collection, tenant)
        return driver.collections.use(collection).with_tenant(tenant)

    async def _reading(
        self,
        project: str,
        generation: Generation,
        work: Callable[[Tenant], Awaitable[T]],
        seconds: float,
        nothing: T,
    ) -> T:
        return await self._found(project, schema.collection(generation, self._ledger), work, seconds, nothing)

    async def _found(
        self, project: str, collection: str, work: Callable[[Tenant], Awaitable[T]], seconds: float, nothing: T
    ) -> T:
        """What `work` finds; `nothing` where there is no collection or no tenant yet.

        A node that has just come back may not know yet what there is, and an answer of nothing would be a lie. So the
        schema is asked, which the cluster's leader answers. Raises IndexUnavailable.
        """
        try:
            return await self._client.call(lambda driver: work(self._named(driver, collection, project)), seconds)
        except Absent:
            if await self._client.call(lambda driver: schema.holds(driver, collection, project), seconds):
                log.warning("a node does not know what the others have", extra={"project": project})
                raise IndexUnavailable from None
            return nothing

    async def _making(self, generation: Generation, work: Callable[[WeaviateAsyncClient], Awaitable[None]]) -> None:
        """Do `work` in the collection, which is made when it is not there, also when it was there a moment ago."""
        name = schema.collection(generation, self._ledger)
        if self._seen != self._client.breaks:
            # Whatever came back may be empty, and an engine that makes schemas by itself would make a wrong one.
            self._made.clear()
            self._seen = self._client.breaks
        for again in (False, True):
            if again or name not in self._made:
                await self._client.call(lambda driver: schema.ensure(driver, name, generation, self._replication), MAKE)
                self._made.add(name)
            with suppress(Absent):
                return await self._client.call(work, APPLY)
        raise IndexUnavailable


def _check(entry: IndexEntry, generation: Generation) -> None:
    """The engine takes any vector, and finds some of them nowhere."""
    vector = entry.features.vector
    if vector.shape != (generation.dimension,):
        raise ValueError(f"vectors of this generation have {generation.dimension} dimensions")
    if not np.isfinite(vector).all() or not vector.any():
        raise ValueError("a vector must have finite numbers and a length above zero")


def _batches(objects: Sequence[DataObject[Any, Any]]) -> list[list[DataObject[Any, Any]]]:
    """Requests of bounded size."""
    batches: list[list[DataObject[Any, Any]]] = []
    room = 0
    for one in objects:
        size = sum(len(value) for value in one.properties.values() if isinstance(value, str)) + 4096
        if not batches or size > room or len(batches[-1]) == PUTS:
            batches.append([])
            room = PUT_BYTES
        batches[-1].append(one)
        room -= size
    return batches


async def _put(tenant: Tenant, objects: Sequence[DataObject[Any, Any]]) -> None:
    """A refused object raises nothing by itself: it only stands among the errors."""
    done = await tenant.with_consistency_level(ConsistencyLevel.QUORUM).data.insert_many(objects)
    if done.errors:
        refuse(error.message for error in done.errors.values())


async def _delete(tenant: Tenant, ids: Sequence[UUID]) -> None:
    written = tenant.with_consistency_level(ConsistencyLevel.QUORUM)
    done = await written.data.delete_many(where=Where.by_id().contains_any(ids))
    if done.failed:
        raise IndexUnavailable


async def _left(tenant: Tenant, ids: Sequence[str]) -> int:
    left = 0
    for at in range(0, len(ids), PAGE):
        where = Where.by_id().contains_any([key(memory_id) for memory_id in ids[at : at + PAGE]])
        found = await tenant.query.fetch_objects(filters=where, limit=PAGE, return_properties=[])
        left += len(found.objects)
    return left
