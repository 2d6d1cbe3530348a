"""The port of project deletions: access ends at once, the data is deleted afterwards.

Every method is one transaction and may raise LedgerUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from recalld_server.domain.memory import Access
from recalld_server.domain.operations import NewOperation, Operation
from recalld_server.domain.revision import Generation


class ProjectDeletions(Protocol):
    """The removed projects. Their ids stay reserved."""

    async def begin(self, access: Access, new: NewOperation) -> Operation:
        """Remove the project `new.subject` and its API keys, and queue the operation that deletes its data.

        Returns the existing operation if one is running or was started under the same request id; queues a new one if
        it failed. Raises ProjectNotFound (also if its data is already deleted), RequestIdReused.
        """
        ...

    async def generations(self, project: str) -> Sequence[Generation]:
        """Return the generations of its index: the current one at its removal, and the one that was being built."""
        ...

    async def clear(self, project: str, limit: int) -> int:
        """Delete up to `limit` rows of the project; return their number, 0 if none are left."""
        ...

    async def end(self, project: str) -> bool:
        """Record that all data is deleted; return False, and record nothing, if some is left."""
        ...
