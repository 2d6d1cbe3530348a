"""The projection of the ledger into the index: applied by the writer of a change, waited for by those who search."""

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
ATTEMPTS = 5  # rounds for memories that other writers move meanwhile
CLOSE = 2.0  # seconds for what is being applied when the server stops
STEP = 0.01  # seconds between looks of those who wait for the index, the first time, and twice as many each time
LONGEST_STEP = 0.32


class Projection:
    """Applies changes to the index and knows which projects are whole in it.

    The writer of a change applies it at once; what it leaves behind is applied by background.projector.
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
        self._settled = CommitNotifications()  # what was applied here
        self._reading: dict[str, asyncio.Future[Positions]] = {}
        self._applying: set[asyncio.Task[bool]] = set()

    async def apply(self, project: str, generation: Generation, ids: Sequence[str]) -> bool:
        """Put what the ledger says of `ids` into the index and clear what was pending for them.

        The ledger is read again after the index was written: an older state may have overtaken a newer one on the way.
        So it goes on when its caller stops waiting, since the engine may still do what it was told.
        False when other writers kept moving them; they stay pending. Raises IndexUnavailable.
        """
        task = asyncio.create_task(self._apply(project, generation, ids))
        self._applying.add(task)
        task.add_done_callback(self._applying.discard)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Give what is being applied a moment to end; the ledger knows what remains."""
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
            except GenerationMoved:  # what was put there now may have come after the old entries were dropped
                await self._index.drop(project, generation)
                return True
        return not todo

    async def _entries(
        self, project: str, generation: Generation, ids: Sequence[str]
    ) -> tuple[Mapping[str, IndexEntry], Positions]:
        """What the ledger says of `ids`. Memories without features are embedded again: else they would stay pending."""
        try:
            return await self._ledger.entries(project, generation, ids)
        except FeaturesMissing as missing:
            log.error("memories without features", extra={"project": project, "memories": len(missing.memory_ids)})
            found = await self._ledger.memories(Access(project), missing.memory_ids)
        memories = list(found.values())
        features = await self._features.of(generation, memories, project=project, priority=Priority.BACKGROUND)
        await self._ledger.add_features(project, generation, memories, features)
        return await self._ledger.entries(project, generation, ids)

    def caught_up(self, project: str) -> bool:
        """Whether everything from before this start is in the index."""
        return project in self._caught_up

    @property
    def whole(self) -> frozenset[str]:
        """The projects of which everything from before this start is in the index."""
        return frozenset(self._caught_up)

    def forget(self, projects: Iterable[str]) -> None:
        """Forget projects that were deleted."""
        self._caught_up.difference_update(projects)

    def require(self, project: str) -> None:
        """Raise IndexBehind until everything from before this start is in the index."""
        if project not in self._caught_up:
            raise IndexBehind("The index is being rebuilt from the ledger; try again shortly.")

    async def found_absent(self, project: str) -> None:
        """A search found no place of the project in the index although changes were applied to it.

        Raises IndexLost if anything should be there; the projector then makes it anew.
        """
        if await self._ledger.live(project, "", 1):
            self._lost(project)
            raise IndexLost

    def _lost(self, project: str) -> None:
        if project in self._caught_up:
            self._caught_up.remove(project)
            log.error("index of the project is lost and made anew", extra={"project": project})

    async def catch_up(self, project: str) -> None:
        """Apply whatever the index may have lost or never had."""
        generation = await self._ledger.generation(project)
        mark = await self._index.mark(project, generation)
        if mark > (await self._ledger.positions(Access(project))).head:
            # The ledger was put back from a backup: what the index knows beyond it never happened.
            log.warning("index is ahead of the ledger", extra={"project": project, "mark": mark})
            await self._index.drop(project, generation)
            mark = 0
        await self._follow(project, generation, mark)

    async def _follow(self, project: str, generation: Generation, mark: int) -> None:
        """Apply everything after `mark`. Busy memories are left to the next call, and the project is not whole yet.

        What is committed meanwhile is its writer's: under load there is always something pending.
        """
        added = await self._ledger.pend_after(project, generation, mark)
        if added is None:  # another server is making changes pending, or one died at it
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
        """Apply everything changed after a sequence number, as it stands now."""
        generation = await self._ledger.generation(project)
        head = (await self._ledger.positions(Access(project))).head
        while after < head:
            events = await self._ledger.events(Access(project), EventQuery(after=after, limit=BATCH))
            if not events:
                return
            await self.apply(project, generation, [event.memory_id for event in events])
            after = events[-1].seq

    async def rebuild(self, project: str) -> None:
        """Drop the project's entries and make them anew from the ledger."""
        self._caught_up.discard(project)
        generation = await self._ledger.generation(project)
        await self._index.drop(project, generation)
        # From the beginning, whatever mark a writer has set meanwhile: what it stands on was dropped.
        await self._follow(project, generation, 0)

    async def wait(self, access: Access, seq: int, seconds: float) -> None:
        """Return when the index is whole and has everything up to `seq`. Raises IndexBehind after `seconds`.

        What is applied here is told at once. What another server applies shows when the ledger is read, which is soon
        after a commit, then less and less often; all who wait for a project share what is read.
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
        """The applied sequence number, in one read for all who ask meanwhile."""
        reading = self._reading.get(project)
        if reading is None:
            reading = self._reading[project] = asyncio.ensure_future(self._ledger.positions(Access(project)))
            reading.add_done_callback(lambda _: self._reading.pop(project, None))
        return (await asyncio.shield(reading)).applied


async def _any(*events: asyncio.Event, seconds: float) -> bool:
    """Whether one of them is set within so many seconds."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        return bool(done)
    finally:
        for wait in waits:
            wait.cancel()
