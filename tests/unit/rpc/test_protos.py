"""The conventions of recalld.v1 that buf does not check, read from the descriptors and the proto sources."""

from __future__ import annotations

import importlib
import inspect
import keyword
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from google.api import field_behavior_pb2
from google.protobuf import descriptor_pb2, json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.rpc import code_pb2, error_details_pb2

SOURCES = sorted((Path(__file__).parents[3] / "proto" / "recalld" / "v1").glob("*.proto"))
FILES: list[FileDescriptor] = [importlib.import_module(f"recalld.v1.{path.stem}_pb2").DESCRIPTOR for path in SOURCES]
METHODS: list[MethodDescriptor] = [m for file in FILES for s in file.services_by_name.values() for m in s.methods]
MESSAGES: list[Descriptor] = [message for file in FILES for message in file.message_types_by_name.values()]
ENUMS: list[EnumDescriptor] = [enum for file in FILES for enum in file.enum_types_by_name.values()]

REASON = re.compile(r"((?:  //.*\n)+)  ERROR_REASON_(\w+) = \d+;")
CITATION = re.compile(r"([A-Z_]+) \(([A-Z_]+(?:, [A-Z_]+)*)\)")
RPC = re.compile(r"((?:  //.*\n)+)  rpc (\w+)\(")


def prose(comment: str) -> str:
    """The text of a comment on one line, so that what is wrapped can be searched."""
    return " ".join(line.strip().removeprefix("//").strip() for line in comment.splitlines())


def reasons() -> dict[str, str]:
    """Comment of each reason in error_reason.proto, by its name on the wire."""
    source = next(path for path in SOURCES if path.name == "error_reason.proto").read_text()
    return {name: comment for comment, name in REASON.findall(source) if name != "UNSPECIFIED"}


def taken_in(method: MethodDescriptor) -> Iterator[Descriptor]:
    """The request message of a method and all of our messages inside it."""
    seen: set[str] = set()
    waiting = [method.input_type]
    while waiting:
        message = waiting.pop()
        if message.file.package == "recalld.v1" and message.full_name not in seen:
            seen.add(message.full_name)
            waiting += [field.message_type for field in message.fields if field.message_type]
            yield message


def code_of(comment: str) -> str:
    """The status code a reason's comment begins with."""
    return re.split(r"[:,]", prose(comment))[0]


def type_of(message: Descriptor, name: str) -> int | None:
    field = message.fields_by_name.get(name)
    return field.type if field else None


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_every_service_has_a_stub_and_a_servicer(file: FileDescriptor) -> None:
    stubs = importlib.import_module(file.name.removesuffix(".proto").replace("/", ".") + "_pb2_grpc")
    for name, service in file.services_by_name.items():
        servicer = dict(inspect.getmembers(getattr(stubs, f"{name}Servicer")))
        assert {method.name for method in service.methods} <= servicer.keys()
        assert inspect.isclass(getattr(stubs, f"{name}Stub"))


def test_field_names_are_camel_case_in_json_for_reflection_too() -> None:
    for file in FILES:
        proto = descriptor_pb2.FileDescriptorProto.FromString(file.serialized_pb)
        for message in proto.message_type:
            for field in message.field:
                camel = re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), field.name)
                assert field.json_name == camel, f"{message.name}.{field.name}"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name)
def test_every_field_of_a_request_says_whether_it_is_required(method: MethodDescriptor) -> None:
    silent = [
        field.full_name
        for message in taken_in(method)
        for field in message.fields
        if not field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    ]
    assert not silent


def test_every_request_message_belongs_to_a_method() -> None:
    used = {method.input_type.name for method in METHODS}
    assert {message.name for message in MESSAGES if message.name.endswith("Request")} <= used


def test_paging_is_the_same_everywhere() -> None:
    paged = [m for m in METHODS if {"page_size", "page_token"} & set(m.input_type.fields_by_name)]
    assert {m.name for m in METHODS if "next_page_token" in m.output_type.fields_by_name} == {m.name for m in paged}
    assert {m.name for m in METHODS if m.name.startswith("List")} == {m.name for m in paged}
    for method in paged:
        request, response = method.input_type, method.output_type
        assert type_of(request, "page_size") == FieldDescriptor.TYPE_INT32, method.name
        assert type_of(request, "page_token") == FieldDescriptor.TYPE_STRING, method.name
        assert type_of(response, "next_page_token") == FieldDescriptor.TYPE_STRING, method.name
        assert [field.number for field in response.fields if field.message_type] == [1], method.name
        assert ("with_total_size" in request.fields_by_name) == ("total_size" in response.fields_by_name), method.name


def test_a_consistency_token_comes_with_the_state_of_the_index() -> None:
    tokens = {message.name for message in MESSAGES if "consistency_token" in message.fields_by_name}
    states = {message.name for message in MESSAGES if "index_state" in message.fields_by_name}
    assert tokens == states
    assert "AddResponse" in tokens


def test_every_write_takes_a_request_id() -> None:
    reads = ("Get", "List", "Read", "Search", "StreamSearch", "Watch")
    writes = [method for method in METHODS if not method.name.startswith(reads)]
    assert [m.name for m in writes if "request_id" not in m.input_type.fields_by_name] == []
    assert len(writes) > 10


def test_no_name_is_a_python_keyword() -> None:
    names = {field.name for message in MESSAGES for field in message.fields}
    names |= {oneof.name for message in MESSAGES for oneof in message.oneofs}
    names |= {value.name for enum in ENUMS for value in enum.values}
    names |= {message.name for message in MESSAGES} | {enum.name for enum in ENUMS}
    assert [name for name in names if keyword.iskeyword(name)] == []


def test_every_reason_is_documented() -> None:
    enum = next(enum for enum in ENUMS if enum.name == "ErrorReason")
    assert set(reasons()) == {value.name.removeprefix("ERROR_REASON_") for value in enum.values} - {"UNSPECIFIED"}


@pytest.mark.parametrize(("name", "comment"), reasons().items(), ids=list(reasons()))
def test_the_example_of_a_reason_is_an_error_info(name: str, comment: str) -> None:
    [example] = re.findall(r"^  //     (\{.*\})$", comment, re.MULTILINE)
    info = json_format.Parse(example, error_details_pb2.ErrorInfo())
    assert (info.reason, info.domain) == (name, "recalld")
    assert code_pb2.Code.Value(code_of(comment))


def test_comments_cite_reasons_with_their_own_code() -> None:
    own = {(code_of(comment), name) for name, comment in reasons().items()}
    anywhere = {(code_of(comment), name) for name, comment in reasons().items() if "any call" in prose(comment)}
    cited = {
        (code, reason)
        for path in SOURCES
        for code, names in CITATION.findall(prose(path.read_text()))
        for reason in names.split(", ")
    }
    assert cited <= own
    # google.longrunning.Operations is not ours to comment.
    assert own - anywhere - cited == {("NOT_FOUND", "OPERATION_NOT_FOUND")}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_every_rpc_lists_its_errors(path: Path) -> None:
    source = path.read_text()
    found = RPC.findall(source)
    assert len(found) == len(re.findall(r"^  rpc ", source, re.MULTILINE))
    assert [name for comment, name in found if not CITATION.search(prose(comment))] == []
