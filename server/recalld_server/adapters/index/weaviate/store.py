"""The index on Weaviate: one multi-tenant collection per generation, one tenant per project."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from weaviate import WeaviateAsyncClient
from weaviate.classes.config import ConsistencyLevel

from recalld_server.adapters.index.weaviate import schema
from recalld_server.adapters.index.weaviate.client import Absent, Address, Client
from recalld_server.adapters.index.weaviate.filters import Compiled, compiled
from recalld_server.adapters.index.weaviate.legs import Request, Result, keyword, vector
from recalld_server.adapters.index.weaviate.objects import MARK, data_object, key, mark_object, named
from recalld_server.adapters.index.weaviate.tenant_offload import TenantOffload
from recalld_server.adapters.index.weaviate.writes import DELETES, PAGE, Tenant, batches, check, delete, put, remaining
from recalld_server.domain.errors import IndexLost, IndexUnavailable
from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import Generation, IndexEntry
from recalld_server.ports.index import IndexQuery, Nominations

T = TypeVar("T")
log = logging.getLogger(__name__)

# Time limits in seconds.
WHOLE = 1.9  # for a search with all its requests
SEARCH = 1.5  # for a single request of a search
APPLY = 10.0  # for each request of `apply`; callers that wait for a write have their own limit
MAKE = 10.0  # for the creation of collections and tenants, to which every node must agree
CLOSE = 2.0  # for running puts at `close`; changes that they do not complete stay pending in the ledger
START = "00000000-0000-0000-0000-000000000000"
NOTHING = Nominations((), (), exhausted=True)
ABSENT: Sequence[Result] = []  # the result for a missing tenant, compared by identity


class WeaviateIndex:
    """The index of the ledger with the id `ledger`. Other ledgers may use the same Weaviate.

    Must be created inside the event loop that uses it. Connects with the first call.
    """

    name = "weaviate"

    def __init__(self, address: Address, ledger: str = "") -> None:
        self._client = Client(address)
        self._ledger = ledger
        self._idle = TenantOffload(self._client)
        self._replication = address.replication
        self._made: set[str] = set()
        self._marks: dict[tuple[str, str], int] = {}
        self._breaks = 0
        self._putting: dict[asyncio.Task[None], tuple[str, str]] = {}
        self._seen = 0
        self._healthy: set[str] | None = None
        self._compiled: tuple[Filter | None, Scope, int, Compiled] | None = None

    async def apply(
        self, project: str, generation: Generation, puts: Sequence[IndexEntry], deletes: Sequence[str], mark: int
    ) -> None:
        """See Index.apply. Sends the deletes, then the puts and the mark, in requests of bounded size.

        It is not atomic: a failure leaves some requests done. The last of several puts of a memory wins, and a put wins
        over a delete. An older put may overwrite a newer one, so the caller must read the ledger again afterwards.
        """
        added = {entry.memory.id: entry for entry in puts}
        for entry in added.values():
            check(entry, generation)
        gone = [key(memory_id) for memory_id in dict.fromkeys(deletes) if memory_id not in added]
        for at in range(0, len(gone), DELETES):
            some = gone[at : at + DELETES]
            await self._reading(project, generation, lambda tenant: delete(tenant, some), APPLY, None)  # noqa: B023
        objects = [data_object(entry) for entry in added.values()]
        place = (project, generation.name)
        if mark > self._marks.get(place, 0):
            objects.append(mark_object(mark))
        name = schema.collection(generation, self._ledger)
        for batch in batches(objects):
            putting = self._making(
                project,
                generation,
                lambda driver: put(self._named(driver, name, project), batch),  # noqa: B023
            )
            try:
                await self._to_its_end(putting, place)
            except IndexLost:
                if added:
                    raise
                return  # the batch has only the mark, which must not vouch for entries that are lost
        self._marks[place] = max(mark, self._marks.get(place, 0))

    async def mark(self, project: str, generation: Generation) -> int:
        """See Index.mark. Always asks Weaviate, so that a lost or unreachable index is noticed."""

        async def work(tenant: Tenant) -> int:
            found = await tenant.query.fetch_object_by_id(MARK, return_properties=["mark"])
            if found is None and await tenant.with_consistency_level(ConsistencyLevel.QUORUM).data.exists(MARK):
                # Queries ask a single node at any consistency level; `exists` asks a quorum.
                raise _lagging(project)
            if found and not isinstance(found.properties["mark"], int):
                log.error("the mark of the index is not a number", extra={"project": project})
                return 0
            return int(found.properties["mark"]) if found else 0

        kept = await self._reading(project, generation, work, SEARCH, 0)
        self._marks[project, generation.name] = kept
        return kept

    def require(self) -> None:
        if self._client.away:
            raise IndexUnavailable

    async def check(self) -> None:
        await self._client.check()
        await self.outage_count()

    async def ping(self) -> None:
        if not await self._client.call(lambda driver: driver.is_ready(), SEARCH):
            raise IndexUnavailable

    async def nominate(self, access: Access, generation: Generation, query: IndexQuery, depth: int) -> Nominations:
        """See Index.nominate. Runs both legs concurrently, each with the whole filter.

        Conditions that Weaviate cannot decide are checked on its results.
        """
        scope = query.scope.narrowed(access.pin)
        if scope is None or depth < 1:
            return Nominations((), (), exhausted=scope is None)
        asked = self._inside(query, scope)
        if asked.condition is False:
            return NOTHING

        collection = schema.collection(generation, self._ledger)
        absent = False

        async def ask(request: Request) -> Sequence[Result]:
            request.collection, request.tenant = collection, schema.tenant(access.project)
            self._idle.used(request.collection, request.tenant)
            nonlocal absent
            found = await self._there(access.project, collection, lambda: self._client.search(request, SEARCH), ABSENT)
            absent = absent or found is ABSENT
            return found

        try:
            async with asyncio.timeout(WHOLE):
                if len(query.terms) and query.vector is not None:
                    words, meaning = await asyncio.gather(
                        keyword(ask, asked, query, scope, depth), vector(ask, asked, query, depth)
                    )
                else:  # at least one leg sends no request, so there is nothing to run concurrently
                    words = await keyword(ask, asked, query, scope, depth)
                    meaning = await vector(ask, asked, query, depth)
        except TimeoutError:
            log.warning("weaviate answered too late", extra={"project": access.project})
            raise IndexUnavailable from None
        return Nominations(words.found, meaning.found, not words.more and not meaning.more, absent)

    def _inside(self, query: IndexQuery, scope: Scope) -> Compiled:
        """The compiled filter of a query. The last one is cached, for repeated calls with the same query."""
        if self._compiled is not None:
            filter, within, now, made = self._compiled
            # Compare filters by identity: a filter for 1 equals a filter for True in Python.
            if filter is query.filter and within == scope and now == query.now:
                return made
        made = compiled(query.filter, scope, query.now)
        self._compiled = (query.filter, scope, query.now, made)
        return made

    async def entries(self, project: str, generation: Generation) -> AsyncIterator[tuple[str, int]]:
        after = START

        async def read(tenant: Tenant) -> list[Any]:
            found = await tenant.query.fetch_objects(limit=PAGE, after=after, return_properties=["revision", "name"])
            return list(found.objects)

        nothing: list[Any] = []
        while page := await self._reading(project, generation, read, APPLY, nothing):
            for found in page:
                if found.uuid != MARK:
                    yield named(found.uuid, found.properties), _revision(found.properties)
            after = str(page[-1].uuid)

    async def revisions(self, project: str, generation: Generation, ids: Sequence[str]) -> Mapping[str, int]:
        objects = [key(memory_id) for memory_id in ids]

        async def read(tenant: Tenant) -> dict[str, int]:
            found = await tenant.query.fetch_objects_by_ids(
                objects, limit=len(objects), return_properties=["revision", "name"]
            )
            return {named(o.uuid, o.properties): _revision(o.properties) for o in found.objects}

        nothing: dict[str, int] = {}
        return await self._reading(project, generation, read, APPLY, nothing)

    async def remaining(self, project: str, ids: Sequence[str]) -> int:
        collections: Iterable[str] = await self._client.call(lambda driver: driver.collections.list_all(), APPLY)
        left = 0
        for name in collections:
            if name.startswith(schema.PREFIX) and schema.family(self._ledger) in name:
                left += await self._found(project, name, lambda tenant: remaining(tenant, ids), APPLY, 0)
        return left

    @property
    def clears(self) -> bool:
        """False: the files belong to Weaviate."""
        return False

    async def compact(self) -> bool | None:
        """See Index.compact. Returns None: Weaviate's files are out of reach, and it decides when to merge them."""
        return None

    async def drop(self, project: str, generation: Generation) -> None:
        """See Index.drop. Removes the whole tenant, including its mark."""

        async def work(driver: WeaviateAsyncClient) -> None:
            name = schema.collection(generation, self._ledger)
            if await driver.collections.exists(name):
                await driver.collections.use(name).tenants.remove([schema.tenant(project)])

        place = (project, generation.name)
        if puts := [task for task, at in self._putting.items() if at == place]:
            await asyncio.wait(puts)  # a put that ended later would create the tenant again
        self._marks.pop(place, None)
        with suppress(Absent):
            await self._client.call(work, MAKE)

    async def outage_count(self) -> int:
        """See Index.outage_count. Counts lost connections and changes in the set of healthy nodes."""
        nodes = await self._client.call(lambda driver: driver.cluster.nodes(output="minimal"), SEARCH)
        healthy = {node.name for node in nodes if node.status == "HEALTHY"}
        if self._healthy not in (None, healthy):  # a node left or came back; a lost node may not be listed at all
            self._breaks += 1
        self._healthy = healthy
        if len(healthy) < len(nodes):
            log.warning("nodes are not healthy", extra={"nodes": len(nodes), "healthy": len(healthy)})
            raise IndexUnavailable
        return self._breaks + self._client.outage_count

    async def close(self) -> None:
        if self._putting:
            await asyncio.wait(list(self._putting), timeout=CLOSE)
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
        def asking() -> Awaitable[T]:
            return self._client.call(lambda driver: work(self._named(driver, collection, project)), seconds)

        return await self._there(project, collection, asking, nothing)

    async def _there(self, project: str, collection: str, asking: Callable[[], Awaitable[T]], nothing: T) -> T:
        """Run `asking`. Returns `nothing` if the collection or the tenant does not exist. Raises IndexUnavailable.

        A node that has just restarted may not know yet that they exist, so its Absent is not trusted. The leader of the
        cluster is asked for the schema. If the tenant exists, `asking` runs once more, because the first put may have
        happened in between.
        """
        with suppress(Absent):
            return await asking()
        if not await self._client.call(lambda driver: schema.holds(driver, collection, project), SEARCH):
            return nothing
        with suppress(Absent):
            return await asking()
        raise _lagging(project)

    async def _to_its_end(self, putting: Coroutine[Any, Any, None], place: tuple[str, str]) -> None:
        """Run a put to its end even if the caller is cancelled: Weaviate would leave objects without vectors."""
        task = asyncio.create_task(putting)
        self._putting[task] = place
        task.add_done_callback(self._putting.pop)
        await asyncio.shield(task)

    async def _making(
        self, project: str, generation: Generation, work: Callable[[WeaviateAsyncClient], Awaitable[None]]
    ) -> None:
        """Run `work` in a project's tenant. Creates a missing collection and tenant first.

        A collection that disappeared is created again, but a tenant only if it held no entries before. Raises IndexLost
        otherwise.
        """
        name = schema.collection(generation, self._ledger)
        if self._seen != self._client.outage_count:
            # After an outage Weaviate may be empty, and its automatic schema creation would create a wrong collection.
            self._made.clear()
            self._seen = self._client.outage_count
        for again in (False, True):
            if again or name not in self._made:
                await self._client.call(lambda driver: schema.ensure(driver, name, generation, self._replication), MAKE)
                self._made.add(name)
            if again:
                await self._begin(project, generation)
            with suppress(Absent):
                return await self._client.call(work, APPLY)
        raise IndexUnavailable

    async def _begin(self, project: str, generation: Generation) -> None:
        """Create the tenant of a project. Raises IndexLost if it existed before: its entries are lost."""
        name = schema.collection(generation, self._ledger)
        # Read first: a concurrent apply may create the tenant and set the mark while the answer is under way.
        marked = self._marks.get((project, generation.name))
        if await self._client.call(lambda driver: schema.holds(driver, name, project), SEARCH):
            return
        if marked:
            raise IndexLost
        await self._client.call(lambda driver: schema.begin(driver, name, project), MAKE)


def _revision(properties: Any) -> int:
    """The revision of an object; 0 if it has none. No revision is 0, so comparisons find such an entry wrong."""
    return int(properties["revision"] or 0)


def _lagging(project: str) -> IndexUnavailable:
    log.warning("a node lags behind the other nodes", extra={"project": project})
    return IndexUnavailable()
