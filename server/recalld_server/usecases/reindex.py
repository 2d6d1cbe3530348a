"""Reindex requests: queue the rebuild or the re-embedding of one or all projects in the ledger, and wait for it."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence

from recalld_server.domain.commands import ReindexCommand, encoded
from recalld_server.domain.errors import LedgerUnavailable, OperationNotFound, ProjectNotFound, WriteConflict
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import NewOperation, Operation, OperationKind
from recalld_server.domain.revision import RequestKey
from recalld_server.ports.clock import Clock, Ids
from recalld_server.ports.operations import Operations
from recalld_server.ports.projects import Projects

PAGE = 1000  # projects in one query
LOOK = 0.5  # seconds between polls of the operations
WATCHED = 16  # operations polled at a time, the oldest first: servers begin with these


RPCS = {OperationKind.REBUILD_INDEX: "RebuildIndex", OperationKind.REEMBED_PROJECT: "ReembedProject"}


def request_of(command: ReindexCommand, request_id: str = "") -> tuple[OperationKind, RequestKey]:
    """Return the operation kind of a command, and a request key that is the same for every caller of this command."""
    kind = OperationKind.REEMBED_PROJECT if command.model else OperationKind.REBUILD_INDEX
    return kind, RequestKey(RPCS[kind], request_id, hashlib.sha256(encoded(command)).hexdigest())


class ReindexRequests:
    """Queues reindex operations directly in the ledger, without an API key. A running or later server does the work."""

    def __init__(self, projects: Projects, operations: Operations, clock: Clock, ids: Ids) -> None:
        self._projects = projects
        self._operations = operations
        self._clock = clock
        self._ids = ids

    async def start(self, command: ReindexCommand, project: str | None) -> Mapping[str, Operation | WriteConflict]:
        """Queue the command for a project, or for all projects if None.

        Returns by project the operation, or the WriteConflict if another build is running. Raises ProjectNotFound.
        """
        kind, request = request_of(command)
        begun: dict[str, Operation | WriteConflict] = {}
        for name in await self._named(project):
            new = NewOperation(self._ids.memory(), kind, name, encoded(command), 0, request)
            try:
                begun[name] = await self._operations.create(Access(name), new)
            except WriteConflict as conflict:
                begun[name] = conflict
        return begun

    async def ended(self, begun: Sequence[Operation]) -> AsyncIterator[tuple[str, Operation | None]]:
        """Yield (project, operation) as the operations end; None instead of an operation that no longer exists.

        Waits without a time limit, even if no server is running or the ledger cannot be reached.
        """
        left = list(begun)
        while left:
            for operation in left[:WATCHED]:
                found = await self._found(operation)
                if found is None or found.state.ended:
                    left.remove(operation)
                    yield operation.access.project, found
            if left:
                await self._clock.sleep(LOOK)

    async def _found(self, operation: Operation) -> Operation | None:
        """Return the current operation, the given one if the ledger cannot be reached, None if it does not exist."""
        try:
            return await self._operations.get(operation.access, operation.id)
        except LedgerUnavailable:
            return operation
        except OperationNotFound:
            return None

    async def _named(self, project: str | None) -> Sequence[str]:
        names: list[str] = []
        while page := await self._projects.page(names[-1] if names else "", PAGE):
            names += [found.id for found in page]
        if project is None:
            return names
        if project not in names:
            raise ProjectNotFound(project=project)
        return [project]
