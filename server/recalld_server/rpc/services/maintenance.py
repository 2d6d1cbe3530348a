"""The calls of ProjectService that start operations: RebuildIndex, ReembedProject and DeleteProject."""

from __future__ import annotations

from typing import Any

from google.longrunning import operations_pb2

from recalld.v1 import project_service_pb2 as pb
from recalld_server.domain.commands import ReindexCommand, encoded
from recalld_server.domain.errors import ProjectNotFound
from recalld_server.domain.memory import Access
from recalld_server.rpc.interceptors.auth import access
from recalld_server.rpc.parse.validate import check
from recalld_server.rpc.render import memory_protos
from recalld_server.rpc.render.operation_protos import OperationRenderer
from recalld_server.usecases.jobs.project_deletion import ProjectDeletion
from recalld_server.usecases.jobs.reindex import ReindexJob
from recalld_server.usecases.operations import OperationQueries
from recalld_server.usecases.reindex import request_of


class Maintenance:
    """Starts index builds and project deletions."""

    def __init__(
        self,
        operations: OperationQueries,
        build: ReindexJob,
        project_deletion: ProjectDeletion,
        renderer: OperationRenderer,
    ) -> None:
        self._operations = operations
        self._build = build
        self._project_deletion = project_deletion
        self._renderer = renderer

    async def rebuild(self, request: pb.RebuildIndexRequest) -> operations_pb2.Operation:
        """Start RebuildIndex. Raises ProjectNotFound, RequestIdReused."""
        check(request)
        return await self._start(ReindexCommand(), request)

    async def reembed(self, request: pb.ReembedProjectRequest) -> operations_pb2.Operation:
        """Start ReembedProject. Raises FieldInvalid for a model that this server lacks, ProjectNotFound."""
        check(request)
        self._build.embedder(request.model)
        return await self._start(ReindexCommand(request.model), request)

    async def delete(self, request: pb.DeleteProjectRequest) -> operations_pb2.Operation:
        """Start DeleteProject. Raises ProjectNotFound, RequestIdReused."""
        check(request)
        key = memory_protos.operation_key("DeleteProject", request)
        started = await self._project_deletion.start(access(), request.project_id, key)
        return await self._renderer.operation(started)

    async def _start(self, command: ReindexCommand, request: Any) -> operations_pb2.Operation:
        who, project = access(), request.project_id
        if project not in ("", who.project):
            raise ProjectNotFound(project=project)
        kind, key = request_of(command, request.request_id)
        started = await self._operations.start(
            Access(who.project, principal=who.principal),  # without the pin: the work concerns the whole project
            kind,
            key,
            subject=who.project,
            payload=encoded(command),
        )
        return await self._renderer.operation(started)
