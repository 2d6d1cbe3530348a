"""Compares the index with the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from recalld_server.ports.index import Index
from recalld_server.ports.ledger import Ledger

PAGE = 5_000


@dataclass(frozen=True, slots=True)
class Report:
    """Counts of one project. Pending memories may differ; missing, stale and orphaned ones should not be."""

    live: int
    entries: int
    pending: int
    missing: int
    stale: int
    orphaned: int

    @property
    def wrong(self) -> int:
        """Differences that nothing pending accounts for."""
        return self.missing + self.stale + self.orphaned


class Examiner:
    """Reads both sides in full."""

    def __init__(self, ledger: Ledger, index: Index) -> None:
        self._ledger = ledger
        self._index = index

    async def examine(self, project: str) -> Report:
        """Compare ids and revisions. Exact where nobody writes meanwhile."""
        generation = await self._ledger.generation(project)
        entries = {id: revision async for id, revision in self._index.entries(project, generation)}
        pending = set(await self._ledger.pending(project, generation, 1_000_000))
        live: dict[str, int] = {}
        after = ""
        while page := await self._ledger.live(project, after, PAGE):
            live.update(page)
            after = page[-1][0]
        settled = {id: revision for id, revision in live.items() if id not in pending}
        return Report(
            live=len(live),
            entries=len(entries),
            pending=len(pending),
            missing=sum(id not in entries for id in settled),
            stale=sum(entries.get(id, revision) != revision for id, revision in settled.items()),
            orphaned=sum(id not in live and id not in pending for id in entries),
        )
