"""Filters from protobuf to the domain. All problems are reported at once, under their field paths."""

from __future__ import annotations

from itertools import count

from recalld.v1 import filter_pb2 as pb
from recalld_server.domain.errors import FilterInvalid
from recalld_server.domain.filters import (
    MAX_DEPTH,
    MAX_LEAVES,
    MAX_LIST,
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Instant,
    NoneOf,
    Operator,
    Scalar,
    Value,
    violations,
)

Violations = list[tuple[str, str]]
# A node has a leaf below it and a leaf at most MAX_DEPTH nodes above, so more nodes than this mean too many leaves.
_NODES = MAX_LEAVES * MAX_DEPTH
_KINDS = "all_of, any_of, none_of, comparison"
_VALUES = "string_value, int64_value, double_value, bool_value, timestamp_value, list_value"

_PLAIN = ("string_value", "int64_value", "double_value", "bool_value")


def filter_of(message: pb.Filter) -> Filter:
    """The filter of a message. Raises FilterInvalid with every violation."""
    found: Violations = []
    condition = _filter(message, "filter", 1, found, count(1))
    # A place that could not be read is violated already; what stands in for it there is not the caller's.
    unread = tuple(path for path, _ in found)
    found += [(path, text) for path, text in violations(condition) if not path.startswith(unread)]
    if found:
        raise FilterInvalid(violations=found)
    return condition


def _filter(message: pb.Filter, path: str, depth: int, found: Violations, nodes: count[int]) -> Filter:
    if len(found) > MAX_LEAVES or next(nodes) > _NODES:
        return AllOf(())
    if depth > MAX_DEPTH:
        found.append((path, f"must be nested at most {MAX_DEPTH} deep"))
        return AllOf(())
    kind = message.WhichOneof("kind")
    if kind == "none_of":
        return NoneOf(_filter(message.none_of, f"{path}.none_of", depth + 1, found, nodes))
    if kind == "comparison":
        return _comparison(message.comparison, f"{path}.comparison", found)
    if kind is None:
        found.append((path, f"must have one of {_KINDS}"))
        return AllOf(())
    # One more than may be is enough to be refused; the rest of a hostile message is not read.
    group = getattr(message, kind).filters[: MAX_LEAVES + 1]
    filters = tuple(
        _filter(inner, f"{path}.{kind}.filters[{i}]", depth + 1, found, nodes) for i, inner in enumerate(group)
    )
    return AllOf(filters) if kind == "all_of" else AnyOf(filters)


def _comparison(message: pb.Comparison, path: str, found: Violations) -> Comparison:
    name = pb.Operator.Name(message.operator) if message.operator in pb.Operator.values() else ""
    operator = Operator.EQ
    if name in ("", "OPERATOR_UNSPECIFIED"):
        found.append((f"{path}.operator", f"must be one of {', '.join(Operator)}"))
    else:
        operator = Operator(name.removeprefix("OPERATOR_"))
    return Comparison(message.field, operator, _value(message.value, f"{path}.value", found))


def _value(message: pb.Value, path: str, found: Violations) -> Value:
    if message.WhichOneof("kind") == "list_value":
        listed = []
        for i, item in enumerate(message.list_value.values[: MAX_LIST + 1]):
            kind = item.WhichOneof("kind")
            plain = kind in _PLAIN  # most values are: a path for each would take the longest
            listed.append(getattr(item, kind) if plain else _scalar(item, f"{path}.list_value.values[{i}]", found))
        return tuple(listed)
    return _scalar(message, path, found)


def _scalar(message: pb.Value, path: str, found: Violations) -> Scalar:
    kind = message.WhichOneof("kind")
    if kind is None or kind == "list_value":
        found.append((path, f"must have one of {_VALUES}" if kind is None else "must not be a list in a list"))
        return ""
    if kind == "timestamp_value":
        time = message.timestamp_value
        if not 0 <= time.nanos < 1_000_000_000:
            found.append((f"{path}.timestamp_value.nanos", "must be from 0 to 999999999"))
        return Instant(time.seconds * 1_000_000 + time.nanos // 1000)
    value: Scalar = getattr(message, kind)
    return value
