"""DeleteProject: access to the project ends at once, then a job deletes its data."""

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
        """End access to the project and queue the deletion of its data.

        Raises ProjectNotFound, FieldInvalid (the default project), RequestIdReused.
        """
        if project == DEFAULT_PROJECT:
            text = f"must not be {DEFAULT_PROJECT}, which cannot be deleted"
            raise FieldInvalid.at("project_id", text)
        new = NewOperation(self._ids.memory(), OperationKind.DELETE_PROJECT, project, request=request)
        operation = await self._removals.begin(access, new)
        self._signal.add()
        self._signal.recheck(project)  # operations of the project have lost their leases
        return operation


class ProjectDeletionJob:
    """Deletes the rows and the index of a removed project. A new attempt continues where the last one stopped.

    Afterwards the background erasure clears the remains in the files of the engines.
    """

    def __init__(self, removals: ProjectDeletions, operations: Operations, index: Index, erasure: Erasure) -> None:
        self._removals = removals
        self._operations = operations
        self._index = index
        self._erasure = erasure

    async def run(self, held: Operation) -> Mapping[str, Any]:
        """Delete the data of the project; see background.worker.Job. Raises LeaseLost, IndexUnavailable."""
        project, done = held.subject, held.completed
        while True:
            while rows := await self._removals.clear(project, ROWS):
                done += rows
                await self._operations.advance(held, {}, done, 0)
            # After the rows: a writer that is still applying a change then finds that the project is gone, and drops
            # the entries it wrote.
            for generation in await self._removals.generations(project):
                await self._index.drop(project, generation)
            if await self._removals.end(project):
                self._erasure.request()
                return {}
