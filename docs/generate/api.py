"""docs/api.md: every service, rpc, message, enum and field, from the descriptors and the comments of the protos."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib import import_module

from google.api import field_behavior_pb2
from google.protobuf.descriptor import (
    Descriptor,
    EnumDescriptor,
    FieldDescriptor,
    FileDescriptor,
    MethodDescriptor,
    ServiceDescriptor,
)

from comments import PROTOS, cell, comments, paragraphs

PACKAGE = "recalld.v1"
ELSEWHERE = {"ErrorReason": "Every reason, with its code and what to do, is in [errors.md](errors.md)."}
_SCALARS = {
    getattr(FieldDescriptor, name): name.removeprefix("TYPE_").lower()
    for name in ("TYPE_STRING", "TYPE_BYTES", "TYPE_BOOL", "TYPE_INT32", "TYPE_INT64", "TYPE_DOUBLE", "TYPE_FLOAT")
}
# Such as "INVALID_ARGUMENT (QUERY_EMPTY): the query is empty.", also with several reasons.
_ERROR = re.compile(r"^([A-Z_]+) \(([A-Z_]+(?:, [A-Z_]+)*)\): ")


def generate() -> str:
    """The reference of the package."""
    said = comments()
    files = [import_module(f"{PACKAGE}.{path.stem}_pb2").DESCRIPTOR for path in sorted(PROTOS.glob("*.proto"))]
    services = [service for file in files for service in file.services_by_name.values()]
    parts = [_contents(services), *(_service(service, said) for service in services)]
    parts += ["## Messages and enums", *(part for file in files for part in _types(file, said))]
    return "\n\n".join(parts)


def _contents(services: list[ServiceDescriptor]) -> str:
    rows = ["| service | rpcs |", "|---|---|"]
    for service in services:
        rpcs = ", ".join(f"[{method.name}](#{_rpc_anchor(method)})" for method in service.methods)
        rows.append(f"| [{service.name}](#{service.name.lower()}) | {rpcs} |")
    return "\n".join(rows)


def _service(service: ServiceDescriptor, said: dict[str, list[str]]) -> str:
    parts = [f"## {service.name}", *paragraphs(said[service.name])]
    for method in service.methods:
        parts += [f"### {service.name}.{method.name}", *_rpc(method, said[f"{service.name}.{method.name}"])]
    return "\n\n".join(parts)


def _rpc(method: MethodDescriptor, lines: list[str]) -> Iterator[str]:
    incoming = f"{'stream ' if method.client_streaming else ''}{_link(method.input_type)}"
    outgoing = f"{'stream ' if method.server_streaming else ''}{_link(method.output_type)}"
    yield f"{incoming} → {outgoing}"
    at = next((number for number, line in enumerate(lines) if _ERROR.match(line)), len(lines))
    yield from paragraphs(lines[:at])
    errors: list[list[str]] = []
    more: list[str] = []  # sentences after the errors, each on a line of its own in the source
    for line in lines[at:]:
        if _ERROR.match(line):
            errors.append([line])
            more = []
        elif more or (errors and line.startswith("All errors of ")):
            more.append(line)
        elif line:
            errors[-1].append(line)
    if errors:
        yield "\n".join(["| code | reason | when |", "|---|---|---|", *map(_error, errors)])
    yield from paragraphs(more)


def _error(lines: list[str]) -> str:
    text = " ".join(lines)
    found = _ERROR.match(text)
    assert found is not None  # noqa: S101 - for the type checker
    reasons = ", ".join(f"[{reason}](errors.md#{reason.lower()})" for reason in found[2].split(", "))
    return f"| {found[1]} | {reasons} | {cell(text[found.end() :])} |"


def _types(file: FileDescriptor, said: dict[str, list[str]]) -> Iterator[str]:
    for message in file.message_types_by_name.values():
        yield from _message(message, said)
    for enum in file.enum_types_by_name.values():
        yield from _enum(enum, said)


def _message(message: Descriptor, said: dict[str, list[str]]) -> Iterator[str]:
    name = message.full_name.removeprefix(f"{PACKAGE}.")
    yield f"### {name}"
    yield from paragraphs(said[name])
    if message.fields:
        rows = ["| field | type | meaning |", "|---|---|---|"]
        for field in sorted(message.fields, key=lambda field: field.index):
            text = " ".join(paragraphs(said[f"{name}.{field.name}"]))
            rows.append(f"| `{field.name}` = {field.number} | {_type(field)} | {cell(text)} |")
        yield "\n".join(rows)
    for oneof in message.oneofs:
        if f"{name}.{oneof.name}" in said:  # not the one behind an `optional` field
            fields = ", ".join(f"`{field.name}`" for field in oneof.fields)
            yield f"`{oneof.name}` is one of {fields}. {' '.join(paragraphs(said[f'{name}.{oneof.name}']))}"
    for nested in message.nested_types:
        if not nested.GetOptions().map_entry:
            yield from _message(nested, said)
    for enum in message.enum_types:
        yield from _enum(enum, said)


def _enum(enum: EnumDescriptor, said: dict[str, list[str]]) -> Iterator[str]:
    name = enum.full_name.removeprefix(f"{PACKAGE}.")
    yield f"### {name}"
    yield from paragraphs(said[name])
    if name in ELSEWHERE:
        yield ELSEWHERE[name]
        return
    rows = ["| value | meaning |", "|---|---|"]
    for value in enum.values:
        text = " ".join(paragraphs(said[f"{name}.{value.name}"]))
        rows.append(f"| `{value.name}` = {value.number} | {cell(text)} |")
    yield "\n".join(rows)


def _type(field: FieldDescriptor) -> str:
    if field.message_type is not None:
        shown = _link(field.message_type)
    elif field.enum_type is not None:
        shown = _link(field.enum_type)
    else:
        shown = _SCALARS[field.type]
    behaviour = field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
    oneof = field.containing_oneof
    marks = [
        *(["repeated"] if _repeated(field) else []),
        *(["optional"] if oneof is not None and oneof.name == f"_{field.name}" else []),
        *(["required"] if field_behavior_pb2.REQUIRED in behaviour else []),
    ]
    return " ".join([*marks, shown])


def _repeated(field: FieldDescriptor) -> bool:
    known = getattr(field, "is_repeated", None)  # protobuf 6 deprecates `label`
    return bool(field.label == FieldDescriptor.LABEL_REPEATED if known is None else known)


def _link(described: Descriptor | EnumDescriptor) -> str:
    full: str = described.full_name
    if not full.startswith(f"{PACKAGE}."):
        return full
    name = full.removeprefix(f"{PACKAGE}.")
    return f"[{name}](#{name.lower().replace('.', '')})"


def _rpc_anchor(method: MethodDescriptor) -> str:
    return f"{method.containing_service.name}{method.name}".lower()
