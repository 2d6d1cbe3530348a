"""A part of the port of the ledger; ports.ledger says what holds of every method."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol, TypeVar

from recalld_server.domain.revision import (
    Expired,
)

T = TypeVar("T")


class RetentionQueue(Protocol):
    """Memories, history and outcomes that have outlived their time. No pin narrows any of it."""

    async def expired(
        self, now: int, without: Collection[str], after: tuple[int, str, str] | None, limit: int
    ) -> Sequence[Expired]:
        """Live memories outside `without` that expired at or before `now`, by place, after `after`, at most `limit`."""
        ...

    async def purge_outcomes(self, before: int, limit: int) -> int:
        """Drop at most `limit` of the answers stored at or before a time, the oldest. Returns how many."""
        ...

    async def retentions(self) -> Mapping[str, int]:
        """The projects that keep their history for a limited time, and for how long, µs."""
        ...

    async def retention(self, project: str) -> int | None:
        """How long history is kept, µs; None for good. Raises ProjectNotFound."""
        ...

    async def trim(self, project: str, before: int, limit: int) -> bool:
        """Drop what was current only until before a time, at most `limit` revisions of it; True if more is left.

        Positions.oldest rises first, so nobody takes what is left for the whole. What the index was not told of stays.
        """
        ...
