"""A part of the port of the ledger; ports.ledger says what holds of every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol, TypeVar

from recalld_server.domain.memory import Access, Memory
from recalld_server.domain.revision import (
    Change,
    Commit,
    Outcome,
)
from recalld_server.ports.project_state import ProjectState

T = TypeVar("T")


class CommitLog(ProjectState, Protocol):
    """The changes of a project under gap-free sequence numbers, and the outcomes that answer repeated requests."""

    async def commit(self, access: Access, change: Change) -> Commit:
        """Write a change; durable when it returns.

        Revisions get consecutive sequence numbers in commit order and strictly increasing times. Raises
        RevisionConflict, DuplicateText, OutcomeTaken (this request id was stored meanwhile), GenerationMoved (features
        were made for another generation), or MemoryNotFound for what lies outside the pin; then nothing was written.
        A history is a RevisionConflict when there was ever a memory with its id.
        """
        ...

    async def outcomes(self, access: Access, rpc: str, request_ids: Sequence[str]) -> Mapping[str, Outcome]:
        """As `outcome`, of many requests at once, by request id: those that have one."""
        ...

    async def outcome(self, access: Access, rpc: str, request_id: str) -> Outcome | None:
        """The answer stored under a request id of this principal in the last 24 hours."""
        ...

    async def repeats(
        self, access: Access, texts: Sequence[tuple[str, str]], now: int
    ) -> Mapping[tuple[str, str], Memory]:
        """Live, unexpired memories by (scope key, text key): those of exactly that scope with that text."""
        ...

    async def outside(self, access: Access, ids: Sequence[str], add_ids: Sequence[str]) -> frozenset[str]:
        """Which of these ids of memories and adds belong to what lies outside the pin; none without a pin.

        For importers alone, who bring ids of their own. That one is taken is all a caller may learn of it.
        """
        ...
