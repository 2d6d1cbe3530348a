"""ExportService: checks each request, converts it, calls the use case and converts the result."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from google.longrunning import operations_pb2

from recalld.v1 import export_service_pb2 as pb
from recalld.v1 import export_service_pb2_grpc
from recalld_server.domain.commands import ExportCommand, Format
from recalld_server.domain.errors import ExportWithdrawn, MemoryNotFound, NotYetAvailable
from recalld_server.domain.exports import ExportState
from recalld_server.domain.page_tokens import Tokens
from recalld_server.domain.steps import once
from recalld_server.rpc.interceptors.auth import access
from recalld_server.rpc.parse.commands import filter_given
from recalld_server.rpc.parse.requests import parsed
from recalld_server.rpc.parse.validate import check
from recalld_server.rpc.render import memory_protos, paging
from recalld_server.rpc.render.memory_protos import request_key
from recalld_server.rpc.render.operation_protos import OperationRenderer, export_pb, rendered_export
from recalld_server.usecases.exports import ExportRequests

FORMATS = {pb.EXPORT_FORMAT_JSONL: Format.JSONL, pb.EXPORT_FORMAT_PARQUET: Format.PARQUET}


class ExportService(export_service_pb2_grpc.ExportServiceServicer):
    """See export_service.proto."""

    def __init__(self, exports: ExportRequests, renderer: OperationRenderer, tokens: Tokens) -> None:
        self._exports = exports
        self._renderer = renderer
        self._tokens = tokens

    async def CreateExport(self, request: pb.CreateExportRequest, context: Any) -> operations_pb2.Operation:
        key, condition = await parsed(
            request, once(lambda: (memory_protos.operation_key("CreateExport", request), filter_given(request)))
        )
        if request.json_schema:
            raise NotYetAvailable
        who = access()
        scope = memory_protos.scope_of(request.scope).narrowed(who.pin)
        if scope is None:
            raise MemoryNotFound("The scope is outside the pin of this API key.")
        command = ExportCommand(
            scope=scope,
            filter=condition,
            format=FORMATS[request.format],
            with_history=request.with_history,
            with_vectors=request.with_vectors,
        )
        started = await self._exports.start(who, command, key)
        return await self._renderer.operation(started)

    async def GetExport(self, request: pb.GetExportRequest, context: Any) -> pb.GetExportResponse:
        check(request)
        if request.export_id:
            export = await self._exports.get(access(), request.export_id)
        else:
            scope = memory_protos.scope_of(request.scope)
            export = await self._exports.latest(access(), scope.narrowed(access().pin) or scope)
        if export.state is ExportState.WITHDRAWN:
            raise ExportWithdrawn(export_id=export.id)
        return pb.GetExportResponse(export=await rendered_export(export))

    async def ListExports(self, request: pb.ListExportsRequest, context: Any) -> pb.ListExportsResponse:
        check(request)
        who = access()
        bound = paging.binding("ListExports", who, request)
        after = tuple(self._tokens.open_page(request.page_token, bound)) if request.page_token else None
        found, more = await self._exports.page(who, after, paging.size(request.page_size))
        page = await paging.filled(found, export_pb)
        last = page.last(found, more)
        token = self._tokens.page(bound, [last.create_time, last.id]) if last else ""
        return pb.ListExportsResponse(exports=page.messages, next_page_token=token)

    async def DeleteExport(self, request: pb.DeleteExportRequest, context: Any) -> pb.DeleteExportResponse:
        check(request)
        await self._exports.delete(access(), request.export_id, request_key("DeleteExport", request))
        return pb.DeleteExportResponse()

    async def ReadExport(self, request: pb.ReadExportRequest, context: Any) -> AsyncIterator[pb.ReadExportResponse]:
        check(request)
        async for piece in self._exports.read(access(), request.export_id, request.offset):
            yield pb.ReadExportResponse(
                data=piece.data, offset=piece.offset, sha256=piece.sha256, total_size_bytes=piece.total
            )
