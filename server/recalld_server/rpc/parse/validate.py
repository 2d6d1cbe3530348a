"""The validation of requests, which precedes all other work.

`check` reports all violations at once. It reads required fields from the descriptors (google.api.field_behavior),
checks every string, enum, timestamp, filter and struct of a request, and applies the checks of `checks.py`,
`operation_checks.py` and `project_checks.py` to the message types they name.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp

from recalld.v1 import filter_pb2
from recalld_server.domain.errors import FieldInvalid, FilterInvalid, LimitExceeded, TextInvalid
from recalld_server.domain.limits import BATCH
from recalld_server.domain.steps import Steps, completed
from recalld_server.rpc.parse.checks import CHECKS, Violation
from recalld_server.rpc.parse.descriptors import repeated
from recalld_server.rpc.parse.filters import filter_of
from recalld_server.rpc.parse.operation_checks import OPERATION_CHECKS
from recalld_server.rpc.parse.project_checks import PROJECT_CHECKS

_ALL = {**CHECKS, **OPERATION_CHECKS, **PROJECT_CHECKS}
MAX_NESTING = 40  # levels of nested messages; no valid request comes near
MAX_FOUND = 100  # violations after which validation stops, so that a hostile request costs bounded work
MAX_ITEMS = 2 * BATCH  # items of a list; the items of a longer one are not checked
_LOOKED_AT = (FieldDescriptor.TYPE_MESSAGE, FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_ENUM)
FIRST_SECOND, LAST_SECOND = -62_135_596_800, 253_402_300_799  # years 1 to 9999


def check(request: Any, *, unary: bool = False) -> None:
    """Raise the FieldInvalid (or subclass) of the first violation; its `violations` lists all that were found.

    With `unary`, a resume token is a violation too. Use `check` only for requests that are always small, because it
    blocks the event loop; `requests.parsed` is for all others.
    """
    completed(checking(request, unary=unary))


def checking(request: Any, *, unary: bool = False) -> Steps[None]:
    """Do the same as `check` in steps."""
    found: list[Violation] = []
    for violation in _walk(request, ""):
        if violation is None:
            yield
        else:
            found.append(violation)
            if len(found) == MAX_FOUND:
                break
    if unary and request.resume_token:
        found.append(Violation("resume_token", "must be empty: only StreamSearch can be resumed", FieldInvalid))
    if found:
        first = found[0]
        described = f"{first.field}: {first.text}."
        more = f" ({len(found) - 1} more violations)" if len(found) > 1 else ""
        metadata = {"field": first.field, **first.metadata}
        raise first.kind(described + more, violations=[(v.field, v.text) for v in found], **metadata)


def _walk(message: Any, path: str, depth: int = 0) -> Iterator[Violation | None]:
    """Yield the violations of a message, then of its fields, and None after each nested message: a point to pause."""
    kind = message.DESCRIPTOR.full_name
    if kind == Timestamp.DESCRIPTOR.full_name:
        yield from _time(message, path)
        return
    if kind == filter_pb2.Filter.DESCRIPTOR.full_name:
        yield from _filter(message, path)
        return
    if kind == Struct.DESCRIPTOR.full_name:
        yield from CHECKS[kind](message, path)
        return
    prefix = f"{path}." if path else ""
    if crowded := list(_crowded(message, prefix)):
        yield from crowded
        return
    for name in _required(message.DESCRIPTOR):
        if not _given(message, name):
            yield Violation(prefix + name, "is required")
    if kind in _ALL:
        yield from _ALL[kind](message, prefix)
    if depth >= MAX_NESTING:
        yield Violation(path, f"must be nested at most {MAX_NESTING} levels deep")
        return
    for field, value in message.ListFields():
        if field.type in _LOOKED_AT:  # `_field` has no rule for numbers, and a list of millions would take seconds
            yield from _field(field, value, prefix + field.name, depth)


def _field(field: FieldDescriptor, value: Any, path: str, depth: int) -> Iterator[Violation | None]:
    for number, item in enumerate(value) if repeated(field) else [(None, value)]:
        at = path if number is None else f"{path}[{number}]"
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            yield from _walk(item, at, depth + 1)
            yield None
        elif field.type == FieldDescriptor.TYPE_STRING and "\0" in item:
            yield Violation(at, "must not contain a NUL character", TextInvalid)
        elif field.type == FieldDescriptor.TYPE_ENUM and item not in field.enum_type.values_by_number:
            names = ", ".join(value.name for value in field.enum_type.values)
            yield Violation(at, f"must be one of {names}")


def _crowded(message: Any, prefix: str) -> Iterator[Violation]:
    """Yield a violation for each list with more than MAX_ITEMS items: a check of the items could take seconds."""
    for field, value in message.ListFields():
        if field.type in _LOOKED_AT and repeated(field) and len(value) > MAX_ITEMS:
            counts = {"limit": BATCH, "actual": len(value)}
            text = f"must have at most {BATCH} items, not {len(value)}"
            yield Violation(prefix + field.name, text, LimitExceeded, counts)


@cache
def _required(descriptor: Descriptor) -> tuple[str, ...]:
    behaviour = field_behavior_pb2.field_behavior
    return tuple(
        field.name
        for field in descriptor.fields
        if field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[behaviour]
        # The checks of these two fields raise a more precise error than "is required".
        and field.name not in ("scope", "query")
    )


def _given(message: Any, name: str) -> bool:
    field = message.DESCRIPTOR.fields_by_name[name]
    if repeated(field) or field.type != FieldDescriptor.TYPE_MESSAGE:
        return bool(getattr(message, name))
    return bool(message.HasField(name))


def _time(time: Timestamp, path: str) -> Iterator[Violation]:
    if not (FIRST_SECOND <= time.seconds <= LAST_SECOND and 0 <= time.nanos < 1_000_000_000):
        yield Violation(path, "must be in the years 1 to 9999, with nanos from 0 to 999999999")


def _filter(message: filter_pb2.Filter, path: str) -> Iterator[Violation]:
    try:
        filter_of(message)
    except FilterInvalid as error:
        for field, text in error.violations:
            yield Violation(path + field.removeprefix("filter"), text, FilterInvalid)
