"""Deleting a project: everybody loses it at once, then what it held is cleared away."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recalld_server.domain.errors import FieldInvalid
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import NewOperation, Operation, OperationKind
from recalld_server.domain.projects import DEFAULT_PROJECT
from recalld_server.domain.revision import RequestKey
from recalld_server.ports.clock import Ids
from recalld_server.ports.index import Index
from recalld_server.ports.operations import Operations
from recalld_server.ports.removals import ProjectDeletions
from recalld_server.usecases.erasure import Erasure
from recalld_server.usecases.work_signal import WorkSignal

ROWS = 2_000  # in one transaction


class ProjectDeletion:
    """The use case behind DeleteProject."""

    def __init__(self, removals: ProjectDeletions, signal: WorkSignal, ids: Ids) -> None:
        self._removals = removals
        self._signal = signal
        self._ids = ids

    async def start(self, access: Access, project: str, request: RequestKey) -> Operation:
        """Take the project away and have it cleared. Raises ProjectNotFound, FieldInvalid, RequestIdReused."""
        if project == DEFAULT_PROJECT:
            text = f"the project {DEFAULT_PROJECT} is always there"
            raise FieldInvalid.at("project_id", text)
        new = NewOperation(self._ids.memory(), OperationKind.DELETE_PROJECT, project, request=request)
        operation = await self._removals.begin(access, new)
        self._signal.add()
        self._signal.recheck(project)  # its work has lost its lease
        return operation


class ProjectDeletionJob:
    """Clears a removed project away: its rows and its index. Goes on wherever it was.

    What the engines' files keep of both is cleared in the background afterwards.
    """

    def __init__(self, removals: ProjectDeletions, operations: Operations, index: Index, erasure: Erasure) -> None:
        self._removals = removals
        self._operations = operations
        self._index = index
        self._erasure = erasure

    async def run(self, held: Operation) -> Mapping[str, Any]:
        """See worker.Job. Raises LeaseLost, IndexUnavailable."""
        project, done = held.subject, held.completed
        while True:
            while rows := await self._removals.clear(project, ROWS):
                done += rows
                await self._operations.advance(held, {}, done, 0)
            # After the rows: whoever still applies a change finds that the project is gone, and drops what it put.
            for generation in await self._removals.generations(project):
                await self._index.drop(project, generation)
            if await self._removals.end(project):
                self._erasure.request()
                return {}
