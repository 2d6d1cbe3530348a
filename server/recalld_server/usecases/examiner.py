"""Compares the index with the ledger."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from recalld_server.domain.bm25 import NO_TERMS
from recalld_server.domain.filters import Comparison, Operator
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import Generation
from recalld_server.ports.index import Index, IndexQuery
from recalld_server.ports.ledger import Ledger

PAGE = 5_000
PROBED = 500  # memories looked for in one search


@dataclass(frozen=True, slots=True)
class Report:
    """Counts of one project. Pending memories may differ; all that stands after them should be 0.

    `unfound` have an entry that no search by vector finds.
    """

    live: int
    entries: int
    pending: int
    missing: int
    stale: int
    orphaned: int
    unfound: int = 0

    @property
    def wrong(self) -> int:
        """Differences that nothing pending accounts for."""
        return self.missing + self.stale + self.orphaned + self.unfound


@dataclass(frozen=True, slots=True)
class Differences:
    """What a report counts, by id."""

    report: Report
    wrong: Sequence[str]


class Examiner:
    """Reads both sides in full."""

    def __init__(self, ledger: Ledger, index: Index) -> None:
        self._ledger = ledger
        self._index = index

    async def examine(self, project: str) -> Report:
        """Compare ids and revisions, and look for every memory. Exact where nobody writes meanwhile."""
        return (await self.differences(project)).report

    async def differences(self, project: str) -> Differences:
        """As `examine`, with the memories whose entries are not as they should be."""
        generation = await self._ledger.generation(project)
        entries = {id: revision async for id, revision in self._index.entries(project, generation)}
        pending = set(await self._ledger.pending(project, generation, 1_000_000))
        live: dict[str, int] = {}
        after = ""
        while page := await self._ledger.live(project, after, PAGE):
            live.update(page)
            after = page[-1][0]
        settled = {id: revision for id, revision in live.items() if id not in pending}
        missing = [id for id in settled if id not in entries]
        stale = [id for id, revision in settled.items() if entries.get(id, revision) != revision]
        orphaned = [id for id in entries if id not in live and id not in pending]
        there = [id for id, revision in settled.items() if entries.get(id) == revision]
        unfound = await self._unfound(project, generation, there)
        report = Report(len(live), len(entries), len(pending), len(missing), len(stale), len(orphaned), len(unfound))
        return Differences(report, [*missing, *stale, *orphaned, *unfound])

    async def _unfound(self, project: str, generation: Generation, ids: Sequence[str]) -> list[str]:
        """Memories that are not even among the nearest to anything when nothing else is asked for."""
        anywhere = np.zeros(generation.dimension, np.float32)
        anywhere[0] = 1
        unfound: list[str] = []
        for at in range(0, len(ids), PROBED):
            some = tuple(ids[at : at + PROBED])
            query = IndexQuery(Scope(), Comparison("id", Operator.IN, some), NO_TERMS, anywhere, now=0)
            found = await self._index.nominate(Access(project), generation, query, len(some))
            unfound += sorted(set(some) - {id for id, _ in found.vector})
        return unfound
