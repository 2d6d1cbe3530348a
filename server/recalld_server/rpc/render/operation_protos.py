"""Converts operations and exports to protobuf, with the metadata and the response or error of an operation."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

from recalld.v1 import export_service_pb2, operation_pb2, project_service_pb2
from recalld_server.concurrency.time_slices import LARGE, sliced
from recalld_server.domain import errors
from recalld_server.domain.errors import ExportNotFound, RecalldError
from recalld_server.domain.exports import Export
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import Operation, OperationKind, OperationState
from recalld_server.domain.steps import once
from recalld_server.rpc.render import memory_protos
from recalld_server.rpc.render.errors import failed_operation, status_of
from recalld_server.rpc.render.filter_protos import filter_pb

PREFIX = "operations/"

Answers = Callable[[Sequence[Operation]], Awaitable[Mapping[str, Message]]]  # the responses of succeeded adds, by id
Exported = Callable[[Access, str], Awaitable[Export]]

TOGETHER, MESSAGES = 20, 100  # operations whose responses are read in one batch, and the messages of their adds


class OperationRenderer:
    """Converts operations. It reads a response from where the result is stored; operations hold no copy of it."""

    def __init__(self, added: Answers, exported: Exported) -> None:
        self._added = added
        self._exported = exported
        self._ended: dict[tuple[str, str], asyncio.Future[operations_pb2.Operation]] = {}

    async def operation(self, operation: Operation) -> operations_pb2.Operation:
        """Convert one operation. Concurrent requests for the same ended operation share the work."""
        if not operation.state.ended:
            return _shown(operation, None)
        key = (operation.access.project, operation.id)
        shared = self._ended.get(key)
        if shared is None:
            shared = self._ended[key] = asyncio.ensure_future(anext(self.several([operation])))
            shared.add_done_callback(lambda _: self._ended.pop(key))
        return await asyncio.shield(shared)

    async def several(self, operations: Sequence[Operation]) -> AsyncIterator[operations_pb2.Operation]:
        """Yield the converted operations in order, lazily."""
        for some in _groups(operations):
            succeeded = [operation for operation in some if operation.state is OperationState.SUCCEEDED]
            adds = [operation for operation in succeeded if operation.kind is OperationKind.ADD]
            answers = await self._added(adds) if adds else {}
            for operation in some:
                ended_with = answers.get(operation.id)
                if operation in succeeded and operation.kind is not OperationKind.ADD:
                    ended_with = await self._response(operation)
                yield _shown(operation, ended_with)

    async def _response(self, operation: Operation) -> Message | None:
        """The response of a succeeded operation other than an add; None if it is no longer kept."""
        if operation.kind is OperationKind.EXPORT:
            try:
                return await rendered_export(await self._exported(operation.access, operation.subject))
            except ExportNotFound:
                return None
        if operation.kind is OperationKind.DELETE_PROJECT:
            return project_service_pb2.DeleteProjectResponse()
        status = index_status_pb(operation.result)
        if operation.kind is OperationKind.REBUILD_INDEX:
            return project_service_pb2.RebuildIndexResponse(index_status=status)
        return project_service_pb2.ReembedProjectResponse(index_status=status)


def _groups(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Split operations into groups whose responses fit into memory together."""
    group: list[Operation] = []
    for operation in operations:
        if len(group) == TOGETHER or (group and sum(one.total for one in [*group, operation]) > MESSAGES):
            yield group
            group = []
        group.append(operation)
    if group:
        yield group


def _shown(operation: Operation, response: Message | None) -> operations_pb2.Operation:
    shown = operations_pb2.Operation(name=PREFIX + operation.id, done=operation.state.ended)
    metadata = metadata_pb(operation)
    if operation.state is OperationState.FAILED:
        shown.error.CopyFrom(_status(operation))
    elif operation.state is OperationState.CANCELLED:
        shown.error.CopyFrom(status_pb2.Status(code=code_pb2.CANCELLED, message="The operation was cancelled."))
    elif operation.state is OperationState.SUCCEEDED and response is None:
        metadata.response_gone = True
        shown.response.SetInParent()
    elif response is not None:
        shown.response.Pack(response)
    shown.metadata.Pack(metadata)
    return shown


def metadata_pb(operation: Operation) -> operation_pb2.OperationMetadata:
    """Convert the metadata that operations of all kinds have."""
    return operation_pb2.OperationMetadata(
        kind=f"OPERATION_KIND_{operation.kind.value}",
        state=f"OPERATION_STATE_{operation.state.value}",
        subject=operation.subject,
        create_time=memory_protos.timestamp_pb(operation.create_time),
        start_time=memory_protos.timestamp_pb(operation.start_time) if operation.start_time else None,
        update_time=memory_protos.timestamp_pb(operation.update_time),
        end_time=memory_protos.timestamp_pb(operation.end_time) if operation.end_time else None,
        completed_count=operation.completed,
        total_count=operation.total,
        attempt=operation.attempt,
        cancel_requested=operation.cancel_requested,
    )


def export_pb(export: Export) -> export_service_pb2.Export:
    """Convert an export and its request. A withdrawn export has no request any more: format and filter stay unset."""
    shown = export_service_pb2.Export(
        export_id=export.id,
        state=f"EXPORT_STATE_{export.state.value}",
        format=f"EXPORT_FORMAT_{export.command.format.value if export.command else 'UNSPECIFIED'}",
        sequence=export.seq,
        memory_count=export.memories,
        size_bytes=export.size,
        sha256=export.sha256,
        create_time=memory_protos.timestamp_pb(export.create_time),
        expire_time=memory_protos.timestamp_pb(export.expire_time) if export.expire_time else None,
    )
    for name, value in export.scope.items():
        setattr(shown.scope, name, value)
    if export.command and export.command.filter is not None:
        shown.filter.CopyFrom(filter_pb(export.command.filter))
    return shown


async def rendered_export(export: Export) -> export_service_pb2.Export:
    """`export_pb`, away from the event loop if the export has a filter, which may be large."""
    filtered = export.command is not None and export.command.filter is not None
    return await sliced(once(lambda: export_pb(export)), LARGE + 1 if filtered else 0)


def index_status_pb(result: Mapping[str, Any]) -> project_service_pb2.IndexStatus:
    """Convert the index status that an operation stored right after its generation switch."""
    return project_service_pb2.IndexStatus(**result)


def _status(operation: Operation) -> status_pb2.Status:
    """The status of the error that `domain.operations.described` stored."""
    error = operation.error
    kind = getattr(errors, str(error.get("type")), None) if error.get("type") else None
    if not (isinstance(kind, type) and issubclass(kind, RecalldError)):
        return failed_operation(operation.id)
    found = RecalldError.__new__(kind)
    RecalldError.__init__(found, error["message"], violations=[(f, t) for f, t in error["violations"]])
    found.metadata = dict(error["metadata"])
    return status_of(found, "")
