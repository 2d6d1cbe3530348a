"""A part of the port of the ledger; ports.ledger says what holds of every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Access, Memory, Scope
from recalld_server.domain.revision import (
    Entity,
    Event,
    EventQuery,
    ListQuery,
    Match,
    Page,
    Positions,
)
from recalld_server.ports.project_state import ProjectState

T = TypeVar("T")


class MemoryReader(ProjectState, Protocol):
    """Memories, events and entities as they are and as they were."""

    async def memories(self, access: Access, ids: Sequence[str], as_of: int | None = None) -> Mapping[str, Memory]:
        """The memories among `ids` that are live (as of a sequence number), with their sources.

        Absent = deleted, never there, or outside the pin. Here, in `revisions`, `latest` and `repeats` memories come
        without their sources once those of the ones named before them have CALL_BYTES together: more is never shown.
        """
        ...

    async def revisions(self, access: Access, named: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], Memory]:
        """Memories as they were at (id, revision); absent ones are left out."""
        ...

    async def latest(self, access: Access, ids: Sequence[str]) -> Mapping[str, tuple[Memory, bool]]:
        """The newest revision of each memory and whether it is live; absent: there was never one inside the access."""
        ...

    async def page(self, access: Access, query: ListQuery) -> Page:
        """List memories; see ListQuery. Fewer than its limit where they have PAGE_BYTES together."""
        ...

    async def matching(
        self,
        access: Access,
        scope: Scope,
        filter: Filter | None,
        as_of: int,
        after: tuple[int, str] | None,
        limit: int,
    ) -> Sequence[Match]:
        """Memories that matched as of a sequence number and still live, by create time and id, at most `limit`.

        `after` is (create time, id) of the last one already given. A memory restored or added since then is not among
        them. All pages together go through the live memories once.
        """
        ...

    async def count(self, access: Access, scope: Scope, filter: Filter | None, as_of: int) -> int:
        """How many memories matched as of a sequence number."""
        ...

    async def events(self, access: Access, query: EventQuery) -> Sequence[Event]:
        """Events in order of their sequence numbers: fewer than the limit where they have PAGE_BYTES together."""
        ...

    async def follow(self, access: Access, query: EventQuery) -> tuple[Sequence[Event], bool, Positions]:
        """Events as `events` gives them, whether more follow, and where the project stood at that very moment."""
        ...

    async def entities(
        self, access: Access, types: Sequence[str], after: tuple[str, str] | None, limit: int
    ) -> Sequence[Entity]:
        """Entities with live memories, ordered by (type, id)."""
        ...

    async def count_entities(self, access: Access, types: Sequence[str]) -> int:
        """How many entities of these types have live memories."""
        ...

    async def known(self, access: Access, scope: Scope) -> bool:
        """Whether a memory of this scope was ever stored, live or not."""
        ...

    async def sequence_at(self, access: Access, time: int) -> int:
        """The last sequence number committed at or before a time in µs; 0 if none was."""
        ...

    async def time_of(self, access: Access, seq: int) -> int:
        """When a sequence number was committed, in µs; 0 for 0 and for one that is not kept."""
        ...
