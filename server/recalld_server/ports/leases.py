"""The port of turns: work that servers which share a ledger do one at a time, and need not all do.

Every method is one transaction and may raise LedgerUnavailable. Turns are numbered; the number is the fence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class LeaseState:
    """The numbers of the last turn that was taken and of the last that did its work, and what that one noted.

    What is found wrong when `taken` is read was seen by every turn with a higher number.
    """

    taken: int = 0
    done: int = 0
    note: int = 0


class Leases(Protocol):
    """Turns at one kind of work."""

    async def stand(self) -> LeaseState:
        """Where it stands; all 0 before the first turn."""
        ...

    async def take(self, seconds: float) -> int | None:
        """The number of a new turn, held for `seconds` by the clock of who takes it; None while another is held."""
        ...

    async def beat(self, number: int, seconds: float) -> None:
        """Hold it for longer. Raises LeaseLost when a later turn was taken."""
        ...

    async def end(self, number: int, note: int | None) -> None:
        """Let others take the next one. `note` stands for work done; None: it was not. Raises LeaseLost."""
        ...

    async def free(self) -> None:
        """End whatever turn is held. Only for a process that alone has the ledger, at its start."""
        ...
