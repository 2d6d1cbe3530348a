"""The port of leases, for background work that only one of the servers of a ledger may do at a time.

Every method is one transaction and may raise LedgerUnavailable. Each lease has a number, which is the fencing number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LeaseState:
    """The number of the last lease, the number of the last completed one, and the watermark that it stored.

    An event observed before `taken` was read happened before every lease with a higher number began.
    """

    taken: int = 0
    done: int = 0
    watermark: int = 0


class Leases(Protocol):
    """The leases of one kind of work."""

    async def state(self) -> LeaseState:
        """Return the state; all fields are 0 before the first lease."""
        ...

    async def acquire(self, seconds: float) -> int | None:
        """Acquire a lease for `seconds` by the clock of this server; return its number, None if another is running."""
        ...

    async def renew(self, number: int, seconds: float) -> None:
        """Extend the lease to `seconds` from now. Raises LeaseLost if a later lease was acquired."""
        ...

    async def release(self, number: int, watermark: int | None) -> None:
        """Release the lease. A watermark marks the work as completed, None as not completed. Raises LeaseLost."""
        ...

    async def free(self) -> None:
        """End a running lease. Only for a process with exclusive use of the ledger, at its start."""
        ...
