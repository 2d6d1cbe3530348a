"""The checks of the requests about exports, index builds and operations; see `checks.py`."""

from __future__ import annotations

from collections.abc import Iterator

from google.longrunning import operations_pb2

from recalld.v1 import export_service_pb2 as pb
from recalld_server.rpc.parse.checks import Check, Violation, check_page, check_request_id, check_scope_or_filter


def check_create_export(request: pb.CreateExportRequest, prefix: str) -> Iterator[Violation]:
    yield from check_scope_or_filter(request, prefix)
    if not request.json_schema and request.format == pb.EXPORT_FORMAT_UNSPECIFIED:
        yield Violation(f"{prefix}format", "must be JSONL or PARQUET, or json_schema must be set")
    yield from check_request_id(request, prefix)


def check_get_export(request: pb.GetExportRequest, prefix: str) -> Iterator[Violation]:
    if bool(request.export_id) == request.HasField("scope"):
        yield Violation(f"{prefix}export_id", "must be set if scope is not, and must be empty if scope is set")


def check_read_export(request: pb.ReadExportRequest, prefix: str) -> Iterator[Violation]:
    if request.offset < 0:
        yield Violation(f"{prefix}offset", "must not be negative")


def check_operations(request: operations_pb2.ListOperationsRequest, prefix: str) -> Iterator[Violation]:
    if request.name not in ("", "operations"):
        yield Violation(f"{prefix}name", "must be empty or `operations`")
    if request.filter:
        yield Violation(f"{prefix}filter", "must be empty: ListOperations does not support filters")
    yield from check_page(request, prefix)


def check_wait(request: operations_pb2.WaitOperationRequest, prefix: str) -> Iterator[Violation]:
    if request.timeout.seconds + request.timeout.nanos / 1e9 < 0:
        yield Violation(f"{prefix}timeout", "must not be negative")


OPERATION_CHECKS: dict[str, Check] = {
    "google.longrunning.ListOperationsRequest": check_operations,
    "google.longrunning.WaitOperationRequest": check_wait,
    "recalld.v1.CreateExportRequest": check_create_export,
    "recalld.v1.GetExportRequest": check_get_export,
    "recalld.v1.ListExportsRequest": check_page,
    "recalld.v1.DeleteExportRequest": check_request_id,
    "recalld.v1.ReadExportRequest": check_read_export,
    "recalld.v1.RebuildIndexRequest": check_request_id,
    "recalld.v1.ReembedProjectRequest": check_request_id,
}
