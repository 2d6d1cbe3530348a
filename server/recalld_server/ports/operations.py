"""The port of operations: a durable queue of work, of which one worker at a time holds each operation.

Every method is one transaction and may raise LedgerUnavailable. Methods with an `access` see only operations that were
started under a pin inside the caller's pin. Methods with a `held` operation raise LeaseLost and change nothing if
another worker has claimed it since or it has ended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol

from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.operations import NewOperation, Operation, OperationKind, OperationState


class Operations(Protocol):
    """The operations of all projects. Ended operations are kept for 24 hours."""

    async def create(self, access: Access, new: NewOperation) -> Operation:
        """Store a PENDING operation, or return the one that this principal started under the same request id.

        A project has at most one unfinished operation of the kinds in BUILDS: the same request returns that operation,
        a different one raises WriteConflict. A running deletion of the project is returned as well. The unfinished
        operations of each kind in QUEUED are limited per project, by number and by bytes of payload.

        Raises WriteConflict, Overloaded (beyond the limit), RequestIdReused (the id was used for a different request).
        """
        ...

    async def get(self, access: Access, id: str) -> Operation:
        """Return an operation. Raises OperationNotFound."""
        ...

    async def page(self, access: Access, after: tuple[int, str] | None, limit: int) -> Sequence[Operation]:
        """Return up to `limit` operations, latest first; `after` is (create time in µs, id) of the last one seen."""
        ...

    async def cancel(self, access: Access, id: str) -> Operation:
        """Cancel a PENDING operation at once, or request a RUNNING one to stop.

        Does nothing to an ended operation or a project deletion. Raises OperationNotFound.
        """
        ...

    async def hide(self, access: Access, id: str) -> None:
        """Hide an operation from callers; its work continues. Raises OperationNotFound."""
        ...

    async def waiting(self, project: str, scope: Scope) -> int:
        """Count the unfinished adds whose scope has every id of `scope`. Used by ForgetMemories."""
        ...

    # For workers, without a pin

    async def claim(
        self,
        seconds: float,
        kinds: Collection[OperationKind] = tuple(OperationKind),
        after: str | None = None,
        besides: Collection[str] = (),
    ) -> Operation | None:
        """Claim an operation of one of the kinds that is PENDING or whose lease has expired; None if there is none.

        The operation is returned as RUNNING, with its payload, a new fencing number and a lease of `seconds`.
        Operations of the projects in `besides` are skipped.

        Without `after` it is the operation that has waited longest; if its project is in `besides`, it is the oldest of
        the first project by id. With `after` projects take turns: it is the oldest operation of the next project after
        that one in cyclic order of the ids; `after` itself comes last.
        """
        ...

    async def renew(self, held: Operation, seconds: float) -> bool:
        """Renew the lease. Returns True if the work should stop."""
        ...

    async def advance(self, held: Operation, checkpoint: Mapping[str, Any], completed: int, total: int) -> None:
        """Store the checkpoint and the progress."""
        ...

    async def finish(
        self, held: Operation, state: OperationState, *, result: Mapping[str, Any], error: Mapping[str, Any]
    ) -> None:
        """End the operation and erase its payload. Deletes the data of an export, which is incomplete in this case."""
        ...

    async def release(self, held: Operation, seconds: float) -> None:
        """Return the operation to the queue; it can be claimed after `seconds`."""
        ...

    async def free(self) -> None:
        """End every lease. Only for a process with exclusive use of the ledger, at its start."""
        ...

    async def sweep(self) -> int:
        """Delete operations that ended more than 24 hours ago, and expired exports; return the number of both."""
        ...
