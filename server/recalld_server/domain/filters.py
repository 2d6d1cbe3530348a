"""Filters over memories: their form, what makes one invalid, and what they mean.

`matches` is the law. Every store compiles filters to its own language and is held to the law by the congruence tests.
All functions but `violations` expect a filter without violations.

A comparison is about the elements a memory has under a field: one for an id or a time that is set, one for the text,
one for each category, and for `metadata.<key>` (one top-level key, dots and all) one for a scalar or for each scalar in
a list; null, objects and lists in lists give none. It holds if some element satisfies it. Types never mix: a bool is no
number, a number no string, 1 is 1.0. Strings compare by code point. NE is exactly NoneOf(EQ), so both include memories
without the field.
"""

from __future__ import annotations

import math
import operator as operators
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from recalld_server.domain.memory import SCOPE_FIELDS, Memory, fold

MAX_DEPTH = 8
MAX_LEAVES = 200
MAX_LIST = 1000
MAX_VALUES = 10_000  # of all comparisons together: each is converted, compiled, bound and compared
MAX_BYTES = 1024 * 1024  # of the whole filter as protobuf: exports keep theirs and show it
MAX_NAME_BYTES = 256
MAX_INTEGER = 2**53  # beyond it neither JSON nor a double keeps integers apart
METADATA = "metadata."
FIRST_MICROS = -62_135_596_800_000_000  # 0001-01-01, where protobuf's Timestamp begins
LAST_MICROS = 253_402_300_799_999_999  # the end of 9999


class Operator(str, Enum):
    """How the elements of a field are compared with a value."""

    EQ = "EQ"
    NE = "NE"
    IN = "IN"
    GT = "GT"
    GTE = "GTE"
    LT = "LT"
    LTE = "LTE"
    CONTAINS = "CONTAINS"
    ICONTAINS = "ICONTAINS"
    EXISTS = "EXISTS"


@dataclass(frozen=True, slots=True, order=True)
class Instant:
    """A moment in integer microseconds since the Unix epoch, UTC."""

    micros: int


Scalar = str | int | float | bool | Instant
Value = Scalar | tuple[Scalar, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Every one of the filters matches. Without filters it matches everything."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one of the filters matches. Without filters it matches nothing."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """The filter does not match."""

    filter: Filter


@dataclass(frozen=True, slots=True)
class Comparison:
    """One field against one value: a tuple for IN, a bool for EXISTS, a scalar otherwise."""

    field: str
    operator: Operator
    value: Value


Filter = AllOf | AnyOf | NoneOf | Comparison

EQUALITY = (Operator.EQ, Operator.NE, Operator.IN)
ORDER = (Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)
SUBSTRING = (Operator.CONTAINS, Operator.ICONTAINS)
OPTIONAL_TIMES = ("expire_time", "said_time", "event_time")  # a memory may lack these
TIME_FIELDS = ("create_time", "update_time", *OPTIONAL_TIMES)
OPERATORS: dict[str, tuple[Operator, ...]] = {
    **dict.fromkeys(SCOPE_FIELDS, (*EQUALITY, Operator.EXISTS)),
    "id": EQUALITY,
    "text": (Operator.EQ, Operator.NE, *SUBSTRING),
    "categories": (*EQUALITY, *SUBSTRING, Operator.EXISTS),
    "create_time": (*EQUALITY, *ORDER),
    "update_time": (*EQUALITY, *ORDER),
    **dict.fromkeys(OPTIONAL_TIMES, (*EQUALITY, *ORDER, Operator.EXISTS)),
}

_COMPARE: dict[Operator, Callable[[Any, Any], bool]] = {
    Operator.EQ: operators.eq,
    Operator.GT: operators.gt,
    Operator.GTE: operators.ge,
    Operator.LT: operators.lt,
    Operator.LTE: operators.le,
    Operator.CONTAINS: operators.contains,
}


def matches(condition: Filter, memory: Memory) -> bool:
    """Whether the memory is among those the filter describes."""
    match condition:
        case AllOf(filters):
            return all(matches(inner, memory) for inner in filters)
        case AnyOf(filters):
            return any(matches(inner, memory) for inner in filters)
        case NoneOf(inner):
            return not matches(inner, memory)
        case Comparison(field, Operator.EXISTS, value) if field.startswith(METADATA):
            return (memory.metadata.get(field.removeprefix(METADATA)) is not None) is value
        case Comparison(field, Operator.EXISTS, value):
            return bool(_elements(field, memory)) is value
        case Comparison(field, Operator.NE, value):
            return not matches(Comparison(field, Operator.EQ, value), memory)
        case Comparison(field, Operator.IN, tuple(values)):  # as a set: elements and values may be thousands
            there = {(kind_of(element), element) for element in _elements(field, memory)}
            return any((kind_of(wanted), wanted) in there for wanted in values)
        case Comparison(field, Operator.ICONTAINS, str(value)):
            wanted = fold(value)
            return any(isinstance(element, str) and wanted in fold(element) for element in _elements(field, memory))
        case Comparison(field, operator, value):
            kind, compare = kind_of(value), _COMPARE[operator]
            return any(kind_of(element) == kind and compare(element, value) for element in _elements(field, memory))


def scalars(value: Any) -> tuple[str | float | bool, ...]:
    """The elements of a metadata value, numbers as floats.

    Numbers no filter can name (not finite, integers beyond 2^53) give none; metadata that was checked holds no such.
    """
    return tuple(
        float(item) if kind_of(item) == "number" else item
        for item in (value if isinstance(value, list | tuple) else (value,))
        if kind_of(item) != "other" and not _unfit_number(item)
    )


def kind_of(value: Any) -> str:
    """The type of a value as comparisons see it: string, number, bool or time; anything else is "other"."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int | float):
        return "number"
    if isinstance(value, str):
        return "string"
    return "time" if isinstance(value, Instant) else "other"


def _elements(field: str, memory: Memory) -> tuple[Scalar, ...]:
    if field.startswith(METADATA):
        return scalars(memory.metadata.get(field.removeprefix(METADATA)))
    if field == "categories":
        return memory.categories
    if field in TIME_FIELDS:
        micros = getattr(memory, field)
        return () if micros is None else (Instant(micros),)
    if field == "text":
        return (memory.text,)
    identifier = memory.id if field == "id" else getattr(memory.scope, field)
    return (identifier,) if identifier else ()


def violations(condition: Filter, path: str = "filter") -> list[tuple[str, str]]:
    """Everything wrong with a filter, as (field path in the request, what is allowed). Empty for a valid one.

    Leaves are comparisons and groups without filters. What lies below the depth limit or beyond the limits of leaves
    and values is not looked at, so the work and the stack are bounded whatever was sent.
    """
    found: list[tuple[str, str]] = []
    leaves = values = 0

    def visit(node: Filter, at: str, depth: int) -> None:
        nonlocal leaves, values
        if leaves > MAX_LEAVES or values > MAX_VALUES:
            return
        children = node.filters if isinstance(node, AllOf | AnyOf) else ()
        if depth > MAX_DEPTH or not (children or isinstance(node, NoneOf)):
            leaves += 1
            if leaves > MAX_LEAVES:
                found.append((path, f"must have at most {MAX_LEAVES} comparisons and empty groups in all"))
                return
        if depth > MAX_DEPTH:
            found.append((at, f"must be nested at most {MAX_DEPTH} deep"))
        elif isinstance(node, NoneOf):
            visit(node.filter, f"{at}.none_of", depth + 1)
        elif isinstance(node, Comparison):
            values += len(node.value) if isinstance(node.value, tuple) else 1
            if values > MAX_VALUES:
                found.append((path, f"must have at most {MAX_VALUES} values in all; split it over several calls"))
                return
            found.extend(_comparison_violations(node, f"{at}.comparison"))
        else:
            group = "all_of" if isinstance(node, AllOf) else "any_of"
            for number, child in enumerate(children):
                visit(child, f"{at}.{group}.filters[{number}]", depth + 1)

    visit(condition, path, 1)
    return found


def _comparison_violations(comparison: Comparison, path: str) -> Iterator[tuple[str, str]]:
    field, operator, value = comparison.field, comparison.operator, comparison.value
    if field.startswith(METADATA):
        key = field.removeprefix(METADATA)
        allowed = tuple(Operator)
        if not 0 < _size(key) <= MAX_NAME_BYTES:
            yield f"{path}.field", f"must name a metadata key of 1 to {MAX_NAME_BYTES} bytes after 'metadata.'"
        if _unfit_text(key):
            yield f"{path}.field", "must hold neither NUL nor lone surrogates"
    elif field in OPERATORS:
        allowed = OPERATORS[field]
    else:
        yield f"{path}.field", f"must be one of {', '.join(OPERATORS)} or metadata.<key>"
        return
    if operator not in allowed:
        yield f"{path}.operator", f"must be one of {', '.join(allowed)} for {field.partition('.')[0]}"
        return
    if operator is not Operator.IN:
        yield from ((f"{path}.value", text) for text in _value_violations(field, _kinds(field, operator), value))
    elif not isinstance(value, tuple) or not 0 < len(value) <= MAX_LIST:
        yield f"{path}.value", f"must be a list of 1 to {MAX_LIST} values"
    else:
        kinds = _kinds(field, operator)
        for number, item in enumerate(value):
            for text in _value_violations(field, kinds, item):
                yield f"{path}.value.list_value.values[{number}]", text


def _value_violations(field: str, kinds: tuple[str, ...], value: Value) -> Iterator[str]:
    if kind_of(value) not in kinds:
        yield f"must be a {' or '.join(kinds)}"
    elif isinstance(value, Instant):
        if not FIRST_MICROS <= value.micros <= LAST_MICROS:
            yield "must lie in the years 1 to 9999"
    elif isinstance(value, str):
        if _unfit_text(value):
            yield "must hold neither NUL nor lone surrogates"
        if (field in SCOPE_FIELDS or field == "id") and not 0 < _size(value) <= MAX_NAME_BYTES:
            hint = "" if value or field == "id" else "; use EXISTS to ask whether it is set"
            yield f"must be an id of 1 to {MAX_NAME_BYTES} bytes{hint}"
    elif _unfit_number(value):
        yield "must be a finite number, and an integer at most 2^53 either side of zero"


def _kinds(field: str, operator: Operator) -> tuple[str, ...]:
    if operator is Operator.EXISTS:
        return ("bool",)
    if field in TIME_FIELDS:
        return ("time",)
    if operator in SUBSTRING or not field.startswith(METADATA):
        return ("string",)
    return ("string", "number") if operator in ORDER else ("string", "number", "bool")


def _size(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))


def _unfit_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return True
    return "\0" in text


def _unfit_number(value: Any) -> bool:
    if isinstance(value, int):
        return abs(value) > MAX_INTEGER
    return isinstance(value, float) and not math.isfinite(value)
