"""Reading what is remembered: one memory, pages of them, their events and whom they belong to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from recalld_server.domain.errors import AsOfFuture, HistoryTrimmed, MemoryNotFound, PageTokenInvalid
from recalld_server.domain.memory import SCOPE_FIELDS, Access, Memory
from recalld_server.domain.revision import Entity, Event, EventQuery, ListQuery, Page
from recalld_server.ports.clock import Clock
from recalld_server.ports.memories import MemoryReader
from recalld_server.telemetry.span import span


@dataclass(frozen=True, slots=True)
class AsOf:
    """A moment of the past: a sequence number, or a time in µs."""

    seq: int | None = None
    time: int | None = None


class Queries:
    """The use cases behind GetMemory, ListMemories, ListEvents and ListEntities: the ledger answers, nothing waits."""

    def __init__(self, ledger: MemoryReader, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def get(self, access: Access, memory_id: str) -> Memory:
        """A live memory, expired or not. Raises MemoryNotFound."""
        with span("ledger"):
            found = await self._ledger.memories(access, [memory_id])
        if memory_id not in found:
            raise MemoryNotFound(memory_id=memory_id)
        return found[memory_id]

    async def list(self, access: Access, query: ListQuery, as_of: AsOf | None = None) -> Page:
        """A page of memories, as of an earlier moment if one is given. Raises AsOfFuture, HistoryTrimmed."""
        seq, now = await self.moment(access, as_of) if as_of is not None else (None, self._clock.now())
        with span("ledger"):
            return await self._ledger.page(access, replace(query, as_of=seq, now=now))

    async def moment(self, access: Access, as_of: AsOf) -> tuple[int, int]:
        """The sequence number of a moment, and the time by which a memory has expired or has not.

        Raises AsOfFuture and HistoryTrimmed for what the ledger can't show.
        """
        with span("ledger"):
            stand = await self._ledger.positions(access)
            if as_of.seq is not None:
                if as_of.seq > stand.head:
                    raise AsOfFuture(head=stand.head)
                seq, time = as_of.seq, await self._ledger.time_of(access, as_of.seq)
            elif as_of.time is not None and as_of.time <= self._clock.now():
                seq, time = await self._ledger.sequence_at(access, as_of.time), as_of.time
            else:
                raise AsOfFuture
        if seq < stand.oldest:
            raise HistoryTrimmed(oldest_sequence=stand.oldest)
        return seq, time

    async def head(self, access: Access) -> int:
        """The newest sequence number of the project."""
        with span("ledger"):
            return (await self._ledger.positions(access)).head

    async def events(self, access: Access, query: EventQuery, begun: bool = False) -> tuple[Sequence[Event], bool]:
        """Events in order, and whether more follow. Of one memory: raises MemoryNotFound if there never was such a one.

        Raises HistoryTrimmed for a start before the oldest history kept, unless it is 0 or a listing that has `begun`:
        those give what there is. Raises AsOfFuture, or PageTokenInvalid for one that has begun, for a start that the
        ledger never had.
        """
        with span("ledger"):
            found, more, stand = await self._ledger.follow(access, query)
            if query.after > stand.head:  # a backup was put back
                raise PageTokenInvalid if begun else AsOfFuture(head=stand.head)
            if not begun and 0 < query.after < stand.oldest:
                raise HistoryTrimmed(oldest_sequence=stand.oldest)
            if not found and query.memory_id and not await self._ledger.latest(access, [query.memory_id]):
                raise MemoryNotFound(memory_id=query.memory_id)
        return found, more

    async def entities(
        self, access: Access, type: str, after: tuple[str, str] | None, limit: int
    ) -> tuple[Sequence[Entity], bool]:
        """Entities of one type ("user_id" …) or of all ("") and whether more follow."""
        with span("ledger"):
            found = await self._ledger.entities(access, [type] if type else SCOPE_FIELDS, after, limit + 1)
        return found[:limit], len(found) > limit

    async def count_entities(self, access: Access, type: str) -> int:
        """How many entities of one type, or of all, there are."""
        with span("ledger"):
            return await self._ledger.count_entities(access, [type] if type else SCOPE_FIELDS)
