"""The client's exceptions: `RecalldError` and one subclass per family of gRPC codes.

Branch on the class and, within a family, on `reason`, a name of `recalld.v1.ErrorReason`; never on the message. Errors
keep the server's status as bytes and decode the details on first access.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2

STATUS_KEY = "grpc-status-details-bin"  # where gRPC carries a google.rpc.Status
CORRELATION_KEY = "x-correlation-id"


@dataclass(frozen=True, slots=True)
class Violation:
    """One violation in a request: the field path, or the subject of a limit, and a description of what is allowed."""

    field: str
    description: str


@dataclass(frozen=True, slots=True)
class Details:
    """Details of an error besides code and message. `retry_delay` is in seconds; None if the server sent none."""

    reason: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    violations: tuple[Violation, ...] = ()
    retry_delay: float | None = None


class RecalldError(Exception):
    """A call failed. Raised as one of the subclasses below, or as RecalldError itself for any other code."""

    default_code: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        code: grpc.StatusCode | None = None,
        details: Details | bytes = b"",
        correlation_id: str = "",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.correlation_id = correlation_id  # identifies the call in the server's log; empty if nothing was sent
        self._details = details

    @cached_property
    def details(self) -> Details:
        """The decoded details; empty if the server or a proxy sent none."""
        return decode(self._details) if isinstance(self._details, bytes) else self._details

    @property
    def reason(self) -> str:
        """A name of ErrorReason such as `ETAG_MISMATCH`; empty if the gRPC library raised the error."""
        return self.details.reason

    @property
    def metadata(self) -> Mapping[str, str]:
        """The facts of the message in machine-readable form. Values are always strings."""
        return self.details.metadata

    @property
    def violations(self) -> tuple[Violation, ...]:
        """All violations in the request; empty if the request was not the cause."""
        return self.details.violations

    @property
    def retry_delay(self) -> float | None:
        """Seconds to wait before a retry; None if the server sent none."""
        return self.details.retry_delay

    def __str__(self) -> str:
        parts = [self.reason or self.code.name, *self._untold()]
        if self.correlation_id:
            parts.append(f"correlation id {self.correlation_id}")
        return f"{self.message} [{'; '.join(parts)}]"

    def _untold(self) -> Iterable[str]:
        """Parts of the violations that the message does not contain."""
        for each in self.violations:
            whole = f"{each.field}: {each.description}"
            if each.description not in self.message:
                yield whole
            elif each.field not in self.message:
                yield each.field


class InvalidRequest(RecalldError, ValueError):
    """The request is invalid, whatever is stored. Also raised before anything is sent."""

    default_code = grpc.StatusCode.INVALID_ARGUMENT


class FilterError(InvalidRequest):
    """A filter has an unknown or unsuitable field, operator or value. The violations list what is allowed."""


class NotFound(RecalldError):
    """The memory, revision or entity does not exist or is not visible to the API key."""

    default_code = grpc.StatusCode.NOT_FOUND


class Conflict(RecalldError):
    """Another write came first, or the resource to create already exists. Read again before you retry."""

    default_code = grpc.StatusCode.ABORTED


class PreconditionFailed(RecalldError):
    """The stored state does not allow the request, for example because a memory is immutable."""

    default_code = grpc.StatusCode.FAILED_PRECONDITION


class OutOfRange(RecalldError):
    """The requested time or sequence number is ahead of the ledger, or older than the history that is kept."""

    default_code = grpc.StatusCode.OUT_OF_RANGE


class Unauthenticated(RecalldError):
    """The server requires an API key, and the call has none or an invalid one."""

    default_code = grpc.StatusCode.UNAUTHENTICATED


class PermissionDenied(RecalldError):
    """The API key's role does not allow this call."""

    default_code = grpc.StatusCode.PERMISSION_DENIED


class Overloaded(RecalldError):
    """A limit on calls, streams, sizes or model use was reached. `retry_delay` is when to retry."""

    default_code = grpc.StatusCode.RESOURCE_EXHAUSTED


class Unavailable(RecalldError):
    """The server, its index or its model is unreachable, after all retries."""

    default_code = grpc.StatusCode.UNAVAILABLE


class DeadlineExceeded(RecalldError):
    """The timeout expired. A write may have been stored nevertheless; repeat it with the same `request_id`."""

    default_code = grpc.StatusCode.DEADLINE_EXCEEDED


class Cancelled(RecalldError):
    """The call was cancelled, by this program or because the server stopped."""

    default_code = grpc.StatusCode.CANCELLED


class NotYetAvailable(RecalldError):
    """This version of the server does not implement the call or option."""

    default_code = grpc.StatusCode.UNIMPLEMENTED


class Internal(RecalldError):
    """An internal error of the server. Its log has the cause under `correlation_id`."""

    default_code = grpc.StatusCode.INTERNAL


FAMILIES: Mapping[grpc.StatusCode, type[RecalldError]] = {
    **{family.default_code: family for family in RecalldError.__subclasses__()},
    grpc.StatusCode.ALREADY_EXISTS: Conflict,
    grpc.StatusCode.DATA_LOSS: Internal,
}
CODES: Mapping[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


def from_rpc(error: grpc.RpcError, correlation_id: str = "") -> RecalldError:
    """Convert the gRPC error of a blocking or asyncio call. The server's correlation id takes precedence."""
    sent = {key: value for key, value in error.trailing_metadata() or () if key in (STATUS_KEY, CORRELATION_KEY)}
    return build(
        error.code(), error.details() or "", sent.get(STATUS_KEY, b""), sent.get(CORRELATION_KEY, correlation_id)
    )


def from_status(status: Any) -> RecalldError:
    """Convert a google.rpc.Status inside an answer."""
    return build(CODES.get(status.code, grpc.StatusCode.UNKNOWN), status.message, status.SerializeToString())


def build(code: grpc.StatusCode, message: str, status: bytes = b"", correlation_id: str = "") -> RecalldError:
    """Create an error of the class for `code`."""
    family = FAMILIES.get(code, RecalldError)
    error = family(message, code=code, details=status, correlation_id=correlation_id)
    if family is InvalidRequest and error.reason == "FILTER_INVALID":
        return FilterError(message, code=code, details=status, correlation_id=correlation_id)
    return error


def invalid(field: str, description: str, *, reason: str = "FIELD_INVALID") -> InvalidRequest:
    """The error for one invalid argument, raised before anything is sent."""
    return all_invalid([Violation(field, description)], reason=reason)


def all_invalid(violations: Sequence[Violation], *, reason: str = "FIELD_INVALID") -> InvalidRequest:
    """The error for one or more invalid arguments, raised before anything is sent."""
    # Names and values come from the caller. A lone surrogate in them would make the error unprintable.
    named = tuple(Violation(_printable(each.field), _printable(each.description)) for each in violations)
    details = Details(reason, {"field": named[0].field}, named)
    message = f"{named[0].field}: {named[0].description}." if len(named) == 1 else f"{len(named)} fields are invalid."
    return InvalidRequest(message, details=details)


def _printable(text: str) -> str:
    return text.encode("utf-8", "backslashreplace").decode()


def closed() -> PreconditionFailed:
    """The error for a call after `close`."""
    return PreconditionFailed("This client is closed. Create a new one.")


def decode(status: bytes) -> Details:
    """Decode the details of a serialized google.rpc.Status. Returns empty details for other bytes, as from a proxy."""
    reason, metadata, violations, delay = "", dict[str, str](), list[Violation](), None
    try:
        packed: Iterable[Any] = status_pb2.Status.FromString(status).details
        for item in packed:
            name = item.TypeName()
            if name == "google.rpc.ErrorInfo":
                info = error_details_pb2.ErrorInfo.FromString(item.value)
                reason, metadata = info.reason, dict(info.metadata)
            elif name == "google.rpc.BadRequest":
                bad = error_details_pb2.BadRequest.FromString(item.value)
                violations += [Violation(each.field, each.description) for each in bad.field_violations]
            elif name == "google.rpc.PreconditionFailure":
                failure = error_details_pb2.PreconditionFailure.FromString(item.value)
                violations += [Violation(each.subject, each.description) for each in failure.violations]
            elif name == "google.rpc.QuotaFailure":
                quota = error_details_pb2.QuotaFailure.FromString(item.value)
                violations += [Violation(each.subject, each.description) for each in quota.violations]
            elif name == "google.rpc.RetryInfo":
                wait = error_details_pb2.RetryInfo.FromString(item.value).retry_delay
                delay = wait.seconds + wait.nanos / 1e9
    except DecodeError:
        return Details()
    return Details(reason, metadata, tuple(violations), delay)
