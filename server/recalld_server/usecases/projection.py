"""The projection of the ledger into the index: writers apply their changes, and searches wait for them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence

from recalld_server.domain.errors import FeaturesMissing, GenerationMoved, IndexBehind, IndexLost
from recalld_server.domain.memory import Access
from recalld_server.domain.revision import EventQuery, Generation, IndexEntry, Positions
from recalld_server.ports.clock import Clock
from recalld_server.ports.embedder import Priority
from recalld_server.ports.index import Index
from recalld_server.ports.ledger import Ledger
from recalld_server.telemetry.span import span
from recalld_server.usecases.commit_notifications import CommitNotifications
from recalld_server.usecases.features import FeatureMaker

log = logging.getLogger(__name__)

BATCH = 500  # memories in one apply
ATTEMPTS = 5  # rounds of an apply whose memories other writers keep changing
CLOSE = 2.0  # seconds that running applies get when the server stops
STEP = 0.01  # seconds before the first poll of a search that waits for the index; doubled after each poll
LONGEST_STEP = 0.32  # seconds


class Projection:
    """Applies changes to the index and knows which projects have caught up.

    The writer of a change applies it at once; background.projector applies the changes that stayed pending. A project
    has caught up when every change from before the start of this server is in the index.
    """

    def __init__(
        self,
        ledger: Ledger,
        index: Index,
        clock: Clock,
        features: FeatureMaker,
        committed: CommitNotifications | None = None,
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._clock = clock
        self._features = features
        self._caught_up: set[str] = set()
        self._committed = committed or CommitNotifications()
        self._settled = CommitNotifications()  # of applies on this server
        self._reading: dict[str, asyncio.Future[Positions]] = {}
        self._applying: set[asyncio.Task[bool]] = set()

    async def apply(self, project: str, generation: Generation, ids: Sequence[str]) -> bool:
        """Write the current state of the memories `ids` to the index and settle their pending changes.

        Two applies of one memory can reach the index in the wrong order, so the ledger is read again after the index
        was written. For this reason an apply also continues after its caller is cancelled: the engine may still execute
        the write.

        Returns False if other writers kept changing the memories; these stay pending. Raises IndexUnavailable,
        IndexLost, EntryInvalid, EmbedderUnavailable, LedgerUnavailable.
        """
        task = asyncio.create_task(self._apply(project, generation, ids))
        self._applying.add(task)
        task.add_done_callback(self._applying.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Wait up to 2 s for running applies, then cancel them; the ledger keeps their changes pending."""
        if self._applying:
            _, late = await asyncio.wait(self._applying, timeout=CLOSE)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    async def _apply(self, project: str, generation: Generation, ids: Sequence[str]) -> bool:
        todo = list(dict.fromkeys(ids))
        for _ in range(ATTEMPTS):
            if not todo:
                return True
            with span("ledger"):
                entries, stand = await self._entries(project, generation, todo)
            with span("apply"):
                gone = [id for id in todo if id not in entries]
                try:
                    await self._index.apply(project, generation, list(entries.values()), gone, stand.applied)
                except IndexLost:
                    self._lost(project)
                    raise
            applied = {id: entries[id].memory.revision if id in entries else 0 for id in todo}
            try:
                with span("ledger"):
                    todo = list(await self._ledger.settle(project, generation, applied, stand.head))
                self._settled.wake(project)
            except GenerationMoved:  # these entries may have been written after the old generation was dropped
                await self._index.drop(project, generation)
                return True
        return not todo

    async def _entries(
        self, project: str, generation: Generation, ids: Sequence[str]
    ) -> tuple[Mapping[str, IndexEntry], Positions]:
        """Return the entries of the memories `ids`; embed those without features, which would stay pending forever."""
        try:
            return await self._ledger.entries(project, generation, ids)
        except FeaturesMissing as missing:
            log.error(
                "memories had no features and are embedded",
                extra={"project": project, "memories": len(missing.memory_ids)},
            )
            found = await self._ledger.memories(Access(project), missing.memory_ids)
        memories = list(found.values())
        features = await self._features.of(generation, memories, project=project, priority=Priority.BACKGROUND)
        await self._ledger.add_features(project, generation, memories, features)
        return await self._ledger.entries(project, generation, ids)

    def caught_up(self, project: str) -> bool:
        """Whether every change from before the start of this server is in the index."""
        return project in self._caught_up

    @property
    def whole(self) -> frozenset[str]:
        """The projects that have caught up."""
        return frozenset(self._caught_up)

    def forget(self, projects: Iterable[str]) -> None:
        """Remove deleted projects from the projects that have caught up."""
        self._caught_up.difference_update(projects)

    def require(self, project: str) -> None:
        """Raise IndexBehind until the project has caught up."""
        if project not in self._caught_up:
            raise IndexBehind("The index is being rebuilt from the ledger; try again shortly.")

    async def found_absent(self, project: str) -> None:
        """Handle a search that found nothing stored for the project in the index, although changes were applied.

        Raises IndexLost if the project has live memories; the projector then rebuilds its index.
        """
        if await self._ledger.live(project, "", 1):
            self._lost(project)
            raise IndexLost

    def _lost(self, project: str) -> None:
        if project in self._caught_up:
            self._caught_up.remove(project)
            log.error("index of the project was lost and is being rebuilt", extra={"project": project})

    async def catch_up(self, project: str) -> None:
        """Apply every change that the index may have lost or never received."""
        generation = await self._ledger.generation(project)
        mark = await self._index.mark(project, generation)
        if mark > (await self._ledger.positions(Access(project))).head:
            # The ledger was restored from a backup, so the index has entries of revisions that no longer exist.
            log.warning("index is ahead of the ledger", extra={"project": project, "mark": mark})
            await self._index.drop(project, generation)
            mark = 0
        await self._follow(project, generation, mark)

    async def _follow(self, project: str, generation: Generation, mark: int) -> None:
        """Apply every change after `mark`, then count the project as caught up.

        Stops early, without that, if other writers keep changing some memories; the next call continues. Changes
        committed during the call are left to their writers: under load some change is always pending.
        """
        added = await self._ledger.pend_after(project, generation, mark)
        if added is None:  # another server is running `pend_after`, or stopped in the middle of it
            return
        head = (await self._ledger.positions(Access(project))).head
        while (await self._ledger.positions(Access(project))).applied < head:
            ids = await self._ledger.pending(project, generation, BATCH)
            if not ids or not await self.apply(project, generation, ids):
                return
        self._caught_up.add(project)
        self._settled.wake(project)
        if added:
            log.info("index caught up", extra={"project": project, "changes": added})

    async def redo(self, project: str, after: int) -> None:
        """Apply the current state of all memories changed after the sequence number `after`."""
        generation = await self._ledger.generation(project)
        head = (await self._ledger.positions(Access(project))).head
        while after < head:
            events = await self._ledger.events(Access(project), EventQuery(after=after, limit=BATCH))
            if not events:
                return
            await self.apply(project, generation, [event.memory_id for event in events])
            after = events[-1].seq

    async def rebuild(self, project: str) -> None:
        """Drop the entries of the project and rebuild them from the ledger."""
        self._caught_up.discard(project)
        generation = await self._ledger.generation(project)
        await self._index.drop(project, generation)
        # Start at 0 even if a writer has set a newer mark meanwhile: the entries before that mark were dropped.
        await self._follow(project, generation, 0)

    async def wait(self, access: Access, seq: int, seconds: float) -> None:
        """Wait until the project has caught up and the index has every change up to `seq`.

        Applies on this server notify the waiters. Applies on other servers are found by polling the ledger, first
        shortly after a commit, then with exponential back-off; all waiters of a project share one read. Raises
        IndexBehind after `seconds`.
        """
        loop, project, step = asyncio.get_running_loop(), access.project, STEP
        deadline = loop.time() + seconds
        with span("wait"):
            while True:
                settled, committed = self._settled.next(project), self._committed.next(project)
                if project in self._caught_up and await self._applied(project) >= seq:
                    return
                left = deadline - loop.time()
                if left <= 0:
                    raise IndexBehind
                told = await _any(settled, committed, seconds=min(step, left))
                step = STEP if told else min(2 * step, LONGEST_STEP)

    async def _applied(self, project: str) -> int:
        """Return the applied sequence number; concurrent calls share one read."""
        reading = self._reading.get(project)
        if reading is None:
            reading = self._reading[project] = asyncio.ensure_future(self._ledger.positions(Access(project)))
            reading.add_done_callback(lambda _: self._reading.pop(project, None))
        return (await asyncio.shield(reading)).applied


async def _any(*events: asyncio.Event, seconds: float) -> bool:
    """Wait up to `seconds` until one of the events is set; return whether one is."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for wait in waits:
            wait.cancel()
