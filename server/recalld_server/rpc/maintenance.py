"""The long-running work of ProjectService: RebuildIndex, ReembedProject and DeleteProject."""

from __future__ import annotations

from typing import Any

from google.longrunning import operations_pb2

from recalld.v1 import project_service_pb2 as pb
from recalld_server.domain.errors import ProjectNotFound
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import Operation, OperationKind
from recalld_server.rpc import convert
from recalld_server.rpc.interceptors.auth import access
from recalld_server.rpc.operation import Shown
from recalld_server.rpc.validate import check
from recalld_server.usecases.generations import Build
from recalld_server.usecases.operations import Follow
from recalld_server.usecases.removal import Removing


class Maintenance:
    """The two calls that build the index anew, and the one that deletes a project."""

    def __init__(self, follow: Follow, build: Build, removing: Removing, shown: Shown) -> None:
        self._follow = follow
        self._build = build
        self._removing = removing
        self._shown = shown

    async def rebuild(self, request: pb.RebuildIndexRequest) -> operations_pb2.Operation:
        """RebuildIndex."""
        check(request)
        return await self._start(OperationKind.REBUILD_INDEX, "RebuildIndex", request)

    async def reembed(self, request: pb.ReembedProjectRequest) -> operations_pb2.Operation:
        """ReembedProject."""
        check(request)
        self._build.embedder(request.model)
        return await self._start(OperationKind.REEMBED_PROJECT, "ReembedProject", request)

    async def delete(self, request: pb.DeleteProjectRequest) -> operations_pb2.Operation:
        """DeleteProject."""
        check(request)
        key = convert.operation_key("DeleteProject", request)
        started = await self._removing.start(access(), request.project_id, key)
        return await self._shown.operation(started)

    async def _start(self, kind: OperationKind, rpc: str, request: Any) -> operations_pb2.Operation:
        who = access()
        if request.project_id not in ("", who.project):
            raise ProjectNotFound(project=request.project_id)
        bare = type(request)()
        bare.CopyFrom(request)
        bare.project_id = ""  # the key's own, named or not, is the same request
        key = convert.operation_key(rpc, bare)
        started = await self._follow.start(
            Access(who.project, principal=who.principal),  # the whole project's work, whatever the key's pin
            kind,
            key,
            subject=who.project,
            payload=request.SerializeToString(),
        )
        return await self._shown.operation(started)


def model_of(held: Operation) -> str:
    """The model a re-embedding was asked for: its payload is the request it was started with."""
    return str(pb.ReembedProjectRequest.FromString(held.payload).model)
