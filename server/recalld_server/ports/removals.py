"""The port of removed projects: gone for everybody at once, cleared away afterwards.

Every method is one transaction and may raise LedgerUnavailable.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from recalld_server.domain.memory import Access
from recalld_server.domain.operations import NewOperation, Operation
from recalld_server.domain.revision import Generation


class ProjectDeletions(Protocol):
    """Projects that were removed. Their ids stay known, so that none is given again."""

    async def begin(self, access: Access, new: NewOperation) -> Operation:
        """Take the project `new.subject` and its keys away, and write down the work that clears what it held.

        Gives the work that is under way, or was started under the same request id; begins it again where it failed.
        Raises ProjectNotFound (also for one that was cleared before), RequestIdReused.
        """
        ...

    async def generations(self, project: str) -> Sequence[Generation]:
        """The versions of its index: the one in use when it was removed, and the one that was being built."""
        ...

    async def clear(self, project: str, limit: int) -> int:
        """Delete up to `limit` rows of what it held; how many it were. None are left when it is 0."""
        ...

    async def end(self, project: str) -> bool:
        """Write down that nothing is left; False when something is."""
        ...
