"""Operations in protobuf: metadata, and the answer or error each kind ends with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any

from google.longrunning import operations_pb2
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2

from recalld.v1 import export_service_pb2, operation_pb2, project_service_pb2
from recalld_server.domain import errors
from recalld_server.domain.errors import ExportNotFound, RecalldError
from recalld_server.domain.exports import Export
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import Operation, OperationKind, OperationState
from recalld_server.rpc.render import memory_protos
from recalld_server.rpc.render.errors import status_of
from recalld_server.rpc.render.filter_protos import filter_pb

PREFIX = "operations/"

Answers = Callable[[Sequence[Operation]], Awaitable[Mapping[str, Message]]]  # of adds that have succeeded, by id
Exported = Callable[[Access, str], Awaitable[Export]]

TOGETHER, MESSAGES = 20, 100  # operations of a list whose answers are read at once, and messages of their adds


class OperationRenderer:
    """Shows operations. What an operation ended with is read where it is kept, never copied into the operation."""

    def __init__(self, added: Answers, exported: Exported) -> None:
        self._added = added
        self._exported = exported
        self._ended: dict[tuple[str, str], asyncio.Future[operations_pb2.Operation]] = {}

    async def operation(self, operation: Operation) -> operations_pb2.Operation:
        """An operation as google.longrunning has it. Who asks for one that has ended at the same time shares it."""
        if not operation.state.ended:
            return _shown(operation, None)
        key = (operation.access.project, operation.id)
        shared = self._ended.get(key)
        if shared is None:
            shared = self._ended[key] = asyncio.ensure_future(anext(self.several([operation])))
            shared.add_done_callback(lambda _: self._ended.pop(key))
        return await asyncio.shield(shared)

    async def several(self, operations: Sequence[Operation]) -> AsyncIterator[operations_pb2.Operation]:
        """Operations in order, made as they are taken."""
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
        """What it ended with; None if that is no longer kept."""
        if operation.kind is OperationKind.EXPORT:
            try:
                return export_pb(await self._exported(operation.access, operation.subject))
            except ExportNotFound:
                return None
        if operation.kind is OperationKind.DELETE_PROJECT:
            return project_service_pb2.DeleteProjectResponse()
        status = index_status_pb(operation.result)
        if operation.kind is OperationKind.REBUILD_INDEX:
            return project_service_pb2.RebuildIndexResponse(index_status=status)
        return project_service_pb2.ReembedProjectResponse(index_status=status)


def _groups(operations: Sequence[Operation]) -> Iterator[list[Operation]]:
    """Those whose answers fit into memory together."""
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
        shown.error.CopyFrom(_status(operation.error))
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
    """What is known of any operation."""
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
    """An export and what it was asked for, which is forgotten of one that was withdrawn."""
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


def index_status_pb(result: Mapping[str, Any]) -> project_service_pb2.IndexStatus:
    """The state of an index right after a switch, as its operation keeps it."""
    return project_service_pb2.IndexStatus(**result)


def _status(error: Mapping[str, Any]) -> status_pb2.Status:
    """The status of an error as domain.operations.described keeps it."""
    kind = getattr(errors, str(error.get("type")), None) if error.get("type") else None
    if not (isinstance(kind, type) and issubclass(kind, RecalldError)):
        return status_of(RuntimeError("see the log of the operation"), "")
    found = RecalldError.__new__(kind)
    RecalldError.__init__(found, error["message"], violations=[(f, t) for f, t in error["violations"]])
    found.metadata = dict(error["metadata"])
    return status_of(found, "")
