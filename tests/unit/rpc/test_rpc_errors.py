"""The table of domain errors and gRPC statuses."""

from __future__ import annotations

import inspect
import logging
import re
from pathlib import Path

import pytest
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2
from grpc import StatusCode

from recalld.v1 import error_reason_pb2
from recalld_server.domain import errors
from recalld_server.rpc.render.errors import FIELDS, TABLE, failed_operation, row, status_of

SOURCE = Path(__file__).parents[3] / "proto" / "recalld" / "v1" / "error_reason.proto"
EXPLAINED = re.compile(r"// ([A-Z_]+)[:,][^\n]*\n(?:  //[^\n]*\n)+  ERROR_REASON_(\w+) =")
CODES = {reason: code for code, reason in EXPLAINED.findall(SOURCE.read_text())}
ERRORS = [
    kind
    for _, kind in inspect.getmembers(errors, inspect.isclass)
    if issubclass(kind, errors.RecalldError) and kind.__module__ == errors.__name__
]
# Roots of others, what is raised before there is a server, and what stays between the projector and its stores.
NEVER_SENT = {errors.RecalldError, errors.TokenInvalid, errors.SettingMissing, errors.TooMuch}
NEVER_SENT |= {errors.EntryInvalid, errors.FeaturesMissing}
DETAILS = (
    error_details_pb2.ErrorInfo,
    error_details_pb2.BadRequest,
    error_details_pb2.RetryInfo,
    error_details_pb2.PreconditionFailure,
    error_details_pb2.QuotaFailure,
)


def made(kind: type[errors.RecalldError]) -> errors.RecalldError:
    if kind in (errors.RevisionConflict, errors.DuplicateText):
        return kind(["one", "two"])  # type: ignore[arg-type]
    if issubclass(kind, errors.FieldInvalid):
        return kind(violations=[("field", "must be something")], field="field")
    return kind()


def unpacked(status: status_pb2.Status) -> dict[type[Message], Message]:
    found: dict[type[Message], Message] = {}
    for packed in status.details:
        kind = next(kind for kind in DETAILS if packed.Is(kind.DESCRIPTOR))
        assert kind not in found
        found[kind] = kind.FromString(packed.value)
    return found


@pytest.mark.parametrize("kind", [kind for kind in ERRORS if kind not in NEVER_SENT])
def test_every_error_has_a_row_whose_code_is_the_documented_one(kind: type[errors.RecalldError]) -> None:
    code, reason = TABLE[kind]
    assert error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{reason}") > 0
    assert CODES[reason] == code.name


def test_there_are_no_rows_for_nothing() -> None:
    assert {kind for kind in TABLE if kind.__module__ == errors.__name__} == set(ERRORS) - NEVER_SENT
    assert set(FIELDS) <= set(TABLE)


@pytest.mark.parametrize("kind", TABLE)
def test_the_status_of_an_error(kind: type[errors.RecalldError]) -> None:
    error = made(kind)
    status = status_of(error, "mine")
    code, reason = TABLE[kind]
    details = unpacked(status)
    info = details[error_details_pb2.ErrorInfo]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (status.code, status.message) == (code.value[0], error.message)
    assert (info.reason, info.domain, info.metadata["correlation_id"]) == (reason, "recalld", "mine")
    assert error.metadata.items() <= dict(info.metadata).items()
    later = code is StatusCode.UNAVAILABLE or issubclass(kind, errors.TooMuch)
    assert (error_details_pb2.RetryInfo in details) is later
    assert (error_details_pb2.PreconditionFailure in details) is (code is StatusCode.FAILED_PRECONDITION)
    if code is StatusCode.INVALID_ARGUMENT and kind is not errors.RequestMalformed:
        bad = details[error_details_pb2.BadRequest]
        assert isinstance(bad, error_details_pb2.BadRequest)
        assert [violation.field for violation in bad.field_violations] == [info.metadata["field"]]


def test_a_subclass_has_the_row_of_its_parent() -> None:
    class Narrower(errors.MemoryNotFound):
        """Narrower."""

    assert row(Narrower()) == TABLE[errors.MemoryNotFound]


@pytest.mark.parametrize("error", [KeyError("secret of the engine"), errors.SettingMissing("secret of the engine")])
def test_what_nobody_foresaw_tells_only_where_to_look(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        status = status_of(error, "mine")
    assert status.code == StatusCode.INTERNAL.value[0]
    assert b"secret" not in status.SerializeToString()
    info = unpacked(status)[error_details_pb2.ErrorInfo]
    assert isinstance(info, error_details_pb2.ErrorInfo)
    assert (info.reason, dict(info.metadata)) == ("INTERNAL", {"correlation_id": "mine"})
    assert "secret of the engine" in caplog.text


@pytest.mark.parametrize(
    "error",
    [
        errors.FieldInvalid("x" * 50_000, violations=[("f" * 9_000, "t" * 9_000)] * 100, field="f" * 9_000),
        errors.MemoryNotFound(memory_ids=",".join("é" * 128 for _ in range(1000)), count=1000),
        errors.MemoryImmutable("Ж" * 10_000, memory_id="Ж" * 10_000),
    ],
)
def test_no_status_outgrows_the_trailers(error: errors.RecalldError) -> None:
    """Callers bound all trailers together to 8 KiB; there the details are base64 and the message percent-coded."""
    status = status_of(error, "x" * 128)
    size = len(status.SerializeToString()) * 4 / 3 + len(status.message.encode()) * 3
    assert size < 7_000
    assert unpacked(status)


def test_of_many_memories_the_first_are_named_whole() -> None:
    ids = [f"id-{n:04}" for n in range(1000)]
    info = unpacked(status_of(errors.MemoryNotFound(memory_ids=",".join(ids), count=1000), ""))
    named = info[error_details_pb2.ErrorInfo].metadata["memory_ids"].split(",")  # type: ignore[attr-defined]
    assert named == ids[: len(named)]
    assert len(named) > 200


def test_an_operation_that_failed_names_itself_and_is_not_logged_again(caplog: pytest.LogCaptureFixture) -> None:
    """Whoever reads it may do so often; the worker has logged why it failed."""
    status = failed_operation("some-id")
    assert (status.code, "some-id" in status.message) == (code_pb2.INTERNAL, True)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert info.reason == "INTERNAL"
    assert not caplog.records
