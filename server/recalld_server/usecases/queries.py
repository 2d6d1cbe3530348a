"""Reads from the ledger: memories, events and entities."""

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
    """A moment in the past, given as a sequence number or as a time in µs."""

    seq: int | None = None
    time: int | None = None


class Queries:
    """The use cases behind GetMemory, ListMemories, ListEvents and ListEntities. They never wait for the index."""

    def __init__(self, ledger: MemoryReader, clock: Clock) -> None:
        self._ledger = ledger
        self._clock = clock

    async def get(self, access: Access, memory_id: str) -> Memory:
        """Return a live memory, even an expired one. Raises MemoryNotFound."""
        with span("ledger"):
            found = await self._ledger.memories(access, [memory_id])
        if memory_id not in found:
            raise MemoryNotFound(memory_id=memory_id)
        return found[memory_id]

    async def list(self, access: Access, query: ListQuery, as_of: AsOf | None = None) -> Page:
        """Return a page of memories, as of an earlier moment if given. Raises AsOfFuture, HistoryTrimmed."""
        seq, now = await self.moment(access, as_of) if as_of is not None else (None, self._clock.now())
        with span("ledger"):
            return await self._ledger.page(access, replace(query, as_of=seq, now=now))

    async def moment(self, access: Access, as_of: AsOf) -> tuple[int, int]:
        """Return the sequence number of a moment and the time (µs) at which expiry is judged.

        Raises AsOfFuture if the moment has not been reached, HistoryTrimmed if its history is no longer kept.
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
        """Return the newest sequence number of the project."""
        with span("ledger"):
            return (await self._ledger.positions(access)).head

    async def events(self, access: Access, query: EventQuery, begun: bool = False) -> tuple[Sequence[Event], bool]:
        """Return events in sequence order and whether more follow. `begun` marks a later page of a listing.

        A start of 0 and a later page return whatever history is kept; otherwise raises HistoryTrimmed if the start is
        older than that. Raises AsOfFuture (PageTokenInvalid for a later page) if the start is beyond the newest
        sequence number, and MemoryNotFound if the events of a memory are requested that never existed.
        """
        with span("ledger"):
            found, more, stand = await self._ledger.follow(access, query)
            if query.after > stand.head:  # for example after a restore from a backup
                raise PageTokenInvalid if begun else AsOfFuture(head=stand.head)
            if not begun and 0 < query.after < stand.oldest:
                raise HistoryTrimmed(oldest_sequence=stand.oldest)
            if not found and query.memory_id and not await self._ledger.latest(access, [query.memory_id]):
                raise MemoryNotFound(memory_id=query.memory_id)
        return found, more

    async def entities(
        self, access: Access, type: str, after: tuple[str, str] | None, limit: int
    ) -> tuple[Sequence[Entity], bool]:
        """Return a page of the entities of one type ("user_id" …), or of all types (""), and whether more follow."""
        with span("ledger"):
            found = await self._ledger.entities(access, [type] if type else SCOPE_FIELDS, after, limit + 1)
        return found[:limit], len(found) > limit

    async def count_entities(self, access: Access, type: str) -> int:
        """Return the number of entities of one type ("user_id" …), or of all types ("")."""
        with span("ledger"):
            return await self._ledger.count_entities(access, [type] if type else SCOPE_FIELDS)
