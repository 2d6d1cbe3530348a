"""Deletes expired memories, old history and old outcomes.

Servers that share a ledger take turns under a lease. A round queries the due items of all projects at once, so that a
project without due items costs nothing.
"""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Sequence

from recalld_server.background.project_tasks import ProjectTasks
from recalld_server.domain.errors import LeaseLost, RevisionConflict
from recalld_server.domain.memory import Access, Cause
from recalld_server.domain.revision import Change, Delete, Expired
from recalld_server.ports.clock import Clock
from recalld_server.ports.leases import Leases
from recalld_server.ports.retention import RetentionQueue
from recalld_server.usecases.commits import CommitCoordinator
from recalld_server.usecases.memories import TRANSACTION

log = logging.getLogger(__name__)

PAUSE = 20.0  # seconds between rounds: an expired memory is to be deleted within 60 s
LEASE = 20.0  # seconds of the lease, after which another server takes over from one that died in its round
TRIM_EVERY = 3600 * 1_000_000  # µs between trims of old history, which is kept for at least a day
OUTCOMES_KEPT = 24 * 3600 * 1_000_000  # µs
BATCH = 1000  # expired memories per query; rows of history or outcomes per transaction
SHARE = 20  # batches of one project, or of outcomes, per round, so that each project gets its turn


class Retention:
    """Processes the due items of all projects in rounds. Its changes have no principal."""

    def __init__(self, ledger: RetentionQueue, commits: CommitCoordinator, leases: Leases, clock: Clock) -> None:
        self._ledger = ledger
        self._commits = commits
        self._leases = leases
        self._clock = clock
        self._tasks = ProjectTasks("expiry")
        self._looked = 0  # time of the last look for old history, µs
        self._trimming: dict[str, int] = {}  # history retention (µs) of the projects that may have old history left

    @property
    def stalled(self) -> Sequence[str]:
        """The projects in which the last deletion or trim failed."""
        return self._tasks.stalled

    async def run(self) -> None:
        """Run until cancelled. Raises LedgerUnavailable."""
        try:
            while True:
                await self.look()
                await self._clock.sleep(PAUSE)
        finally:
            await self._tasks.close()

    async def look(self) -> None:
        """Run a round unless a server ended one less than PAUSE seconds ago. Raises LedgerUnavailable."""
        if not 0 <= self._clock.now() - (await self._leases.state()).watermark < PAUSE * 1_000_000:
            await self.round()

    async def round(self) -> None:
        """Process all due items, unless another server holds the lease. Raises LedgerUnavailable."""
        lease = await self._leases.acquire(LEASE)
        if lease is None:
            return
        try:
            await self._expire(lease)
            await self._trim(lease)
            await self._purge(lease)
            await self._leases.release(lease, self._clock.now())
        except LeaseLost:  # the round took so long that another server took over
            log.warning("another server took over the retention round")

    async def _expire(self, lease: int) -> None:
        """Delete expired memories, oldest first. A project that fails or used up its SHARE waits for the next round."""
        now, place, more = self._clock.now(), None, True
        batches: Counter[str] = Counter()
        left_out: set[str] = set()
        while more:
            found = await self._ledger.expired(now, left_out, place, BATCH)
            more, place = len(found) == BATCH, found[-1].place if found else None
            of: defaultdict[str, list[Expired]] = defaultdict(list)
            for each in found:
                of[each.project].append(each)
            await self._leases.renew(lease, LEASE)
            await self._tasks.visit(of, lambda project, of=of: self._end(project, of[project]))  # type: ignore[misc]
            batches.update(of.keys())
            left_out |= {project for project in of if batches[project] == SHARE}
            left_out.update(self._tasks.unfinished)

    async def _end(self, project: str, expired: Sequence[Expired]) -> None:
        deletes = [Delete(each.memory_id, each.revision, Cause.EXPIRED) for each in expired]
        for at in range(0, len(deletes), TRANSACTION):
            await self._deleted(project, deletes[at : at + TRANSACTION])

    async def _deleted(self, project: str, deletes: Sequence[Delete]) -> None:
        while deletes:
            try:
                await self._commits.write(Access(project), Change(deletes=deletes))
            except RevisionConflict as conflict:  # these were changed meanwhile: delete the others
                deletes = [each for each in deletes if each.memory_id not in conflict.memory_ids]
            else:
                log.info("expired memories deleted", extra={"project": project, "memories": len(deletes)})
                return

    async def _trim(self, lease: int) -> None:
        now = self._clock.now()
        if now - self._looked >= TRIM_EVERY:
            self._trimming, self._looked = dict(await self._ledger.retentions()), now
        if self._trimming:
            await self._leases.renew(lease, LEASE)
            await self._tasks.visit(list(self._trimming), self._trimmed)

    async def _trimmed(self, project: str) -> None:
        """Delete up to SHARE batches of a project's old history; the next round continues."""
        before = self._clock.now() - self._trimming[project]
        for _ in range(SHARE):
            if not await self._ledger.trim(project, before, BATCH):
                self._trimming.pop(project, None)
                return

    async def _purge(self, lease: int) -> None:
        for _ in range(SHARE):
            if await self._ledger.purge_outcomes(self._clock.now() - OUTCOMES_KEPT, BATCH) < BATCH:
                return
            await self._leases.renew(lease, LEASE)
