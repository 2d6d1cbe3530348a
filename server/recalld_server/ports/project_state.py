"""A part of the port of the ledger; ports.ledger says what holds of every method."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from recalld_server.domain.memory import Access
from recalld_server.domain.revision import (
    Generation,
    Positions,
)

T = TypeVar("T")


class ProjectState(Protocol):
    """The generation of a project, and where its sequence stands."""

    async def generation(self, project: str) -> Generation:
        """The index version the project's searches use. Raises ProjectNotFound."""
        ...

    async def projects(self) -> Sequence[str]:
        """All projects."""
        ...

    async def positions(self, access: Access) -> Positions:
        """Where the project stands."""
        ...

    async def ping(self) -> None:
        """Raises LedgerUnavailable where the ledger can't take changes: not there, damaged, its disk full."""
        ...
