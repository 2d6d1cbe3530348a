"""What time does: expired memories are deleted, old answers and old history go."""

from __future__ import annotations

import logging

from recalld_server.domain.errors import RecalldError, RevisionConflict
from recalld_server.domain.memory import Access, Cause
from recalld_server.domain.revision import Change, Delete
from recalld_server.ports.clock import Clock
from recalld_server.ports.ledger import Ledger
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
        self._trimmed: dict[str, int] = {}

    async def run(self) -> None:
        """Until cancelled. What fails is tried again in the next round."""
        while True:
            try:
                await self.round()
            except RecalldError as error:
                log.warning("clearing up failed", extra={"error": type(error).__name__})
            await self._clock.sleep(PAUSE)

    async def round(self) -> None:
        """Everything that is due now. Raises LedgerUnavailable."""
        for project in await self._ledger.projects():
            await self._expire(project)
            if self._clock.now() - self._trimmed.get(project, 0) >= TRIM_EVERY:
                await self._trim(project)
                self._trimmed[project] = self._clock.now()
        await self._ledger.purge_outcomes(self._clock.now() - OUTCOMES_KEPT)

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
