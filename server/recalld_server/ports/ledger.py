"""The port of the ledger: the truth about every memory.

Every method is one transaction and takes the access; adapters AND the project and the pin into every statement, so what
lies outside is never seen. Any method may raise LedgerUnavailable. Nothing here waits for the index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Access, Memory, Scope
from recalld_server.domain.ranking import Pool
from recalld_server.domain.revision import (
    Change,
    Commit,
    Entity,
    Event,
    EventQuery,
    Features,
    Generation,
    IndexEntry,
    ListQuery,
    Outcome,
    Page,
    Positions,
    SearchState,
)


class Ledger(Protocol):
    """Revisions of memories under gap-free sequence numbers for each project."""

    async def generation(self, project: str) -> Generation:
        """The index version the project's searches use. Raises ProjectNotFound."""
        ...

    async def commit(self, access: Access, change: Change) -> Commit:
        """Write a change; durable when it returns.

        Revisions get consecutive sequence numbers in commit order and strictly increasing times. Raises
        RevisionConflict, DuplicateText, OutcomeTaken (this request id was stored meanwhile), GenerationMoved (features
        were made for another generation), or MemoryNotFound for what lies outside the pin; then nothing was written.
        """
        ...

    async def outcome(self, access: Access, rpc: str, request_id: str) -> Outcome | None:
        """The answer stored under a request id of this principal in the last 24 hours."""
        ...

    async def memories(self, access: Access, ids: Sequence[str], as_of: int | None = None) -> Mapping[str, Memory]:
        """The memories among `ids` that are live (as of a sequence number), with their sources.

        Absent = deleted, never there, or outside the pin.
        """
        ...

    async def revisions(self, access: Access, named: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], Memory]:
        """Memories as they were at (id, revision); absent ones are left out."""
        ...

    async def latest(self, access: Access, memory_id: str) -> tuple[Memory, bool] | None:
        """The newest revision of a memory and whether it is live; None if there was never one inside the access."""
        ...

    async def repeats(self, access: Access, scope: Scope, text_keys: Sequence[str], now: int) -> Mapping[str, Memory]:
        """Live, unexpired memories of exactly this scope by the key of their text."""
        ...

    async def page(self, access: Access, query: ListQuery) -> Page:
        """List memories; see ListQuery."""
        ...

    async def matching(
        self, access: Access, scope: Scope, filter: Filter | None, as_of: int, limit: int
    ) -> Sequence[tuple[str, int]]:
        """(id, live revision) of memories that matched as of a sequence number and still live, by id, at most `limit`.

        A memory restored or added since then is not among them.
        """
        ...

    async def count(self, access: Access, scope: Scope, filter: Filter | None, as_of: int) -> int:
        """How many memories matched as of a sequence number."""
        ...

    async def pool(
        self,
        access: Access,
        scope: Scope,
        filter: Filter | None,
        ids: Sequence[str],
        generation: Generation,
        now: int,
        window: int = 2,
    ) -> Pool:
        """Live candidates among `ids` and their neighbours in the conversation up to `window` positions away.

        All rows lie inside access and scope and have not expired; `eligible` marks those inside the filter. Raises
        GenerationMoved when the project uses another generation by now.
        """
        ...

    async def snapshot(
        self, access: Access, scope: Scope, filter: Filter | None, generation: Generation, as_of: int, limit: int
    ) -> Pool | None:
        """All rows of a scope as of a sequence number, none marked as candidate; None if they are more than `limit`.

        Raises GenerationMoved.
        """
        ...

    async def features(self, access: Access, ids: Sequence[str], generation: Generation) -> Mapping[str, Features]:
        """Features of live memories."""
        ...

    async def search_state(self, access: Access, scope: Scope) -> SearchState:
        """What a search of the scope starts from. Speakers are empty without a scope id. Raises ProjectNotFound."""
        ...

    async def events(self, access: Access, query: EventQuery) -> Sequence[Event]:
        """Events in order of their sequence numbers."""
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

    async def positions(self, access: Access) -> Positions:
        """Where the project stands."""
        ...

    async def sequence_at(self, access: Access, time: int) -> int:
        """The last sequence number committed at or before a time in µs; 0 if none was."""
        ...

    # For the projector: the project's own work, under no pin.

    async def projects(self) -> Sequence[str]:
        """All projects."""
        ...

    async def pending(self, project: str, generation: Generation, limit: int) -> Sequence[str]:
        """Memories with changes the index has not been told of, oldest first."""
        ...

    async def pend_after(self, project: str, generation: Generation, seq: int) -> int:
        """Make everything changed after `seq` pending again. Returns how many rows were added."""
        ...

    async def entries(
        self, project: str, generation: Generation, ids: Sequence[str]
    ) -> tuple[Mapping[str, IndexEntry], Positions]:
        """What the index should hold of `ids` (absent = nothing), and where the project stood when that was read."""
        ...

    async def settle(self, project: str, generation: Generation, applied: Mapping[str, int], seq: int) -> Sequence[str]:
        """Clear what is pending up to `seq` for the memories whose live revision is still the applied one (0 = none).

        Returns the memories that moved meanwhile; they stay pending.
        """
        ...

    async def unfeatured(self, project: str, generation: Generation, limit: int) -> Sequence[Memory]:
        """Live memories without features in this generation."""
        ...

    async def live(self, project: str, after: str, limit: int) -> Sequence[tuple[str, int]]:
        """(id, revision) of live memories with ids above `after`, by id: what a complete index holds."""
        ...

    async def close(self) -> None:
        """Finish running transactions and let go of the engine."""
        ...
