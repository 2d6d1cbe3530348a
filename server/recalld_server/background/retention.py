"""What time does: expired memories are deleted, old answers and old history go.

Servers that share a ledger take turns under a lease. A round asks for what is due in all projects at once, so that a
project in which nothing is due costs nothing.
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

PAUSE = 20.0  # seconds between rounds: an expired memory is to be deleted within 60
LEASE = 20.0  # seconds after which another server takes over from one that died in its round
TRIM_EVERY = 3600 * 1_000_000  # µs between looks for old history, which is kept for a day at least
OUTCOMES_KEPT = 24 * 3600 * 1_000_000  # µs
BATCH = 1000  # expired memories looked up at once, rows of history or answers in one transaction
SHARE = 20  # batches of one project, or of answers, in one round: then it is the others' turn


class Retention:
    """Works through what is due in all projects again and again, as nobody: its changes have no principal."""

    def __init__(self, ledger: RetentionQueue, commits: CommitCoordinator, leases: Leases, clock: Clock) -> None:
        self._ledger = ledger
        self._commits = commits
        self._leases = leases
        self._clock = clock
        self._tasks = ProjectTasks("expiry")
        self._looked = 0  # when old history was last looked for, µs
        self._trimming: dict[str, int] = {}  # projects that may have old history left, and how long they keep it, µs

    @property
    def stalled(self) -> Sequence[str]:
        """The projects in which clearing up failed when it was last tried."""
        return self._tasks.stalled

    async def run(self) -> None:
        """Until cancelled. Raises LedgerUnavailable."""
        try:
            while True:
                await self.look()
                await self._clock.sleep(PAUSE)
        finally:
            await self._tasks.close()

    async def look(self) -> None:
        """A round, unless another server ended one within the last pause. Raises LedgerUnavailable."""
        if not 0 <= self._clock.now() - (await self._leases.state()).watermark < PAUSE * 1_000_000:
            await self.round()

    async def round(self) -> None:
        """Everything that is due now, unless another server is at it. Raises LedgerUnavailable."""
        lease = await self._leases.acquire(LEASE)
        if lease is None:
            return
        try:
            await self._expire(lease)
            await self._trim(lease)
            await self._purge(lease)
            await self._leases.release(lease, self._clock.now())
        except LeaseLost:  # it took so long that another server goes on
            log.warning("clearing up goes on at another server")

    async def _expire(self, lease: int) -> None:
        """Delete what has expired, oldest first. A project that fails, or had its share, waits for the next round."""
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
            except RevisionConflict as conflict:  # somebody changed these meanwhile; the others can go
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
        """Drop a share of a project's old history, and come back for the rest."""
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
