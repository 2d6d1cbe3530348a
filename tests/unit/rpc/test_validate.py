"""Validation of requests: required fields, texts and the table of checks, without a server."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor import Descriptor, MethodDescriptor
from google.protobuf.message_factory import GetMessageClass

from recalld.v1 import memory_pb2, search_service_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.domain.errors import (
    FieldInvalid,
    FilterInvalid,
    LimitExceeded,
    QueryEmpty,
    ScopeMissing,
    TextInvalid,
)
from recalld_server.rpc.parse.checks import CHECKS
from recalld_server.rpc.parse.validate import check

FILES = [
    importlib.import_module(f"recalld.v1.{path.stem}").DESCRIPTOR for path in Path(pb.__file__).parent.glob("*_pb2.py")
]
SERVICES = ("MemoryService", "SearchService", "EntityService")
METHODS: list[MethodDescriptor] = [
    method
    for file in FILES
    for name, service in file.services_by_name.items()
    if name in SERVICES
    for method in service.methods
]
LATER = {"AddAsync", "ForgetMemories", "Watch", "DeleteByInstruction", "SetFeedback"}
SCOPE = {"user_id": "alex"}


def violated(request: Any, **options: Any) -> FieldInvalid:
    with pytest.raises(FieldInvalid) as caught:
        check(request, **options)
    return caught.value


def fields(request: Any) -> list[str]:
    return [field for field, _ in violated(request).violations]


def test_every_check_is_of_a_message_there_is() -> None:
    known = {message.full_name for file in FILES for message in file.message_types_by_name.values()}
    assert set(CHECKS) - known == {"google.protobuf.Struct"}


@pytest.mark.parametrize("method", [m for m in METHODS if m.name not in LATER], ids=lambda method: method.name)
def test_every_request_has_its_check(method: MethodDescriptor) -> None:
    assert method.input_type.full_name in CHECKS


@pytest.mark.parametrize("method", [m for m in METHODS if m.name not in LATER], ids=lambda method: method.name)
def test_an_empty_request_lacks_what_is_required_and_nothing_else(method: MethodDescriptor) -> None:
    required = {
        "Add": {"scope", "messages"},
        "ImportMemories": {"item"},
        "GetMemory": {"memory_id"},
        "UpdateMemory": {"memory", "update_mask"},
        "DeleteMemory": {"memory_id"},
        "BatchUpdateMemories": {"updates"},
        "BatchDeleteMemories": {"memory_ids"},
        "DeleteMemories": {"scope"},
        "RestoreMemory": {"memory_id"},
        "Search": {"query"},
        "StreamSearch": {"query"},
        "DeleteEntity": {"type", "id"},
    }
    request = GetMessageClass(method.input_type)()
    if method.name not in required:
        check(request)
        return
    assert set(fields(request)) == required[method.name]


def with_strings(descriptor: Descriptor) -> list[str]:
    """The names of the string fields of a message."""
    return [field.name for field in descriptor.fields if field.type == field.TYPE_STRING]


@pytest.mark.parametrize("method", [m for m in METHODS if m.name not in LATER], ids=lambda method: method.name)
def test_no_string_of_a_request_may_hold_nul(method: MethodDescriptor) -> None:
    for name in with_strings(method.input_type):
        request = GetMessageClass(method.input_type)()
        repeated = method.input_type.fields_by_name[name].is_repeated
        if repeated:
            getattr(request, name).append("a\0b")
        else:
            setattr(request, name, "a\0b")
        assert (f"{name}[0]" if repeated else name) in fields(request)


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (pb.AddRequest(text="x"), ScopeMissing),
        (pb.AddRequest(scope=SCOPE), FieldInvalid),
        (pb.AddRequest(scope=SCOPE, text="x" * 65_537), LimitExceeded),
        (pb.AddRequest(scope={"user_id": "a\0"}, text="x"), TextInvalid),
        (pb.ListMemoriesRequest(filter={}), FilterInvalid),
        (search_service_pb2.SearchRequest(query=" "), QueryEmpty),
    ],
)
def test_the_first_violation_names_the_error_and_all_are_told(request_: Any, kind: type[FieldInvalid]) -> None:
    error = violated(request_)
    assert type(error) is kind
    assert error.metadata["field"] == error.violations[0][0]
    assert error.message.startswith(error.violations[0][0])


def test_the_message_counts_what_it_does_not_tell() -> None:
    assert violated(pb.AddRequest(messages=[{"role": "king"}] * 3)).message.endswith("(3 more violations)")


def test_a_struct_is_bounded_in_depth_before_it_is_turned_into_json() -> None:
    request = pb.AddRequest(scope=SCOPE, text="x")
    inner = request.metadata
    for _ in range(40):
        inner = inner.fields["a"].struct_value
    inner.fields["a"].null_value = 0
    assert fields(request) == ["metadata." + ".".join("a" * 16)]


def test_only_a_stream_may_be_resumed() -> None:
    request = search_service_pb2.SearchRequest(query="x", resume_token="t")
    check(request)
    assert [field for field, _ in violated(request, unary=True).violations] == ["resume_token"]


@pytest.mark.parametrize(
    ("moment", "good"),
    [
        ({"sequence": 0}, True),
        ({"sequence": -1}, False),
        ({"time": {"seconds": 253_402_300_799, "nanos": 999_999_999}}, True),
        ({"time": {"seconds": 253_402_300_800}}, False),
        ({"time": {"seconds": -62_135_596_800}}, True),
        ({"time": {"seconds": -62_135_596_801}}, False),
        ({"time": {"nanos": -1}}, False),
        ({"time": {"nanos": 10**9}}, False),
        ({}, False),
    ],
)
def test_moments(moment: dict[str, Any], good: bool) -> None:
    request = pb.ListMemoriesRequest(as_of=moment)
    if good:
        check(request)
        return
    assert fields(request)[0].startswith("as_of")


@pytest.mark.parametrize("paths", [["text"], ["text", "metadata"], ["*"], []])
def test_masks_that_are_good(paths: list[str]) -> None:
    check(pb.UpdateMemoryRequest(memory={"id": "m", "text": "x"}, update_mask={"paths": paths}))


@pytest.mark.parametrize("paths", [["*", "text"], ["id"], ["memory.text"], [""], ["metadata.k"]])
def test_masks_that_are_not(paths: list[str]) -> None:
    assert "update_mask" in fields(
        pb.UpdateMemoryRequest(memory={"id": "m", "text": "x"}, update_mask={"paths": paths})
    )


def test_unknown_enum_values_are_refused_wherever_they_stand() -> None:
    request = search_service_pb2.SearchRequest(query="x", mode=9)  # type: ignore[arg-type]
    assert fields(request) == ["mode"]
    memory = memory_pb2.Memory(id="m", text="x", feedback=9)  # type: ignore[arg-type]
    assert fields(pb.UpdateMemoryRequest(memory=memory)) == ["memory.feedback"]
