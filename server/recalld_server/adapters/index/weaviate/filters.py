"""Compiles filters to Weaviate's filters.

Weaviate cannot express substrings and the order of metadata values. For these the compiled filter selects a superset,
and `domain.filters.matches` decides for each result. Under NOT a superset requires a subset of the inner filter, so the
compiler produces either; `above` selects which.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TypeAlias

from weaviate.classes.query import Filter as Where
from weaviate.collections.classes.filters import FilterReturn
from weaviate.collections.filters import _FilterToGRPC
from weaviate.proto.v1 import base_pb2

from recalld_server.adapters.index.weaviate.objects import element, key, moment, orderly, wrapped
from recalld_server.domain.filters import (
    METADATA,
    OPTIONAL_TIMES,
    ORDER,
    TIME_FIELDS,
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Instant,
    NoneOf,
    Operator,
    Scalar,
    kind_of,
)
from recalld_server.domain.memory import SCOPE_FIELDS, Scope, digest

Condition: TypeAlias = FilterReturn | bool  # True matches all objects, False none


@dataclass(frozen=True, slots=True)
class Compiled:
    """A condition that matches at least what the filter matches; with `exact`, nothing else.

    `message` is its protobuf form; None for conditions that are constant.
    """

    condition: Condition
    exact: bool
    message: base_pb2.Filters | None

    @classmethod
    def of(cls, condition: Condition, *, exact: bool = True) -> Compiled:
        """Build the message of a condition. A constant condition has none."""
        return cls(condition, exact, None if isinstance(condition, bool) else _FilterToGRPC.convert(condition))


_EXPIRES = Where.by_property("tags").contains_any([digest("expire_time")])


def compiled(condition: Filter | None, scope: Scope, now: int) -> Compiled:
    """Compile the condition for entries inside a scope and a filter that have not expired at `now`, µs.

    Weaviate needs 50 ms per 1,000 values of a filter, so MAX_VALUES of them fit the deadline of a search.
    """
    inside: list[Condition] = [Where.by_property(name).equal(wrapped(value)) for name, value in scope.items()]
    if orderly(now):
        # Few entries have an expiry time. The tag spares Weaviate the comparison of times for all other entries.
        inside.append(_any([_not(_EXPIRES), Where.by_property("expire_time").greater_than(moment(now))]))
    compiler = _Compiler()
    wanted = True if condition is None else compiler.bound(condition, above=True)
    return Compiled.of(_all([*inside, wanted]), exact=compiler.exact and orderly(now))


class _Compiler:
    """Compiles one filter. `exact` becomes False at the first comparison that Weaviate cannot decide."""

    def __init__(self) -> None:
        self.exact = True

    def bound(self, condition: Filter, *, above: bool) -> Condition:
        """A condition for a superset of the filter's matches (`above`), or for a subset of them."""
        match condition:
            case AllOf(filters):
                return _all([self.bound(inner, above=above) for inner in filters])
            case AnyOf(filters):
                return _any([self.bound(inner, above=above) for inner in filters])
            case NoneOf(inner):
                return _not(self.bound(inner, above=not above))
            case Comparison(field, Operator.NE, value):
                return _not(self.bound(Comparison(field, Operator.EQ, value), above=not above))
            case Comparison(field, Operator.EXISTS, value):
                return _tagged([digest(field)]) if value else _not(_tagged([digest(field)]))
            case Comparison(field, operator, value):
                values = value if isinstance(value, tuple) else (value,)
                if field in TIME_FIELDS:
                    return self._time(field, operator, values, above=above)
                if operator in (Operator.EQ, Operator.IN):
                    return _equal(field, values)
                return self._undecided(_superset(field, values[0]), above=above)

    def _time(self, field: str, operator: Operator, values: tuple[Scalar, ...], *, above: bool) -> Condition:
        moments = [value.micros for value in values if isinstance(value, Instant)]
        there: Condition = _tagged([digest(field)]) if field in OPTIONAL_TIMES else True
        if not all(map(orderly, moments)):
            return self._undecided(there, above=above)
        return _all([there, _any([_compared(field, operator, micros) for micros in moments])])

    def _undecided(self, superset: Condition, *, above: bool) -> Condition:
        self.exact = False
        return superset if above else False


def _superset(field: str, value: Scalar) -> Condition:
    """A condition for all entries that may satisfy a comparison: those with an element of the value's kind."""
    return _tagged([digest(field, kind_of(value))]) if field == "categories" or field.startswith(METADATA) else True


def _equal(field: str, values: Iterable[Scalar]) -> Condition:
    if field == "id":
        return Where.by_id().contains_any([key(str(value)) for value in values])
    if field in SCOPE_FIELDS:
        return Where.by_property(field).contains_any([wrapped(str(value)) for value in values])
    return _tagged([digest(field, *element(value)) for value in values if not isinstance(value, Instant)])


def _tagged(tags: list[str]) -> FilterReturn:
    return Where.by_property("tags").contains_any(tags)


def _compared(field: str, operator: Operator, micros: int) -> FilterReturn:
    asked, at = Where.by_property(field), moment(micros)
    if operator not in ORDER:
        return asked.equal(at)
    return {
        Operator.GT: asked.greater_than,
        Operator.GTE: asked.greater_or_equal,
        Operator.LT: asked.less_than,
        Operator.LTE: asked.less_or_equal,
    }[operator](at)


def _all(conditions: list[Condition]) -> Condition:
    asked = [condition for condition in conditions if not isinstance(condition, bool)]
    if False in conditions:
        return False
    return Where.all_of(asked) if asked else True


def _any(conditions: list[Condition]) -> Condition:
    asked = [condition for condition in conditions if not isinstance(condition, bool)]
    if True in conditions:
        return True
    return Where.any_of(asked) if asked else False


def _not(condition: Condition) -> Condition:
    return not condition if isinstance(condition, bool) else Where.not_(condition)
