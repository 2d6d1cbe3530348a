"""Makes good what an index's engine lost although it had confirmed it.

Weaviate, when killed, comes back with every object but without some of its latest vectors. So whatever was applied
shortly before an outage, or during it, is applied again; then the whole index is compared with the ledger and every
memory is looked for.

Servers that share a ledger take turns, and what a turn mended that began after an outage was seen is mended for all: at
most two servers do the work, however many saw it.
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
from recalld_server.usecases.index_audit import IndexAudit
from recalld_server.usecases.projection import BATCH, Projection

log = logging.getLogger(__name__)

PAUSE = 5.0  # seconds between looks at the engine
MARGIN = 60 * 1_000_000  # µs before the engine was last seen whole from which its work is suspect
ROUNDS = 3  # of a project in one look
LEASE = 15.0  # seconds after which others take over from a server that shows no sign of life
RENEWAL = 4.0
AT_ONCE = 2  # projects compared at the same time: it reads all of both sides
LONGEST_PAUSE = 600.0  # seconds between attempts at a project that can't be repaired


class IndexDiffers(RecalldError):
    """The index of a project differs from the ledger although it was repaired."""


class Reconciler:
    """Watches the engine and repairs each project after an outage, and once at the start."""

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
        self._whole: int | None = None  # when the engine was last seen whole, and nothing was left to repair
        self._breaks = 0
        self._tasks = ProjectTasks("repair", AT_ONCE, LONGEST_PAUSE)
        self._repaired: tuple[int, set[str]] = (0, set())  # breaks, and the projects repaired after them
        # Breaks not mended yet, and the last turn taken before they were seen.
        self._seen: tuple[int, int] | None = None

    @property
    def stalled(self) -> Sequence[str]:
        """The projects that could not be repaired when that was last tried."""
        return self._tasks.stalled

    async def run(self) -> None:
        """Until cancelled: look, and repair what an outage may have cost. Raises as `look` does."""
        while True:
            await self.look()
            await self._clock.sleep(PAUSE)

    async def look(self) -> None:
        """See whether the engine broke off since the last look, and if so repair. Raises IndexUnavailable.

        Nothing is repaired while another server is at it.
        """
        now = self._clock.now()
        outage_count = await self._index.outage_count()
        if (self._whole is None or outage_count != self._breaks) and not await self._over(outage_count, now):
            return
        self._whole, self._breaks, self._seen = now, outage_count, None

    async def _over(self, outage_count: int, now: int) -> bool:
        """Whether what the breaks may have cost is mended: by another server, or by this one in its turn."""
        state = await self._leases.state()
        if self._seen is None or self._seen[0] != outage_count:
            self._seen = (outage_count, state.taken)
        # The other one saw the engine whole at another moment, and must have gone back behind this one's.
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
            work.cancel()  # only if the lease is lost, or this server stops
            await asyncio.wait([work])
        mended = False
        try:
            mended = work.result()
        finally:
            watermark = now if self._whole is None else self._whole - MARGIN
            await self._leases.release(lease, watermark if mended else None)
        return mended

    async def _mend(self, lease: int, outage_count: int) -> bool:
        """Repair every project; False if something stays wrong or the engine broke off again.

        What was repaired is then as suspect as before. Without a new break the next call repairs only the rest.
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
        """Repair a project; False if something stays wrong. What is wrong once only was being written meanwhile."""
        generation = await self._ledger.generation(project)
        if await self._lost(project, generation):
            # Rebuilding refuses searches meanwhile; filling it entry by entry would answer them with nothing.
            log.warning("index is lost and made anew", extra={"project": project})
            # All else may be done twice; what another server has made must not be dropped.
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
        return False

    async def _lost(self, project: str, generation: Generation) -> bool:
        """Whether nothing at all is there of what should be."""
        if not await self._ledger.live(project, "", 1) or await self._index.mark(project, generation):
            return False
        return await anext(self._index.entries(project, generation), None) is None
