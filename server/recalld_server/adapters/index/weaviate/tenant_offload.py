"""Deactivates idle tenants: an active tenant costs Weaviate open files and some 0.7 MB of memory.

Weaviate activates a tenant automatically on its next use, which took 10 ms. Each server only counts its own uses and
deactivates a tenant once after its last use, so servers do not keep deactivating a tenant that another one uses.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from weaviate import WeaviateAsyncClient
from weaviate.classes.tenants import TenantActivityStatus

from recalld_server.adapters.index.weaviate.client import Absent, Client
from recalld_server.domain.errors import IndexUnavailable

log = logging.getLogger(__name__)

IDLE = 600.0  # seconds without use after which a tenant is deactivated
PAUSE = 30.0  # seconds between two rounds
WITHIN = 30.0  # time limit of a request in seconds: every node must agree
BATCH = 100  # tenants per request


class TenantOffload:
    """Records when this server used which tenant, and deactivates idle ones in the background.

    Must be created inside the event loop that uses it. The first call of `used` starts the background task.
    """

    def __init__(self, client: Client) -> None:
        self._client = client
        self._used: dict[tuple[str, str], float] = {}  # (collection, tenant): time of the last use; oldest first
        self._resting: asyncio.Task[None] | None = None

    def used(self, collection: str, tenant: str) -> None:
        """Record a use of a tenant."""
        self._used.pop((collection, tenant), None)
        self._used[collection, tenant] = time.monotonic()
        if self._resting is None:
            self._resting = asyncio.create_task(self._run())

    async def rest(self, seconds: float = IDLE) -> int:
        """Deactivate tenants that were not used for `seconds`. Returns how many. Raises IndexUnavailable."""
        before = time.monotonic() - seconds
        idle: dict[str, list[str]] = {}
        for (collection, tenant), when in self._used.items():
            if when > before:
                break
            idle.setdefault(collection, []).append(tenant)
        rested = 0
        for collection, tenants in idle.items():
            for at in range(0, len(tenants), BATCH):
                rested += await self._rest(collection, tenants[at : at + BATCH], before)
        return rested

    async def close(self) -> None:
        if self._resting:
            self._resting.cancel()
            with suppress(asyncio.CancelledError):
                await self._resting

    async def _rest(self, collection: str, tenants: list[str], before: float) -> int:
        async def work(driver: WeaviateAsyncClient) -> int:
            kept = driver.collections.use(collection).tenants
            there = await kept.get_by_names(tenants)  # a missing tenant would make the whole deactivation fail
            idle = [
                name
                for name, tenant in there.items()
                if tenant.activity_status is TenantActivityStatus.ACTIVE and self._used[collection, name] <= before
            ]
            if idle:
                await kept.deactivate(idle)
            return len(idle)

        rested = 0
        with suppress(Absent):
            rested = await self._client.call(work, WITHIN)
        for tenant in tenants:
            if self._used[collection, tenant] <= before:  # otherwise it was used meanwhile and is active again
                del self._used[collection, tenant]
        return rested

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(PAUSE)
            try:
                if rested := await self.rest():
                    log.info("idle tenants deactivated in the index", extra={"projects": rested})
            except IndexUnavailable:
                log.debug("idle tenants could not be deactivated")
