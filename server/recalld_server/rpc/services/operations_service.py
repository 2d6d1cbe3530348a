"""google.longrunning.Operations: checks each request, converts it, calls the use case and converts the result."""

from __future__ import annotations

from typing import Any

from google.longrunning import operations_pb2 as pb
from google.longrunning import operations_pb2_grpc
from google.protobuf.empty_pb2 import Empty

from recalld_server.domain.errors import OperationNotFound, RoleInsufficient
from recalld_server.domain.page_tokens import Tokens
from recalld_server.rpc.interceptors.auth import access, caller
from recalld_server.rpc.parse.validate import check
from recalld_server.rpc.render import paging
from recalld_server.rpc.render.operation_protos import PREFIX, OperationRenderer
from recalld_server.rpc.roles import ENDING
from recalld_server.usecases.operations import OperationQueries

LONGEST_WAIT = 60.0  # seconds; the default for a request without a timeout
SPARE = 0.05  # seconds before the caller's deadline at which a wait ends, so that the answer arrives in time


class OperationsService(operations_pb2_grpc.OperationsServicer):  # type: ignore[misc]
    """The standard service for long-running work. A caller sees the operations that its own access started."""

    def __init__(self, operations: OperationQueries, renderer: OperationRenderer, tokens: Tokens) -> None:
        self._operations = operations
        self._renderer = renderer
        self._tokens = tokens

    async def ListOperations(self, request: pb.ListOperationsRequest, context: Any) -> pb.ListOperationsResponse:
        check(request)
        who = access()
        bound = paging.binding("ListOperations", who, request)
        after = tuple(self._tokens.open_page(request.page_token, bound)) if request.page_token else None
        found, more = await self._operations.page(who, after, paging.size(request.page_size))
        page = paging.Page[pb.Operation]()
        async for operation in self._renderer.several(found):  # renders lazily: no more than fit on the page
            if not page.take(operation):
                break
        last = page.last(found, more)
        token = self._tokens.page(bound, [last.create_time, last.id]) if last else ""
        return pb.ListOperationsResponse(operations=page.messages, next_page_token=token)

    async def GetOperation(self, request: pb.GetOperationRequest, context: Any) -> pb.Operation:
        check(request)
        return await self._renderer.operation(await self._operations.get(access(), _id(request.name)))

    async def DeleteOperation(self, request: pb.DeleteOperationRequest, context: Any) -> Empty:
        check(request)
        await self._operations.delete(access(), await self._own(request.name))
        return Empty()

    async def CancelOperation(self, request: pb.CancelOperationRequest, context: Any) -> Empty:
        check(request)
        await self._operations.cancel(access(), await self._own(request.name))
        return Empty()

    async def WaitOperation(self, request: pb.WaitOperationRequest, context: Any) -> pb.Operation:
        check(request)
        seconds = LONGEST_WAIT
        if request.HasField("timeout"):
            seconds = request.timeout.seconds + request.timeout.nanos / 1e9
        left = context.time_remaining()
        if left is not None:
            seconds = min(seconds, max(0.0, left - SPARE))
        return await self._renderer.operation(await self._operations.wait(access(), _id(request.name), seconds))

    async def _own(self, name: str) -> str:
        """The id of an operation that the caller may end. Raises OperationNotFound, RoleInsufficient."""
        rule, key = ENDING[(await self._operations.get(access(), _id(name))).kind], caller()
        if key is None or not rule.admits(key):
            raise RoleInsufficient(role=key.role.name if key else "", needed=rule.needed)
        return _id(name)


def _id(name: str) -> str:
    id = name.removeprefix(PREFIX)
    if id == name or not id:
        raise OperationNotFound("The name of an operation has the form operations/{id}.", operation=name[:100])
    return id
