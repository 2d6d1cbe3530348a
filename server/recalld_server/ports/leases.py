"""The port of leases: background work that servers which share a ledger do one at a time.

Every method is one transaction and may raise LedgerUnavailable. Leases are numbered; the number is the fencing token.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LeaseState:
    """The number of the last lease, that of the last one whose work was done, and the watermark which that one left.

    A fault that was seen when `taken` was read was seen before every lease with a higher number began.
    """

    taken: int = 0
    done: int = 0
    watermark: int = 0


class Leases(Protocol):
    """The leases of one kind of work."""

    async def state(self) -> LeaseState:
        """All 0 before the first lease."""
        ...

    async def acquire(self, seconds: float) -> int | None:
        """A new lease of `seconds` by this server's clock; its number. None while another server holds one."""
        ...

    async def renew(self, number: int, seconds: float) -> None:
        """Hold the lease for `seconds` from now on. Raises LeaseLost if a later one was acquired."""
        ...

    async def release(self, number: int, watermark: int | None) -> None:
        """Give the lease up. A watermark says that the work was done, None that it was not. Raises LeaseLost."""
        ...

    async def free(self) -> None:
        """End any lease. Only a process that has the ledger to itself may do this, at its start."""
        ...
