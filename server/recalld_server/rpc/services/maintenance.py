"""The long-running work of ProjectService: RebuildIndex, ReembedProject and DeleteProject."""

from __future__ import annotations

from google.longrunning import operations_pb2

from recalld.v1 import project_service_pb2 as pb
from recalld_server.domain.commands import ReindexCommand, encoded
from recalld_server.domain.errors import ProjectNotFound
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import OperationKind
from recalld_server.rpc.interceptors.auth import access
from recalld_server.rpc.parse.validate import check
from recalld_server.rpc.render import memory_protos
from recalld_server.rpc.render.operation_protos import OperationRenderer
from recalld_server.usecases.jobs.project_deletion import ProjectDeletion
from recalld_server.usecases.jobs.reindex import ReindexJob
from recalld_server.usecases.operations import OperationQueries
from recalld_server.usecases.reindex import Asked

BUILD_RPCS = {
    pb.RebuildIndexRequest: (OperationKind.REBUILD_INDEX, "RebuildIndex"),
    pb.ReembedProjectRequest: (OperationKind.REEMBED_PROJECT, "ReembedProject"),
}


class Maintenance:
    """The two calls that build the index anew, and the one that deletes a project."""

    def __init__(
        self, follow: OperationQueries, build: ReindexJob, removing: ProjectDeletion, shown: OperationRenderer
    ) -> None:
        self._follow = follow
        self._build = build
        self._removing = removing
        self._shown = shown

    async def rebuild(self, request: pb.RebuildIndexRequest) -> operations_pb2.Operation:
        """RebuildIndex."""
        return await self._start(build_of(request), request.project_id)

    async def reembed(self, request: pb.ReembedProjectRequest) -> operations_pb2.Operation:
        """ReembedProject."""
        asked = build_of(request)
        self._build.embedder(request.model)
        return await self._start(asked, request.project_id)

    async def delete(self, request: pb.DeleteProjectRequest) -> operations_pb2.Operation:
        """DeleteProject."""
        check(request)
        key = memory_protos.operation_key("DeleteProject", request)
        started = await self._removing.start(access(), request.project_id, key)
        return await self._shown.operation(started)

    async def _start(self, asked: Asked, project: str) -> operations_pb2.Operation:
        who = access()
        if project not in ("", who.project):
            raise ProjectNotFound(project=project)
        started = await self._follow.start(
            Access(who.project, principal=who.principal),  # the whole project's work, whatever the key's pin
            asked.kind,
            asked.request,
            subject=who.project,
            payload=encoded(asked.command),
        )
        return await self._shown.operation(started)


def build_of(request: pb.RebuildIndexRequest | pb.ReembedProjectRequest) -> Asked:
    """What a request asks for, whatever project it names: the same work is known by that. Raises FieldInvalid."""
    check(request)
    bare = type(request)()
    bare.CopyFrom(request)
    bare.project_id = ""
    kind, rpc = BUILD_RPCS[type(request)]
    command = ReindexCommand(getattr(request, "model", ""))
    return Asked(kind, memory_protos.operation_key(rpc, bare), command)
