"""Converts domain errors to gRPC statuses (AIP-193). TABLE gives the code and the reason of each error."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from google.rpc import error_details_pb2, status_pb2
from grpc import StatusCode

from recalld_server.domain import errors as e

log = logging.getLogger(__name__)

DOMAIN = "recalld"
RETRY = Duration(seconds=1)
# Error details are sent in trailers, base64-encoded, and gRPC clients accept at most 8 KiB of trailers.
MESSAGE_BYTES, VALUE_BYTES, LIST_BYTES = 300, 256, 2500


class ShuttingDown(e.RecalldError):
    """This server is stopping; try again shortly."""


TABLE: dict[type[e.RecalldError], tuple[StatusCode, str]] = {
    e.FieldInvalid: (StatusCode.INVALID_ARGUMENT, "FIELD_INVALID"),
    e.FilterInvalid: (StatusCode.INVALID_ARGUMENT, "FILTER_INVALID"),
    e.ScopeMissing: (StatusCode.INVALID_ARGUMENT, "SCOPE_MISSING"),
    e.QueryEmpty: (StatusCode.INVALID_ARGUMENT, "QUERY_EMPTY"),
    e.TextInvalid: (StatusCode.INVALID_ARGUMENT, "TEXT_INVALID"),
    e.LimitExceeded: (StatusCode.INVALID_ARGUMENT, "LIMIT_EXCEEDED"),
    e.VectorInvalid: (StatusCode.INVALID_ARGUMENT, "VECTOR_INVALID"),
    e.RequestMalformed: (StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED"),
    e.PageTokenInvalid: (StatusCode.INVALID_ARGUMENT, "PAGE_TOKEN_INVALID"),
    e.ResumeTokenInvalid: (StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID"),
    e.ConsistencyTokenInvalid: (StatusCode.INVALID_ARGUMENT, "CONSISTENCY_TOKEN_INVALID"),
    e.RequestIdReused: (StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED"),
    e.ConsistencyTokenForeign: (StatusCode.FAILED_PRECONDITION, "CONSISTENCY_TOKEN_FOREIGN"),
    e.MemoryNotFound: (StatusCode.NOT_FOUND, "MEMORY_NOT_FOUND"),
    e.RevisionNotFound: (StatusCode.NOT_FOUND, "REVISION_NOT_FOUND"),
    e.EntityNotFound: (StatusCode.NOT_FOUND, "ENTITY_NOT_FOUND"),
    e.ProjectNotFound: (StatusCode.NOT_FOUND, "PROJECT_NOT_FOUND"),
    e.KeyNotFound: (StatusCode.NOT_FOUND, "KEY_NOT_FOUND"),
    e.OperationNotFound: (StatusCode.NOT_FOUND, "OPERATION_NOT_FOUND"),
    e.ExportNotFound: (StatusCode.NOT_FOUND, "EXPORT_NOT_FOUND"),
    e.ExportWithdrawn: (StatusCode.FAILED_PRECONDITION, "EXPORT_WITHDRAWN"),
    e.MemoryImmutable: (StatusCode.FAILED_PRECONDITION, "MEMORY_IMMUTABLE"),
    e.MemoryNotDeleted: (StatusCode.FAILED_PRECONDITION, "MEMORY_NOT_DELETED"),
    e.MemoryExists: (StatusCode.ALREADY_EXISTS, "MEMORY_EXISTS"),
    e.ProjectExists: (StatusCode.ALREADY_EXISTS, "PROJECT_EXISTS"),
    e.EtagMismatch: (StatusCode.ABORTED, "ETAG_MISMATCH"),
    e.CountMismatch: (StatusCode.ABORTED, "COUNT_MISMATCH"),
    e.WriteConflict: (StatusCode.ABORTED, "WRITE_CONFLICT"),
    e.RevisionConflict: (StatusCode.ABORTED, "WRITE_CONFLICT"),
    e.DuplicateText: (StatusCode.ABORTED, "WRITE_CONFLICT"),
    e.GenerationMoved: (StatusCode.ABORTED, "WRITE_CONFLICT"),
    e.LeaseLost: (StatusCode.ABORTED, "WRITE_CONFLICT"),
    e.OutcomeTaken: (StatusCode.ABORTED, "WRITE_CONFLICT"),
    e.HistoryTrimmed: (StatusCode.OUT_OF_RANGE, "HISTORY_TRIMMED"),
    e.WatchTooSlow: (StatusCode.RESOURCE_EXHAUSTED, "WATCH_TOO_SLOW"),
    e.AsOfFuture: (StatusCode.OUT_OF_RANGE, "AS_OF_FUTURE"),
    e.AsOfNeedsScope: (StatusCode.FAILED_PRECONDITION, "AS_OF_NEEDS_SCOPE"),
    e.AsOfTooWide: (StatusCode.FAILED_PRECONDITION, "AS_OF_TOO_WIDE"),
    e.KeyMissing: (StatusCode.UNAUTHENTICATED, "KEY_MISSING"),
    e.KeyInvalid: (StatusCode.UNAUTHENTICATED, "KEY_INVALID"),
    e.KeyExpired: (StatusCode.UNAUTHENTICATED, "KEY_EXPIRED"),
    e.KeyRevoked: (StatusCode.UNAUTHENTICATED, "KEY_REVOKED"),
    e.OriginRefused: (StatusCode.PERMISSION_DENIED, "ORIGIN_REFUSED"),
    e.RoleInsufficient: (StatusCode.PERMISSION_DENIED, "ROLE_INSUFFICIENT"),
    e.Overloaded: (StatusCode.RESOURCE_EXHAUSTED, "OVERLOADED"),
    e.RateLimited: (StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED"),
    e.StreamLimit: (StatusCode.RESOURCE_EXHAUSTED, "STREAM_LIMIT"),
    e.ReadTooCostly: (StatusCode.RESOURCE_EXHAUSTED, "READ_TOO_COSTLY"),
    e.IndexBehind: (StatusCode.UNAVAILABLE, "INDEX_BEHIND"),
    e.IndexLost: (StatusCode.UNAVAILABLE, "INDEX_BEHIND"),
    e.IndexUnavailable: (StatusCode.UNAVAILABLE, "INDEX_UNAVAILABLE"),
    e.LedgerUnavailable: (StatusCode.UNAVAILABLE, "LEDGER_UNAVAILABLE"),
    e.EmbedderUnavailable: (StatusCode.UNAVAILABLE, "EMBEDDER_UNAVAILABLE"),
    e.ExtractorFailed: (StatusCode.UNAVAILABLE, "EXTRACTOR_FAILED"),
    ShuttingDown: (StatusCode.UNAVAILABLE, "SHUTTING_DOWN"),
    e.NotYetAvailable: (StatusCode.UNIMPLEMENTED, "NOT_YET_AVAILABLE"),
}
# The field of errors that do not name one themselves: every INVALID_ARGUMENT status names a field.
FIELDS: dict[type[e.RecalldError], str] = {
    e.PageTokenInvalid: "page_token",
    e.ResumeTokenInvalid: "resume_token",
    e.ConsistencyTokenInvalid: "at_least_as_fresh",
    e.RequestIdReused: "request_id",
}
INTERNAL = (StatusCode.INTERNAL, "INTERNAL")


def row(error: BaseException) -> tuple[StatusCode, str]:
    """The code and the reason of an error: TABLE's row for its class or nearest base class, otherwise INTERNAL."""
    return next((TABLE[kind] for kind in type(error).__mro__ if kind in TABLE), INTERNAL)


def status_of(error: BaseException, correlation_id: str) -> status_pb2.Status:
    """The status of an error. An INTERNAL error is logged; its status has only the correlation id of the log line."""
    code, reason = row(error)
    metadata = {"correlation_id": correlation_id} if correlation_id else {}
    if isinstance(error, e.RecalldError) and code is not StatusCode.INTERNAL:
        message = _cut(error.message, MESSAGE_BYTES)
        metadata |= {"field": field} if (field := _field(error)) else {}
        metadata |= {key: _bounded(key, value) for key, value in error.metadata.items()}
    else:
        log.error("call failed", extra={"correlation_id": correlation_id}, exc_info=error)
        message = "Internal error. The server's log has the details under the correlation id."
    status = status_pb2.Status(code=code.value[0], message=message)
    details: list[Message] = [error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata)]
    if isinstance(error, e.RecalldError):
        details += _more(error, code, reason)
    for detail in details:
        status.details.add().Pack(detail)
    return status


def failed_operation(operation: str) -> status_pb2.Status:
    """The status of an operation that failed with an INTERNAL error, which the worker logged under its id."""
    code, reason = row(RuntimeError())
    message = f"Internal error. The server's log has the details under the operation {operation}."
    status = status_pb2.Status(code=code.value[0], message=message)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN))
    return status


def _field(error: e.RecalldError) -> str:
    return next((name for kind, name in FIELDS.items() if isinstance(error, kind)), "")


def _more(error: e.RecalldError, code: StatusCode, reason: str) -> list[Message]:
    violations = error.violations or ([(field, error.message)] if (field := _field(error)) else [])
    if violations:
        return [error_details_pb2.BadRequest(field_violations=_shown(violations))]
    if isinstance(error, e.TooMuch):
        violation = error_details_pb2.QuotaFailure.Violation(subject=error.subject, description=error.message)
        quota = error_details_pb2.QuotaFailure(violations=[violation])
        return [quota, error_details_pb2.RetryInfo(retry_delay=RETRY)]
    if code is StatusCode.UNAVAILABLE and not error.lasting:
        return [error_details_pb2.RetryInfo(retry_delay=RETRY)]
    if code is StatusCode.FAILED_PRECONDITION:
        unmet = error_details_pb2.PreconditionFailure.Violation(
            type=reason,
            subject=_cut(error.metadata.get("memory_id", ""), VALUE_BYTES),
            description=_cut(error.message, MESSAGE_BYTES),
        )
        return [error_details_pb2.PreconditionFailure(violations=[unmet])]
    return []


def _shown(violations: Sequence[tuple[str, str]]) -> Iterator[error_details_pb2.BadRequest.FieldViolation]:
    """The first violations, as many as fit into LIST_BYTES."""
    room = LIST_BYTES
    for field, text in violations:
        violation = error_details_pb2.BadRequest.FieldViolation(
            field=_cut(field, VALUE_BYTES), description=_cut(text, VALUE_BYTES)
        )
        room -= violation.ByteSize()
        if room < 0:
            return
        yield violation


def _bounded(key: str, value: str) -> str:
    """A metadata value, cut to its limit; a list of memory ids is cut after a whole id."""
    if key == "memory_ids":
        shown = _cut(value, LIST_BYTES)
        return shown if shown == value else shown.rpartition(",")[0]
    return _cut(value, VALUE_BYTES)


def _cut(text: str, most: int) -> str:
    """The beginning of a text, at most `most` bytes of UTF-8."""
    return text if len(text) * 4 <= most else text.encode()[:most].decode(errors="ignore")
