"""Exports to a file: start one, wait for it, and read it in verified chunks. Interrupted exports can be resumed."""

from __future__ import annotations

import asyncio
import glob
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Unpack

import grpc
from google.longrunning import operations_pb2

from recalld import filters as grammar
from recalld import validation
from recalld.arguments import everything, new_request_id, scope
from recalld.channel import Connection, new_correlation_id, stubs
from recalld.errors import DeadlineExceeded, NotFound, RecalldError, Unavailable, from_rpc, from_status
from recalld.options import ScopeOptions
from recalld.v1 import export_service_pb2, operation_pb2
from recalld.v1.export_service_pb2 import CreateExportRequest, Export

Format = Literal["jsonl", "parquet"]
FORMATS = {
    "jsonl": export_service_pb2.EXPORT_FORMAT_JSONL,
    "parquet": export_service_pb2.EXPORT_FORMAT_PARQUET,
}
FAILURES = 8  # in a row, about 12 seconds: enough for a restart of the server
WAIT = 2  # seconds of one WaitOperation call
CALL = 30.0  # timeout of unary calls, in seconds


@dataclass(frozen=True, slots=True)
class ExportProgress:
    """Progress: `stage` is first "writing", in memories (total 0: unknown), then "reading", in bytes."""

    stage: Literal["writing", "reading"]
    completed: int
    total: int
    export_id: str


def request(
    format: str,
    with_history: bool,
    with_vectors: bool,
    filters: Mapping[str, Any] | None,
    **ids: Unpack[ScopeOptions],
) -> CreateExportRequest:
    """Create a CreateExportRequest. Raises InvalidRequest."""
    validation.choice(format, "format", tuple(FORMATS))
    asked = CreateExportRequest(
        format=FORMATS[format],
        with_history=validation.flag(with_history, "with_history"),
        with_vectors=validation.flag(with_vectors, "with_vectors"),
        request_id=new_request_id(),
    )
    if ids:
        asked.scope.CopyFrom(scope(**ids))
    if filters:
        asked.filter.CopyFrom(grammar.parse(filters))
    elif not ids:
        asked.filter.CopyFrom(everything())
    return asked


def run(
    stub: Callable[[str], Any],
    metadata: Callable[[str], Any],
    asked: CreateExportRequest,
    path: Path,
    *,
    resume: bool = False,
) -> Iterator[ExportProgress]:
    """Write the export to `path`. Raises RecalldError, OSError, or ValueError if a checksum does not match.

    `stub` returns the stub of a service by name.
    """
    calls = _Calls(stub, metadata)
    part, export = _begun(calls, asked, path) if resume else (None, Export())
    if part is None:
        operation = calls.unary(stub("ExportService").CreateExport, asked)
        part = path.with_name(f"{path.name}.{_metadata(operation).subject}{_ending(asked)}")
        part.touch()
        while not operation.done:
            yield _writing(operation)
            waiting = operations_pb2.WaitOperationRequest(name=operation.name, timeout={"seconds": WAIT})
            operation = calls.unary(stub("Operations").WaitOperation, waiting)
        yield _writing(operation)
        if operation.HasField("error"):
            part.unlink()
            raise from_status(operation.error)
        export = Export()
        operation.response.Unpack(export)
    while export.state == export_service_pb2.EXPORT_STATE_PENDING:
        yield ExportProgress("writing", 0, 0, export.export_id)
        time.sleep(WAIT / 4)
        export = _read(calls, export.export_id)
    yield from _fetched(calls, export, part)
    part.replace(path)


async def run_async(
    connection: Connection, asked: CreateExportRequest, path: Path, *, resume: bool = False
) -> AsyncIterator[ExportProgress]:
    """As `run`, in a thread, since file access blocks. It closes its own channel when the caller stops early."""
    channel = connection.channel()
    steps = run(stubs(channel).__getitem__, connection.metadata, asked, path, resume=resume)
    try:
        while (progress := await asyncio.to_thread(next, steps, None)) is not None:
            yield progress
    finally:
        channel.close()


def _begun(calls: _Calls, asked: CreateExportRequest, path: Path) -> tuple[Path | None, Export]:
    """The .part file and export of an earlier attempt with the same arguments, if the server still has the export."""
    for part in sorted(path.parent.glob(f"{glob.escape(path.name)}.*{_ending(asked)}")):
        try:
            export = _read(calls, part.name.removeprefix(f"{path.name}.").removesuffix(_ending(asked)))
        except NotFound:
            continue
        same = (export.format, export.scope, export.filter) == (asked.format, asked.scope, asked.filter)
        if same and export.state != export_service_pb2.EXPORT_STATE_FAILED:
            return part, export
    return None, Export()


def _ending(asked: CreateExportRequest) -> str:
    """The suffix of .part files. It encodes the options that an Export message does not contain."""
    return f"{'.history' if asked.with_history else ''}{'.vectors' if asked.with_vectors else ''}.part"


def _read(calls: _Calls, export_id: str) -> Export:
    wanted = export_service_pb2.GetExportRequest(export_id=export_id)
    found: Export = calls.unary(calls.stub("ExportService").GetExport, wanted).export
    return found


def _fetched(calls: _Calls, export: Export, part: Path) -> Iterator[ExportProgress]:
    """Read the bytes that the .part file lacks; yields progress after each chunk."""
    whole = hashlib.sha256()
    with part.open("r+b") as file:
        while data := file.read(1024 * 1024):
            whole.update(data)
        offset, failures = file.tell(), 0
        while offset < export.size_bytes:
            wanted = export_service_pb2.ReadExportRequest(export_id=export.export_id, offset=offset)
            correlation_id = new_correlation_id()
            call = calls.stub("ExportService").ReadExport(wanted, metadata=calls.metadata(correlation_id))
            try:
                for piece in call:
                    if piece.offset != offset or hashlib.sha256(piece.data).hexdigest() != piece.sha256:
                        raise ValueError(f"the chunk at byte {offset} has a wrong offset or SHA-256; resume the export")
                    file.write(piece.data)
                    whole.update(piece.data)
                    offset, failures = offset + len(piece.data), 0
                    yield ExportProgress("reading", offset, export.size_bytes, export.export_id)
            except grpc.RpcError as error:
                failures = calls.pause(from_rpc(error, correlation_id), failures)
            finally:
                call.cancel()
    if offset != export.size_bytes or whole.hexdigest() != export.sha256:
        part.unlink()
        raise ValueError("the exported file is damaged: size or SHA-256 differ from the server's; export it again")


@dataclass(frozen=True, slots=True)
class _Calls:
    """Unary calls with retries that bridge a restart of the server."""

    stub: Callable[[str], Any]
    metadata: Callable[[str], Any]

    def unary(self, rpc: Callable[..., Any], message: Any) -> Any:
        failures = 0
        while True:
            correlation_id = new_correlation_id()
            try:
                return rpc(message, timeout=CALL, metadata=self.metadata(correlation_id))
            except grpc.RpcError as error:
                failures = self.pause(from_rpc(error, correlation_id), failures)

    def pause(self, error: RecalldError, failures: int) -> int:
        """Wait before the next attempt and return the new count of failures. Raises `error` if it is final."""
        if not isinstance(error, Unavailable | DeadlineExceeded) or failures + 1 >= FAILURES:
            raise error
        time.sleep(min(3.0, 0.2 * 2**failures))
        return failures + 1


def _metadata(operation: Any) -> operation_pb2.OperationMetadata:
    found = operation_pb2.OperationMetadata()
    operation.metadata.Unpack(found)
    return found


def _writing(operation: Any) -> ExportProgress:
    known = _metadata(operation)
    return ExportProgress("writing", known.completed_count, known.total_count, known.subject)
