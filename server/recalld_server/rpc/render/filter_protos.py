"""Converts filters from the domain to protobuf."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from recalld.v1 import filter_pb2 as pb
from recalld_server.domain.filters import AllOf, AnyOf, Filter, Instant, NoneOf, Scalar


def filter_pb(condition: Filter) -> pb.Filter:
    """Convert a filter to a message. `rpc.parse.filters.filter_of` is the inverse."""
    if isinstance(condition, AllOf):
        return pb.Filter(all_of=pb.FilterList(filters=map(filter_pb, condition.filters)))
    if isinstance(condition, AnyOf):
        return pb.Filter(any_of=pb.FilterList(filters=map(filter_pb, condition.filters)))
    if isinstance(condition, NoneOf):
        return pb.Filter(none_of=filter_pb(condition.filter))
    value = condition.value
    if isinstance(value, tuple):
        written = pb.Value(list_value=pb.ValueList(values=map(_scalar_pb, value)))
    else:
        written = _scalar_pb(value)
    operator = pb.Operator.Value(f"OPERATOR_{condition.operator.value}")
    return pb.Filter(comparison=pb.Comparison(field=condition.field, operator=operator, value=written))


def _scalar_pb(value: Scalar) -> pb.Value:
    if isinstance(value, Instant):
        seconds, micros = divmod(value.micros, 1_000_000)
        return pb.Value(timestamp_value=Timestamp(seconds=seconds, nanos=micros * 1000))
    if isinstance(value, bool):
        return pb.Value(bool_value=value)
    if isinstance(value, int):
        return pb.Value(int64_value=value)
    if isinstance(value, float):
        return pb.Value(double_value=value)
    return pb.Value(string_value=value)
