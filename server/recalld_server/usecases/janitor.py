"""What time does: expired memories are deleted, old answers and old history go."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from recalld_server.domain.errors import RevisionConflict
from recalld_server.domain.memory import Access, Cause
from recalld_server.domain.revision import Change, Delete
from recalld_server.ports.clock import Clock
from recalld_server.ports.ledger import Ledger
from recalld_server.usecases.visits import ProjectVisits
from recalld_server.usecases.writing import Writer

log = logging.getLogger(__name__)

PAUSE = 20.0  # seconds between rounds: an expired memory is to be deleted within 60
TRIM_EVERY = 3600 * 1_000_000  # µs between looks for old history, which is kept for a day at least
OUTCOMES_KEPT = 24 * 3600 * 1_000_000  # µs
BATCH = 1000  # memories, or rows of history, in one transaction


class Janitor:
    """Works through all projects again and again, as nobody: its changes have no principal."""

    def __init__(self, ledger: Ledger, writer: Writer, clock: Clock) -> None:
        self._ledger = ledger
        self._writer = writer
        self._clock = clock
        self._visits = ProjectVisits("expiry")
        self._trimmed: dict[str, int] = {}

    @property
    def stalled(self) -> Sequence[str]:
        """The projects in which clearing up failed when it was last tried."""
        return self._visits.stalled

    async def run(self) -> None:
        """Until cancelled. Raises LedgerUnavailable."""
        try:
            while True:
                await self.round()
                await self._clock.sleep(PAUSE)
        finally:
            await self._visits.close()

    async def round(self) -> None:
        """Everything that is due now. Raises LedgerUnavailable."""
        projects = await self._ledger.projects()
        self._visits.keep(projects)
        await self._visits.visit(projects, self._clear)
        await self._ledger.purge_outcomes(self._clock.now() - OUTCOMES_KEPT)

    async def _clear(self, project: str) -> None:
        await self._expire(project)
        if self._clock.now() - self._trimmed.get(project, 0) >= TRIM_EVERY:
            await self._trim(project)
            self._trimmed[project] = self._clock.now()

    async def _expire(self, project: str) -> None:
        more = True
        while more:
            found = await self._ledger.expired(project, self._clock.now(), BATCH)
            more = len(found) == BATCH
            if not found:
                return
            deletes = [Delete(id, revision, Cause.EXPIRED) for id, revision in found]
            try:
                await self._writer.write(Access(project), Change(deletes=deletes))
                log.info("expired memories deleted", extra={"project": project, "memories": len(deletes)})
            except RevisionConflict:  # somebody changed one meanwhile: look again
                more = True

    async def _trim(self, project: str) -> None:
        kept = await self._ledger.retention(project)
        while kept and await self._ledger.trim(project, self._clock.now() - kept, BATCH):
            pass
