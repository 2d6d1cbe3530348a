"""Conversion of the server's errors to exceptions."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2, duration_pb2
from google.rpc import error_details_pb2, status_pb2

import recalld
from recalld import errors


def status(code: grpc.StatusCode, reason: str, *details: Any, message: str = "No.") -> status_pb2.Status:
    result = status_pb2.Status(code=code.value[0], message=message)
    info = error_details_pb2.ErrorInfo(reason=reason, domain="recalld", metadata={"field": "x"})
    for each in (info, *details):
        packed = any_pb2.Any()
        packed.Pack(each)
        result.details.append(packed)
    return result


@pytest.mark.parametrize(
    ("code", "family"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, recalld.InvalidRequest),
        (grpc.StatusCode.NOT_FOUND, recalld.NotFound),
        (grpc.StatusCode.ALREADY_EXISTS, recalld.Conflict),
        (grpc.StatusCode.ABORTED, recalld.Conflict),
        (grpc.StatusCode.FAILED_PRECONDITION, recalld.PreconditionFailed),
        (grpc.StatusCode.OUT_OF_RANGE, recalld.OutOfRange),
        (grpc.StatusCode.UNAUTHENTICATED, recalld.Unauthenticated),
        (grpc.StatusCode.PERMISSION_DENIED, recalld.PermissionDenied),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, recalld.Overloaded),
        (grpc.StatusCode.UNAVAILABLE, recalld.Unavailable),
        (grpc.StatusCode.DEADLINE_EXCEEDED, recalld.DeadlineExceeded),
        (grpc.StatusCode.CANCELLED, recalld.Cancelled),
        (grpc.StatusCode.UNIMPLEMENTED, recalld.NotYetAvailable),
        (grpc.StatusCode.INTERNAL, recalld.Internal),
        (grpc.StatusCode.DATA_LOSS, recalld.Internal),
        (grpc.StatusCode.UNKNOWN, recalld.RecalldError),
    ],
)
def test_families(code: grpc.StatusCode, family: type[Exception]) -> None:
    error = errors.from_status(status(code, "SOME_REASON"))
    assert type(error) is family
    assert (error.code, error.reason, error.metadata) == (code, "SOME_REASON", {"field": "x"})


def test_details() -> None:
    bad = error_details_pb2.BadRequest()
    bad.field_violations.add(field="limit", description="must be positive")
    bad.field_violations.add(field="query", description="must not be empty")
    wait = error_details_pb2.RetryInfo(retry_delay=duration_pb2.Duration(seconds=1, nanos=500_000_000))
    error = errors.from_status(status(grpc.StatusCode.INVALID_ARGUMENT, "FIELD_INVALID", bad, wait))
    assert [(each.field, each.description) for each in error.violations] == [
        ("limit", "must be positive"),
        ("query", "must not be empty"),
    ]
    assert error.retry_delay == 1.5
    assert str(error) == "No. [FIELD_INVALID; limit: must be positive; query: must not be empty]"


def test_a_refused_filter_is_a_filter_error_wherever_it_was_refused() -> None:
    error = errors.from_status(status(grpc.StatusCode.INVALID_ARGUMENT, "FILTER_INVALID"))
    assert type(error) is recalld.FilterError
    assert isinstance(error, ValueError)


def test_other_failures_name_what_they_are_about() -> None:
    failure = error_details_pb2.PreconditionFailure()
    failure.violations.add(type="MEMORY", subject="m1", description="is immutable")
    quota = error_details_pb2.QuotaFailure()
    quota.violations.add(subject="key", description="too many streams")
    error = errors.from_status(status(grpc.StatusCode.FAILED_PRECONDITION, "MEMORY_IMMUTABLE", failure, quota))
    assert [each.field for each in error.violations] == ["m1", "key"]


def test_undecodable_details_are_no_details() -> None:
    error = errors.build(grpc.StatusCode.UNAVAILABLE, "proxy says no", b"\xff\xff not a status")
    assert (error.reason, error.violations, error.retry_delay) == ("", (), None)
    assert str(error) == "proxy says no [UNAVAILABLE]"


@pytest.mark.parametrize(
    ("message", "violations", "text"),
    [
        ("limit: must be positive.", [("limit", "must be positive")], "limit: must be positive. [R]"),
        ("Die Größe: zu groß.", [("Größe", "zu groß")], "Die Größe: zu groß. [R]"),
        ("The memory can't change.", [("m1", "The memory can't change.")], "The memory can't change. [R; m1]"),
        ("a: is none.", [("a", "is none"), ("b", "is empty")], "a: is none. [R; b: is empty]"),
        ("No.", [("a", "is none"), ("b", "is empty")], "No. [R; a: is none; b: is empty]"),
    ],
)
def test_a_text_is_said_once(message: str, violations: list[tuple[str, str]], text: str) -> None:
    bad = error_details_pb2.BadRequest()
    for field, description in violations:
        bad.field_violations.add(field=field, description=description)
    assert str(errors.from_status(status(grpc.StatusCode.INVALID_ARGUMENT, "R", bad, message=message))) == text


def test_what_is_refused_before_it_is_sent_says_where_and_why() -> None:
    assert str(errors.invalid("user_id", "must be an id")) == "user_id: must be an id. [FIELD_INVALID]"
    both = errors.all_invalid([errors.Violation("a", "is none"), errors.Violation("b", "is empty")])
    assert str(both) == "2 fields are invalid. [FIELD_INVALID; a: is none; b: is empty]"
