"""Filters over memories: their structure, validation and semantics.

`matches` defines the semantics. Each store compiles filters to its own query language, and the congruence tests compare
it with `matches`. All functions except `violations` expect a valid filter.

A field of a memory has elements: an id or a time has one if it is set, the text has one, and categories have one each.
`metadata.<key>`, where the key is one top-level key that may contain dots, has one element for a scalar and one for
each scalar in a list; null, objects and nested lists have none. A comparison holds if at least one element satisfies
it. Values of different types are never equal: neither a bool and a number nor a number and a string; 1 equals 1.0.
Strings compare by code point. NE is defined as NoneOf(EQ), so both match memories without the field.
"""

from __future__ import annotations

import math
import operator as operators
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Any

from recalld_server.domain.folding import loose
from recalld_server.domain.memory import SCOPE_FIELDS, Memory

MAX_DEPTH = 8
MAX_LEAVES = 200
MAX_LIST = 1000
MAX_VALUES = 10_000  # in all comparisons together: each is converted, compiled, bound and compared
MAX_BYTES = 1024 * 1024  # of the whole filter as protobuf: exports store their filter and return it
MAX_NAME_BYTES = 256
MAX_INTEGER = 2**53  # a double, and so JSON, cannot represent all larger integers
METADATA = "metadata."
FIRST_MICROS = -62_135_596_800_000_000  # 0001-01-01, the first day of a protobuf Timestamp
LAST_MICROS = 253_402_300_799_999_999  # the end of 9999


class Operator(str, Enum):
    """How a comparison compares the elements of a field with its value."""

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
    """Matches if all of the filters match. Without filters it matches everything."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Matches if at least one of the filters matches. Without filters it matches nothing."""

    filters: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class NoneOf:
    """Matches if the filter does not match."""

    filter: Filter


@dataclass(frozen=True, slots=True)
class Comparison:
    """Compares a field with a value: a tuple for IN, a bool for EXISTS, a scalar otherwise."""

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
    """Return whether the filter matches the memory."""
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
        case Comparison(field, Operator.IN, tuple(values)):  # with a set, because both sides may have thousands
            there = {(kind_of(element), element) for element in _elements(field, memory)}
            return any((kind_of(wanted), wanted) in there for wanted in values)
        case Comparison(field, Operator.ICONTAINS, str(value)):
            wanted = loose(value)
            return any(isinstance(element, str) and wanted in loose(element) for element in _elements(field, memory))
        case Comparison(field, operator, value):
            kind, compare = kind_of(value), _COMPARE[operator]
            return any(kind_of(element) == kind and compare(element, value) for element in _elements(field, memory))


def scalars(value: Any) -> tuple[str | float | bool, ...]:
    """Return the elements of a metadata value, with numbers as floats.

    Numbers that a filter cannot contain (not finite, or integers beyond 2^53) are dropped; validated metadata has none.
    """
    return tuple(
        float(item) if kind_of(item) == "number" else item
        for item in (value if isinstance(value, list | tuple) else (value,))
        if kind_of(item) != "other" and not _unfit_number(item)
    )


def kind_of(value: Any) -> str:
    """Return the type of a value in comparisons: "string", "number", "bool", "time", or "other" for anything else."""
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
    """Return all violations of a filter as (field path in the request, what is allowed); empty if it is valid.

    Leaves are comparisons and groups without filters. Parts below the depth limit or beyond the limits of leaves and
    values are not checked, so that the work and the stack are bounded for every input.
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
                found.append((path, f"must have at most {MAX_LEAVES} comparisons and empty groups in total"))
                return
        if depth > MAX_DEPTH:
            found.append((at, f"must be nested at most {MAX_DEPTH} levels deep"))
        elif isinstance(node, NoneOf):
            visit(node.filter, f"{at}.none_of", depth + 1)
        elif isinstance(node, Comparison):
            values += len(node.value) if isinstance(node.value, tuple) else 1
            if values > MAX_VALUES:
                found.append((path, f"must have at most {MAX_VALUES} values in total; split it over several calls"))
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
            yield f"{path}.field", "must not contain NUL characters or lone surrogates"
    elif field in OPERATORS:
        allowed = OPERATORS[field]
    else:
        yield f"{path}.field", f"must be one of {', '.join(OPERATORS)} or metadata.<key>"
        return
    if operator not in allowed:
        yield f"{path}.operator", f"must be one of {', '.join(allowed)} for {field.partition('.')[0]}"
        return
    if operator is not Operator.IN:
        yield from (
            (f"{path}.value", text) for text in _value_violations(field, operator, _kinds(field, operator), value)
        )
    elif not isinstance(value, tuple) or not 0 < len(value) <= MAX_LIST:
        yield f"{path}.value", f"must be a list of 1 to {MAX_LIST} values"
    else:
        kinds = _kinds(field, operator)
        for number, item in enumerate(value):
            for text in _value_violations(field, operator, kinds, item):
                yield f"{path}.value.list_value.values[{number}]", text


def _value_violations(field: str, operator: Operator, kinds: tuple[str, ...], value: Value) -> Iterator[str]:
    if kind_of(value) not in kinds:
        yield f"must be a {' or '.join(kinds)}"
    elif isinstance(value, Instant):
        if not FIRST_MICROS <= value.micros <= LAST_MICROS:
            yield "must be in the years 1 to 9999"
    elif isinstance(value, str):
        if _unfit_text(value):
            yield "must not contain NUL characters or lone surrogates"
        elif operator is Operator.ICONTAINS and value and not loose(value):
            yield "must contain a visible character: ICONTAINS ignores accents and invisible characters"
        if (field in SCOPE_FIELDS or field == "id") and not 0 < _size(value) <= MAX_NAME_BYTES:
            hint = "" if value or field == "id" else "; use EXISTS to test whether it is set"
            yield f"must be an id of 1 to {MAX_NAME_BYTES} bytes{hint}"
    elif _unfit_number(value):
        yield "must be a finite number; integers must be between -2^53 and 2^53"


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
