"""The guide's filter grammar, compiled to `recalld.v1.Filter`.

    filter := {"AND": [filter, ...]} | {"OR": [filter, ...]} | {"NOT": filter or [filter, ...]} | {field: test, ...}
    test   := value | "*" | {operator: value, ...}

Sibling keys, and several operators in one test, must all hold. "*" means not null. NOT of a list means none of them.
Days are in UTC: `gte` and `lt` compare with the start of a day, `lte` and `gt` with its last microsecond. Unknown keys,
operators and values raise FilterError, which lists what is allowed. `timestamp` is when something was said: the time of
its message, otherwise the time of the add.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from recalld import times, validation
from recalld.errors import FilterError, invalid
from recalld.structs import MAX_INTEGER
from recalld.v1 import filter_pb2 as pb

MAX_NESTING = 32  # protects the stack; the server's limit is lower and applies after flattening
ANY = "*"
EQUALITY = {"eq": pb.OPERATOR_EQ, "ne": pb.OPERATOR_NE, "in": pb.OPERATOR_IN}
ORDER = {"gt": pb.OPERATOR_GT, "gte": pb.OPERATOR_GTE, "lt": pb.OPERATOR_LT, "lte": pb.OPERATOR_LTE}
CONTAINS = {"contains": pb.OPERATOR_CONTAINS, "icontains": pb.OPERATOR_ICONTAINS}


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the guide: its API name, its operators, and the operator that a bare value means.

    `lists`: a bare list means `in`. `nullable`: "*" tests for existence. `otherwise` is the field to compare if a
    memory lacks this one.
    """

    name: str
    operators: Mapping[str, Any]
    bare: str = "eq"
    lists: bool = False
    nullable: bool = True
    times: bool = False
    otherwise: str = ""


METADATA_OPERATORS = {**EQUALITY, **ORDER, **CONTAINS}
IDS = {name: Field(name, EQUALITY) for name in ("user_id", "agent_id", "app_id", "run_id")}
CREATED = Field("create_time", {**EQUALITY, **ORDER}, nullable=False, times=True)
# `contains` on categories matches parts of names and ignores case, as on the guide's platform.
CATEGORIES = {**EQUALITY, "contains": pb.OPERATOR_ICONTAINS, "icontains": pb.OPERATOR_ICONTAINS}
TEXT = Field("text", {"eq": pb.OPERATOR_EQ, "ne": pb.OPERATOR_NE, **CONTAINS}, bare="icontains", nullable=False)
FIELDS: Mapping[str, Field] = {
    **IDS,
    "created_at": CREATED,
    "timestamp": Field("said_time", {**EQUALITY, **ORDER}, times=True, otherwise="create_time"),
    "said_time": Field("said_time", {**EQUALITY, **ORDER}, times=True),
    **dict.fromkeys(("event_time", "event_date"), Field("event_time", {**EQUALITY, **ORDER}, times=True)),
    "updated_at": Field("update_time", {**EQUALITY, **ORDER}, nullable=False, times=True),
    "expiration_date": Field("expire_time", {**EQUALITY, **ORDER}, times=True),
    "categories": Field("categories", CATEGORIES, lists=True),
    "keywords": TEXT,
    "text": TEXT,
    "keywords_search": TEXT,
    "memory_ids": Field("id", EQUALITY, lists=True, nullable=False),
}
ALIASES: Mapping[str, str] = {
    "userId": "user_id",
    "agentId": "agent_id",
    "appId": "app_id",
    "runId": "run_id",
    "createdAt": "created_at",
    "updatedAt": "updated_at",
    "expirationDate": "expiration_date",
    "eventDate": "event_date",
    "saidTime": "said_time",
    "eventTime": "event_time",
    "keywordsSearch": "keywords_search",
    "memoryIds": "memory_ids",
}
KEYS = ("AND", "OR", "NOT", *FIELDS, "metadata")


def parse(filters: Mapping[str, Any], path: str = "filters", nesting: int = 1) -> pb.Filter:
    """Compile a filter object. An empty one matches everything. Raises FilterError."""
    if not isinstance(filters, Mapping):
        raise _refused(path, "must be an object")
    if nesting > MAX_NESTING:
        raise _refused(path, f"is nested too deeply (more than {MAX_NESTING} levels)")
    return all_of(_entry(key, value, f"{path}.{key}", nesting) for key, value in filters.items())


def condition(field: str, value: Any) -> pb.Filter:
    """Compile the test of one field, such as `condition("categories", ["likes"])`. Raises FilterError."""
    return _test(FIELDS[field], value, field)


def metadata(value: Mapping[str, Any], path: str = "metadata") -> pb.Filter:
    """Compile a metadata object. All its tests must hold. Only top-level keys can be tested. Raises FilterError."""
    if not isinstance(value, Mapping):
        raise _refused(path, "must be an object with a test for each key")
    return all_of(
        _test(Field(f"metadata.{validation.text(key, path)}", METADATA_OPERATORS), each, f"{path}.{key}")
        for key, each in value.items()
    )


def all_of(filters: Iterable[pb.Filter]) -> pb.Filter:
    """A filter that requires all of `filters`. Flattens nested conjunctions, since the server limits the depth."""
    flat: list[pb.Filter] = []
    for each in filters:
        flat += each.all_of.filters if each.WhichOneof("kind") == "all_of" else [each]
    return flat[0] if len(flat) == 1 else pb.Filter(all_of=pb.FilterList(filters=flat))


def any_of(filters: Iterable[pb.Filter]) -> pb.Filter:
    """A filter that requires at least one of `filters`."""
    listed = list(filters)
    return listed[0] if len(listed) == 1 else pb.Filter(any_of=pb.FilterList(filters=listed))


def _entry(key: str, value: Any, path: str, nesting: int) -> pb.Filter:
    if key in ("AND", "OR"):
        if not isinstance(value, list | tuple):
            raise _refused(path, "must be a list of filters")
        inner = (parse(each, f"{path}[{number}]", nesting + 1) for number, each in enumerate(value))
        return all_of(inner) if key == "AND" else any_of(inner)
    if key == "NOT":
        listed = value if isinstance(value, list | tuple) else [value]
        inner = (parse(each, f"{path}[{number}]", nesting + 1) for number, each in enumerate(listed))
        return pb.Filter(none_of=any_of(inner))
    if key == "metadata":
        return metadata(value, path)
    field = FIELDS.get(ALIASES.get(key, key))
    if field is None:
        raise _refused(path, f"is not a field; allowed: {', '.join(KEYS)}")
    return _test(field, value, path)


def _test(field: Field, value: Any, path: str) -> pb.Filter:
    if isinstance(value, Mapping):
        if not value:
            raise _refused(path, f"must name an operator: {', '.join(field.operators)}")
        return all_of(_comparison(field, operator, each, f"{path}.{operator}") for operator, each in value.items())
    if isinstance(value, str) and value == ANY:
        if field.otherwise:
            return all_of(())  # the fallback field is always set
        return _compare(field, pb.OPERATOR_EXISTS, pb.Value(bool_value=True)) if field.nullable else all_of(())
    if field.lists and isinstance(value, list | tuple | set | frozenset):
        return _comparison(field, "in", value, path)
    return _comparison(field, field.bare, value, path)


def _comparison(field: Field, operator: str, value: Any, path: str) -> pb.Filter:
    if operator not in field.operators:
        raise _refused(path, f"is not an operator of this field; allowed: {', '.join(field.operators)}")
    if field.times:
        return _time_comparison(field, operator, value, path)
    if operator != "in":
        return _compare(field, field.operators[operator], _scalar(field, value, path))
    values = [_scalar(field, each, f"{path}[{number}]") for number, each in enumerate(_listed(value, path))]
    return _compare(field, pb.OPERATOR_IN, pb.Value(list_value=pb.ValueList(values=values)))


def _time_comparison(field: Field, operator: str, value: Any, path: str) -> pb.Filter:
    if field.otherwise:
        if operator == "ne":
            return pb.Filter(none_of=_time_comparison(field, "eq", value, path))
        own, other = replace(field, otherwise=""), replace(field, name=field.otherwise, otherwise="")
        lacking = pb.Filter(none_of=_compare(own, pb.OPERATOR_EXISTS, pb.Value(bool_value=True)))
        stands_in = all_of((lacking, _time_comparison(other, operator, value, path)))
        return any_of((_time_comparison(own, operator, value, path), stands_in))
    if operator == "in":
        listed = enumerate(_listed(value, path))
        return any_of(_time_comparison(field, "eq", each, f"{path}[{number}]") for number, each in listed)
    if operator == "ne":
        return pb.Filter(none_of=_time_comparison(field, "eq", value, path))
    try:
        first, last = times.span(value)
    except ValueError as error:
        raise _refused(path, str(error)) from error
    if operator == "eq" and first != last:
        return all_of((_at(field, pb.OPERATOR_GTE, first), _at(field, pb.OPERATOR_LTE, last)))
    return _at(field, field.operators[operator], first if operator in ("eq", "gte", "lt") else last)


def _listed(value: Any, path: str) -> list[Any]:
    if not isinstance(value, list | tuple | set | frozenset) or not value:
        raise _refused(path, "must be a list with at least one value")
    return list(value)


def _scalar(field: Field, value: Any, path: str) -> pb.Value:
    if isinstance(value, str):
        return pb.Value(string_value=validation.text(value, path))
    if not field.name.startswith("metadata."):
        raise _refused(path, f"must be a string, not {type(value).__name__}")
    if isinstance(value, bool):
        return pb.Value(bool_value=value)
    if isinstance(value, int) and abs(value) <= MAX_INTEGER:
        return pb.Value(int64_value=value)
    if isinstance(value, float):
        return pb.Value(double_value=value)
    raise _refused(path, "must be a string, a bool or a number (integers from -2^53 to 2^53)")


def _at(field: Field, operator: Any, moment: datetime) -> pb.Filter:
    value = pb.Value()
    value.timestamp_value.FromDatetime(moment)
    return _compare(field, operator, value)


def _compare(field: Field, operator: Any, value: pb.Value) -> pb.Filter:
    return pb.Filter(comparison=pb.Comparison(field=field.name, operator=operator, value=value))


def _refused(path: str, description: str) -> FilterError:
    details = invalid(path, description, reason="FILTER_INVALID").details
    return FilterError("The filter is invalid.", details=details)
