"""Audit of the index: compares it with the ledger."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

import numpy as np

from recalld_server.domain.bm25 import NO_TERMS
from recalld_server.domain.filters import Comparison, Operator
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import Generation
from recalld_server.ports.index import Index, IndexQuery
from recalld_server.ports.projection import ProjectionQueue

PAGE = 1_000  # memories or entries compared at a time
PROBED = 500  # memories searched for in one query
SAMPLE = 5_000  # memories of a project that the vector search must find
LISTED = 10_000  # ids of wrong entries that are listed; further ones are only counted


@dataclass(frozen=True, slots=True)
class Report:
    """The counts of one project; `missing`, `stale`, `orphaned` and `unfound` are 0 in a sound index.

    Differences that a pending change explains are not counted. `unfound` counts those of the `probed` memories that
    have a vector and an entry but are not returned by a vector search.
    """

    live: int
    entries: int
    pending: int
    missing: int
    stale: int
    orphaned: int
    unfound: int = 0
    probed: int = 0

    @property
    def wrong(self) -> int:
        """The number of differences that no pending change explains."""
        return self.missing + self.stale + self.orphaned + self.unfound


@dataclass(frozen=True, slots=True)
class Differences:
    """A report and the ids of up to 10,000 memories whose entries are wrong."""

    report: Report
    wrong: Sequence[str]


class IndexAudit:
    """Compares all memories and all entries of a project, one page at a time; the order of either does not matter."""

    def __init__(self, ledger: ProjectionQueue, index: Index) -> None:
        self._ledger = ledger
        self._index = index

    async def examine(self, project: str) -> Report:
        """Compare ids and revisions, and search for a sample of the memories. Exact only without concurrent writes."""
        return (await self.differences(project)).report

    async def differences(self, project: str) -> Differences:
        """Return the report of `examine` and the memories whose entries are wrong."""
        generation = await self._ledger.generation(project)
        wrong: list[str] = []
        sample = _Sample(SAMPLE)
        pending = await self._ledger.backlog(project)
        live = missing = stale = 0
        after = ""
        while page := await self._ledger.live(project, after, PAGE):
            after = page[-1][0]
            live += len(page)
            there = await self._index.revisions(project, generation, [id for id, _ in page])
            differing = [id for id, revision in page if there.get(id) != revision]
            sample.offer([id for id, revision in page if there.get(id) == revision])
            for id in await self._unaccounted(project, generation, differing):
                missing += id not in there
                stale += id in there
                wrong.append(id)
        entries = orphaned = 0
        async for some in paged(self._index.entries(project, generation), PAGE):
            entries += len(some)
            known = await self._ledger.live_among(project, [id for id, _ in some])
            strangers = [id for id, _ in some if id not in known]
            found = await self._unaccounted(project, generation, strangers)
            orphaned += len(found)
            wrong += found
        unfound = await self._unfound(project, generation, sample.kept)
        counts = Report(live, entries, pending, missing, stale, orphaned, len(unfound), len(sample.kept))
        return Differences(counts, [*wrong, *unfound][:LISTED])

    async def _unaccounted(self, project: str, generation: Generation, ids: Sequence[str]) -> list[str]:
        """Return those of `ids` that have no pending change."""
        if not ids:
            return []
        pending = await self._ledger.pending_among(project, generation, ids)
        return [id for id in ids if id not in pending]

    async def _unfound(self, project: str, generation: Generation, ids: Sequence[str]) -> list[str]:
        """Return the memories that a vector search does not return although its filter admits only them."""
        anywhere = np.zeros(generation.dimension, np.float32)
        anywhere[0] = 1
        unfound: list[str] = []
        for at in range(0, len(ids), PROBED):
            some = tuple(ids[at : at + PROBED])
            query = IndexQuery(Scope(), Comparison("id", Operator.IN, some), NO_TERMS, anywhere, now=0)
            found = await self._index.nominate(Access(project), generation, query, len(some))
            missed = sorted(set(some) - {id for id, _ in found.vector})
            if missed:
                features = await self._ledger.features(Access(project), missed, generation)
                unfound += [id for id in missed if id not in features or features[id].meant]
        return unfound


class _Sample:
    """A uniform sample of up to `size` of the offered ids (reservoir sampling, algorithm R of Vitter 1985)."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._offered = 0
        self.kept: list[str] = []

    def offer(self, ids: Sequence[str]) -> None:
        for id in ids:
            self._offered += 1
            if len(self.kept) < self._size:
                self.kept.append(id)
            elif (place := random.randrange(self._offered)) < self._size:  # noqa: S311 - no secret
                self.kept[place] = id


async def paged(entries: AsyncIterator[tuple[str, int]], size: int) -> AsyncIterator[list[tuple[str, int]]]:
    """Entries in lists of `size`, the last of which may be shorter."""
    page: list[tuple[str, int]] = []
    async for entry in entries:
        page.append(entry)
        if len(page) == size:
            yield page
            page = []
    if page:
        yield page
