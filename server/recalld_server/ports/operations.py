"""The port of long-running work: it is written down before it begins, and claimed by one worker at a time.

Every method is one transaction and may raise LedgerUnavailable. Callers' methods take the access and see only work
started under a pin that lies inside theirs. Workers' methods take the operation as claimed; once another worker has
claimed it, or it has ended, they raise LeaseLost and change nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.operations import NewOperation, Operation, OperationKind, OperationState


class Operations(Protocol):
    """Work of all projects. Ended work is kept 24 hours."""

    async def create(self, access: Access, new: NewOperation) -> Operation:
        """Write work down as PENDING, or give what this principal started under the same request id.

        Of the kinds in BUILDS a project has one at a time: the same work is joined, other work raises WriteConflict.
        The deletion of a project is joined as well. Of each kind in QUEUED a project has a bound of work that has not
        ended, by count and by bytes of payload. Raises Overloaded beyond it, and RequestIdReused when the id came with
        another request.
        """
        ...

    async def get(self, access: Access, id: str) -> Operation:
        """Raises OperationNotFound."""
        ...

    async def page(self, access: Access, after: tuple[int, str] | None, limit: int) -> Sequence[Operation]:
        """Latest first; `after` is (create time, id) of the last one given."""
        ...

    async def cancel(self, access: Access, id: str) -> Operation:
        """What waits is CANCELLED at once; what runs is asked to stop; what ended stays, and so does a deletion.

        Raises OperationNotFound.
        """
        ...

    async def hide(self, access: Access, id: str) -> None:
        """Show it no more; the work goes on. Raises OperationNotFound."""
        ...

    async def waiting(self, project: str, scope: Scope) -> int:
        """Adds that have not ended and will store inside the scope: each id it has is theirs. For forgetting."""
        ...

    # For workers: the service's own work, under no pin.

    async def claim(
        self,
        seconds: float,
        kinds: Collection[OperationKind] = tuple(OperationKind),
        after: str | None = None,
        besides: Collection[str] = (),
    ) -> Operation | None:
        """Work of one of the kinds that waits, or whose lease has ended: now RUNNING with a new fencing number and a
        lease, and with its payload.

        With `after` projects take turns: it is the oldest of the first project after that one, in the order of their
        names and around the end, that has any; that project itself comes last. Without, it is what has waited longest,
        or that of the first project by name where the one that waited longest is in `besides`. Those are left out.
        """
        ...

    async def renew(self, held: Operation, seconds: float) -> bool:
        """Renew the lease. True when the work shall stop."""
        ...

    async def advance(self, held: Operation, checkpoint: Mapping[str, Any], completed: int, total: int) -> None:
        """Keep how far the work is."""
        ...

    async def finish(
        self, held: Operation, state: OperationState, *, result: Mapping[str, Any], error: Mapping[str, Any]
    ) -> None:
        """End the work for good and erase its payload. An export that ends here was not finished: its data goes."""
        ...

    async def release(self, held: Operation, seconds: float) -> None:
        """Give the work back, to be claimed in `seconds` at the earliest."""
        ...

    async def free(self) -> None:
        """End every lease. Only for a process that alone has the ledger, at its start."""
        ...

    async def sweep(self) -> int:
        """Drop what ended more than 24 hours ago, and exports whose time has come. Returns how many."""
        ...
