"""Repairs an index whose engine lost confirmed entries in an outage.

A killed Weaviate restarts with all objects but without some of its latest vectors. So the reconciler applies all
changes from shortly before and during the outage again. Then it compares the whole index with the ledger and searches
for a sample of the memories (see `IndexAudit`).

Servers that share a ledger take turns under a lease. A repair that began after a server saw an outage counts for that
server too, so at most two servers do the work, however many saw the outage.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence

from recalld_server.background.project_tasks import ProjectTasks
from recalld_server.domain.errors import RecalldError
from recalld_server.domain.memory import Access
from recalld_server.domain.revision import Generation
from recalld_server.ports.clock import Clock
from recalld_server.ports.index import Index
from recalld_server.ports.leases import Leases
from recalld_server.ports.ledger import Ledger
from recalld_server.usecases.index_audit import LISTED, IndexAudit
from recalld_server.usecases.projection import BATCH, Projection

log = logging.getLogger(__name__)

PAUSE = 5.0  # seconds between checks of the engine
MARGIN = 60 * 1_000_000  # µs: changes from this long before the last healthy check on are applied again
ROUNDS = 3  # comparisons of a project with the ledger per repair
LEASE = 15.0  # seconds of the lease, after which another server takes over from one that died
RENEWAL = 4.0  # seconds between renewals of the lease
AT_ONCE = 2  # projects compared at the same time: a comparison reads all of the ledger and of the index
LONGEST_PAUSE = 600.0  # longest back-off in seconds for a project that cannot be repaired


class IndexDiffers(RecalldError):
    """The index of a project still differs from the ledger after its repair."""


class Reconciler:
    """Watches the engine, and repairs the index of every project after an outage and once at the start."""

    def __init__(
        self,
        ledger: Ledger,
        index: Index,
        projection: Projection,
        index_audit: IndexAudit,
        leases: Leases,
        clock: Clock,
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._projection = projection
        self._index_audit = index_audit
        self._leases = leases
        self._clock = clock
        self._whole: int | None = None  # time (µs) of the last check with the engine healthy and nothing to repair
        self._breaks = 0
        self._tasks = ProjectTasks("repair", AT_ONCE, LONGEST_PAUSE)
        self._repaired: tuple[int, set[str]] = (0, set())  # outage count, and the projects repaired since that outage
        # The outage count that is not repaired yet, and the number of the last lease before this server saw it.
        self._seen: tuple[int, int] | None = None

    @property
    def stalled(self) -> Sequence[str]:
        """The projects whose last repair failed."""
        return self._tasks.stalled

    async def run(self) -> None:
        """Call `look` periodically until cancelled. Raises IndexUnavailable, LedgerUnavailable, LeaseLost."""
        while True:
            await self.look()
            await self._clock.sleep(PAUSE)

    async def look(self) -> None:
        """Check for an outage since the last check, and repair the index if there was one.

        Repairs nothing while another server holds the lease. Raises IndexUnavailable while the engine is unhealthy,
        LedgerUnavailable, LeaseLost.
        """
        now = self._clock.now()
        outage_count = await self._index.outage_count()
        if (self._whole is None or outage_count != self._breaks) and not await self._over(outage_count, now):
            return
        self._whole, self._breaks, self._seen = now, outage_count, None

    async def _over(self, outage_count: int, now: int) -> bool:
        """Repair the index unless another server did, and return whether it is repaired."""
        state = await self._leases.state()
        if self._seen is None or self._seen[0] != outage_count:
            self._seen = (outage_count, state.taken)
        # Another server finished a repair that began after this server saw the outage. It counts if it went back far
        # enough: its watermark is the time from which on it applied changes again.
        if state.done > self._seen[1] and (self._whole is None or state.watermark <= self._whole - MARGIN // 2):
            return True
        lease = await self._leases.acquire(LEASE)
        if lease is None:
            return False
        work = asyncio.ensure_future(self._mend(lease, outage_count))
        try:
            while not (await asyncio.wait([work], timeout=RENEWAL))[0]:
                await self._leases.renew(lease, LEASE)
        finally:
            work.cancel()  # has an effect only if the lease is lost or this server stops
            await asyncio.wait([work])
        mended = False
        try:
            mended = work.result()
        finally:
            watermark = now if self._whole is None else self._whole - MARGIN
            await self._leases.release(lease, watermark if mended else None)
        return mended

    async def _mend(self, lease: int, outage_count: int) -> bool:
        """Repair every project; return False if a project stays wrong or there was another outage.

        After another outage, the next call repairs all projects again, otherwise only those that are left.
        """
        if self._repaired[0] != outage_count:
            self._repaired = (outage_count, set())
        repaired = self._repaired[1]

        async def repair(project: str) -> None:
            if not await self._mended(project, lease):
                raise IndexDiffers
            repaired.add(project)

        left = [project for project in await self._ledger.projects() if project not in repaired]
        try:
            await self._tasks.visit(left, repair, to_the_end=True)
        finally:
            await self._tasks.close()
        there = set(await self._ledger.projects())
        self._tasks.keep(there)
        return there.intersection(left) <= repaired and await self._index.outage_count() == outage_count

    async def _mended(self, project: str, lease: int) -> bool:
        """Repair a project; return False if an entry stays wrong.

        An entry counts as wrong only if all ROUNDS comparisons find it so: otherwise it was just being written.
        """
        generation = await self._ledger.generation(project)
        if await self._lost(project, generation):
            # Searches are refused during a rebuild. If the entries were only added again, searches would find nothing.
            log.warning("index is lost and will be rebuilt", extra={"project": project})
            # Confirm the lease: a rebuild drops the index, which another server may have rebuilt. All other steps may
            # run twice.
            await self._leases.renew(lease, LEASE)
            await self._projection.rebuild(project)
        elif self._whole is not None:
            since = await self._ledger.sequence_at(Access(project), self._whole - MARGIN)
            await self._projection.redo(project, since)
        wrong: set[str] | None = None
        for _ in range(ROUNDS):
            found = set((await self._index_audit.differences(project)).wrong)
            wrong = found if wrong is None else found & wrong
            if not wrong:
                return True
            log.warning("index differs from the ledger", extra={"project": project, "memories": len(wrong)})
            todo = sorted(wrong)
            for at in range(0, len(todo), BATCH):
                await self._projection.apply(project, generation, todo[at : at + BATCH])
            if len(found) == LISTED:  # the list was cut: the next one may hold other entries
                wrong = None
        return False

    async def _lost(self, project: str, generation: Generation) -> bool:
        """Whether the index of a project with live memories is empty."""
        if not await self._ledger.live(project, "", 1) or await self._index.mark(project, generation):
            return False
        return await anext(self._index.entries(project, generation), None) is None
