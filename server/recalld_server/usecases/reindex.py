"""Rebuilding and re-embedding, of one project or of all, written down on the ledger for its servers to do."""

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

PAGE = 1000  # projects
LOOK = 0.5  # seconds between looks at what is under way
WATCHED = 16  # the oldest, at a time: servers begin with them


RPCS = {OperationKind.REBUILD_INDEX: "RebuildIndex", OperationKind.REEMBED_PROJECT: "ReembedProject"}


def request_of(command: ReindexCommand, request_id: str = "") -> tuple[OperationKind, RequestKey]:
    """What kind of operation a command is, and the key by which the same command is known, whoever asks for it."""
    kind = OperationKind.REEMBED_PROJECT if command.model else OperationKind.REBUILD_INDEX
    return kind, RequestKey(RPCS[kind], request_id, hashlib.sha256(encoded(command)).hexdigest())


class ReindexRequests:
    """For who keeps the ledger, and so needs no key: whether a server runs or will be started later."""

    def __init__(self, projects: Projects, operations: Operations, clock: Clock, ids: Ids) -> None:
        self._projects = projects
        self._operations = operations
        self._clock = clock
        self._ids = ids

    async def start(self, command: ReindexCommand, project: str | None) -> Mapping[str, Operation | WriteConflict]:
        """The operation of each project; where another build is under way, that conflict. None: of all projects.

        Raises ProjectNotFound.
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
        """Each by its project, about when it ends; None if it is gone, perhaps with its project.

        Waits as long as that takes: for a server too, if none runs, and for a ledger that can't be reached.
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
        """As it stands, or as it was begun while the ledger can't be reached; None if it is gone."""
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
