"""Following a project: its changes in order, from any moment on, for as long as the caller stays."""

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

CHECKPOINT = 10.0  # seconds between checkpoints: callers are promised one every 15
LOOK = 1.0  # seconds between looks at the ledger when nobody tells of a commit
PAGE = 100  # events read at once, which bounds what a reader that is slow keeps in memory here


@dataclass(frozen=True, slots=True)
class Position:
    """How far a watch is: every matching change up to `seq` was seen.

    `floor` is the oldest history kept when the watch began. One that began with it reads older rows too, namely those
    still current; it misses something only if more is trimmed before it is through.
    """

    seq: int
    floor: int


@dataclass(frozen=True, slots=True)
class WatchQuery:
    """Which changes, and after which moment: a position, or the past, or all history kept (neither: from now on)."""

    scope: Scope = Scope()
    filter: Filter | None = None
    beginning: bool = False
    after: Position | None = None
    as_of: AsOf | None = None


@dataclass(frozen=True, slots=True)
class WatchMessage:
    """A change, or None for a checkpoint, and the position after it. `time` is the server's, µs."""

    event: Event | None
    position: Position
    time: int


class Watch:
    """The use case behind Watch. The ledger is looked at after each commit told of, and every second in any case."""

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
        """Let every watch end after the change it is at; new ones end at once."""
        self._stopped = True
        self._committed.wake_all()

    async def run(self, access: Access, query: WatchQuery) -> AsyncGenerator[WatchMessage, None]:
        """A checkpoint, then changes and checkpoints in order, until the caller leaves or `stop`.

        Raises HistoryTrimmed naming the oldest sequence number kept, AsOfFuture, LedgerUnavailable, and
        ResumeTokenInvalid for a position that the ledger never had.
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
            if query.after.seq > stand.head:  # a backup was put back
                raise ResumeTokenInvalid("The token is of a state that this ledger does not have.")
            return query.after
        return Position(0, stand.oldest) if query.beginning else Position(stand.head, stand.head)


async def _wait(woken: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await woken.wait()
    except TimeoutError:
        return
