"""Convert filters from protobuf to the domain. All violations are reported at once, with their field paths."""

from __future__ import annotations

from recalld.v1 import filter_pb2 as pb
from recalld_server.domain.errors import FilterInvalid
from recalld_server.domain.filters import (
    MAX_BYTES,
    MAX_DEPTH,
    MAX_LEAVES,
    MAX_LIST,
    MAX_VALUES,
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
# Each node has a leaf below it, and each leaf has at most MAX_DEPTH nodes above it. So a filter with more nodes than
# this has more than MAX_LEAVES leaves.
_NODES = MAX_LEAVES * MAX_DEPTH
_KINDS = "all_of, any_of, none_of, comparison"
_VALUES = "string_value, int64_value, double_value, bool_value, timestamp_value, list_value"

_PLAIN = ("string_value", "int64_value", "double_value", "bool_value")


def filter_of(message: pb.Filter) -> Filter:
    """Convert a filter. Raises FilterInvalid with all its violations."""
    if (size := message.ByteSize()) > MAX_BYTES:
        text = f"must be at most {MAX_BYTES} bytes, not {size}; split it into several calls"
        raise FilterInvalid(violations=[("filter", text)])
    reader = _Reader()
    condition = reader.filter(message, "filter", 1)
    # Where the reader found a violation, it put a placeholder into `condition`: do not report that as well.
    unread = tuple(path for path, _ in reader.found)
    found = reader.found + [(path, text) for path, text in violations(condition) if not path.startswith(unread)]
    if found:
        raise FilterInvalid(violations=found)
    return condition


class _Reader:
    """Reads one filter. It stops one item beyond each size limit, which is enough for `violations` to report it."""

    def __init__(self) -> None:
        self.found: Violations = []
        self._nodes = 0
        self._values = 0

    def filter(self, message: pb.Filter, path: str, depth: int) -> Filter:
        self._nodes += 1
        if len(self.found) > MAX_LEAVES or self._nodes > _NODES or self._values > MAX_VALUES:
            return AllOf(())
        if depth > MAX_DEPTH:
            self.found.append((path, f"must be nested at most {MAX_DEPTH} levels deep"))
            return AllOf(())
        kind = message.WhichOneof("kind")
        if kind == "none_of":
            return NoneOf(self.filter(message.none_of, f"{path}.none_of", depth + 1))
        if kind == "comparison":
            return self._comparison(message.comparison, f"{path}.comparison")
        if kind is None:
            self.found.append((path, f"must have one of {_KINDS}"))
            return AllOf(())
        group = getattr(message, kind).filters[: MAX_LEAVES + 1]
        filters = tuple(self.filter(inner, f"{path}.{kind}.filters[{i}]", depth + 1) for i, inner in enumerate(group))
        return AllOf(filters) if kind == "all_of" else AnyOf(filters)

    def _comparison(self, message: pb.Comparison, path: str) -> Comparison:
        name = pb.Operator.Name(message.operator) if message.operator in pb.Operator.values() else ""
        operator = Operator.EQ
        if name in ("", "OPERATOR_UNSPECIFIED"):
            self.found.append((f"{path}.operator", f"must be one of {', '.join(Operator)}"))
        else:
            operator = Operator(name.removeprefix("OPERATOR_"))
        return Comparison(message.field, operator, self._value(message.value, f"{path}.value"))

    def _value(self, message: pb.Value, path: str) -> Value:
        if message.WhichOneof("kind") != "list_value":
            self._values += 1
            return self._scalar(message, path)
        listed = []
        for i, item in enumerate(message.list_value.values[: MAX_LIST + 1]):
            kind = item.WhichOneof("kind")
            plain = kind in _PLAIN  # no path is formatted for these: for long lists that would dominate the time
            listed.append(getattr(item, kind) if plain else self._scalar(item, f"{path}.list_value.values[{i}]"))
        self._values += len(listed)
        return tuple(listed)

    def _scalar(self, message: pb.Value, path: str) -> Scalar:
        kind = message.WhichOneof("kind")
        if kind is None or kind == "list_value":
            text = f"must have one of {_VALUES}" if kind is None else "must not be a list inside a list"
            self.found.append((path, text))
            return ""
        if kind == "timestamp_value":
            time = message.timestamp_value
            if not 0 <= time.nanos < 1_000_000_000:
                self.found.append((f"{path}.timestamp_value.nanos", "must be from 0 to 999999999"))
            return Instant(time.seconds * 1_000_000 + time.nanos // 1000)
        value: Scalar = getattr(message, kind)
        return value
