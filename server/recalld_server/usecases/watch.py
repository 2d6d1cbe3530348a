"""Watch: a stream of the changes of a project in sequence order, from any moment on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, replace

from recalld_server.domain.errors import HistoryTrimmed, ResumeTokenInvalid
from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import Event, EventQuery
from recalld_server.ports.clock import Clock
from recalld_server.ports.memories import MemoryReader
from recalld_server.usecases.commit_notifications import CommitNotifications
from recalld_server.usecases.queries import AsOf, Queries

CHECKPOINT = 10.0  # seconds between checkpoints; the API promises one every 15
LOOK = 1.0  # seconds between polls of the ledger without a commit notification
PAGE = 100  # events in one read, which bounds the memory that a slow reader occupies


@dataclass(frozen=True, slots=True)
class Position:
    """The position of a watch: it has delivered every matching change up to `seq`.

    `floor` is the oldest kept sequence number at the start of the watch. A watch from the beginning also reads older
    rows that are still current, so it misses changes only if more history is trimmed before it has read them.
    """

    seq: int
    floor: int


@dataclass(frozen=True, slots=True)
class WatchQuery:
    """Which changes to deliver, and from where: after a position or a past moment, from the beginning, or from now."""

    scope: Scope = Scope()
    filter: Filter | None = None
    beginning: bool = False
    after: Position | None = None
    as_of: AsOf | None = None


@dataclass(frozen=True, slots=True)
class WatchMessage:
    """A change, or None for a checkpoint, and the position after it. `time` is the server time in µs."""

    event: Event | None
    position: Position
    time: int


class Watch:
    """The use case behind Watch. It reads the ledger after each commit notification, and at least every second."""

    def __init__(
        self,
        ledger: MemoryReader,
        read: Queries,
        committed: CommitNotifications,
        clock: Clock,
        checkpoint: float = CHECKPOINT,
    ) -> None:
        self._ledger = ledger
        self._read = read
        self._committed = committed
        self._clock = clock
        self._checkpoint = checkpoint
        self._stopped = False

    def stop(self) -> None:
        """End every watch after its current change; new ones end at once."""
        self._stopped = True
        self._committed.wake_all()

    async def run(self, access: Access, query: WatchQuery) -> AsyncGenerator[WatchMessage, None]:
        """Yield a checkpoint, then changes and checkpoints in order, until the caller leaves or `stop` is called.

        Raises HistoryTrimmed (with the oldest kept sequence number), AsOfFuture, LedgerUnavailable, and
        ResumeTokenInvalid if the position is beyond the newest sequence number.
        """
        at = await self._start(access, query)
        asked = EventQuery(scope=query.scope, filter=query.filter, limit=PAGE)
        loop = asyncio.get_running_loop()
        yield WatchMessage(None, at, self._clock.now())
        due = loop.time() + self._checkpoint
        while not self._stopped:
            woken = self._committed.next(access.project)
            events, more, stand = await self._ledger.follow(access, replace(asked, after=at.seq))
            if at.seq < stand.oldest and at.floor < stand.oldest:
                raise HistoryTrimmed(oldest_sequence=stand.oldest)
            for event in events:
                at = Position(event.seq, at.floor)
                yield WatchMessage(event, at, self._clock.now())
                if self._stopped:
                    return
                if loop.time() >= due:
                    yield WatchMessage(None, at, self._clock.now())
                    due = loop.time() + self._checkpoint
            if more:
                continue
            at = Position(max(at.seq, stand.head), at.floor)
            if loop.time() >= due:
                yield WatchMessage(None, at, self._clock.now())
                due = loop.time() + self._checkpoint
            await _wait(woken, min(LOOK, max(0.0, due - loop.time())))

    async def _start(self, access: Access, query: WatchQuery) -> Position:
        if query.as_of is not None:
            seq, _ = await self._read.moment(access, query.as_of)
            return Position(seq, seq)
        stand = await self._ledger.positions(access)
        if query.after is not None:
            if query.after.seq > stand.head:  # for example after a restore from a backup
                raise ResumeTokenInvalid("The resume token is ahead of the ledger; start the watch again without it.")
            return query.after
        return Position(0, stand.oldest) if query.beginning else Position(stand.head, stand.head)


async def _wait(woken: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return
