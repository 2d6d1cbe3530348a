"""The guide's filter grammar, case by case, including everything that it refuses."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from recalld import FilterError
from recalld import filters as grammar
from recalld.v1 import filter_pb2 as pb


def shown(node: pb.Filter) -> Any:
    """A filter as nested tuples, for reading."""
    kind = node.WhichOneof("kind")
    if kind in ("all_of", "any_of"):
        return kind, [shown(each) for each in getattr(node, kind).filters]
    if kind == "none_of":
        return kind, shown(node.none_of)
    operator = pb.Operator.Name(node.comparison.operator).removeprefix("OPERATOR_")
    return node.comparison.field, operator, value(node.comparison.value)


def value(given: pb.Value) -> Any:
    kind = given.WhichOneof("kind")
    if kind == "timestamp_value":
        return given.timestamp_value.ToDatetime(UTC).isoformat()
    if kind == "list_value":
        return [value(each) for each in given.list_value.values]
    return getattr(given, kind)


JULY_1, JULY_31 = "2024-07-01T00:00:00+00:00", "2024-07-31T23:59:59.999999+00:00"
GUIDE = {
    "search by user and agents": (
        {"AND": [{"user_id": "alex"}, {"agent_id": {"in": ["travel-assistant", "customer-support"]}}]},
        ("all_of", [("user_id", "EQ", "alex"), ("agent_id", "IN", ["travel-assistant", "customer-support"])]),
    ),
    "search by dates, the wrong way round": (
        {"AND": [{"created_at": {"gte": "2024-07-20", "lte": "2024-07-10"}}, {"user_id": "alex"}]},
        (
            "all_of",
            [
                ("create_time", "GTE", "2024-07-20T00:00:00+00:00"),
                ("create_time", "LTE", "2024-07-10T23:59:59.999999+00:00"),
                ("user_id", "EQ", "alex"),
            ],
        ),
    ),
    "list by user, dates, category and keyword": (
        {
            "AND": [
                {"user_id": "alex"},
                {"created_at": {"gte": "2024-07-01", "lte": "2024-07-31"}},
                {"categories": {"contains": "food_preferences"}},
                {"keywords": {"contains": "to play"}},
            ]
        },
        (
            "all_of",
            [
                ("user_id", "EQ", "alex"),
                ("create_time", "GTE", JULY_1),
                ("create_time", "LTE", JULY_31),
                ("categories", "ICONTAINS", "food_preferences"),
                ("text", "CONTAINS", "to play"),
            ],
        ),
    ),
}
GRAMMAR = {
    "nothing": ({}, ("all_of", [])),
    "siblings are joined by and": (
        {"user_id": "a", "run_id": "r"},
        ("all_of", [("user_id", "EQ", "a"), ("run_id", "EQ", "r")]),
    ),
    "or": ({"OR": [{"user_id": "a"}, {"user_id": "b"}]}, ("any_of", [("user_id", "EQ", "a"), ("user_id", "EQ", "b")])),
    "or of nothing": ({"OR": []}, ("any_of", [])),
    "not": ({"NOT": {"user_id": "a"}}, ("none_of", ("user_id", "EQ", "a"))),
    "not of a list is none of them": (
        {"NOT": [{"user_id": "a"}, {"run_id": "r"}]},
        ("none_of", ("any_of", [("user_id", "EQ", "a"), ("run_id", "EQ", "r")])),
    ),
    "eq": ({"app_id": {"eq": "a"}}, ("app_id", "EQ", "a")),
    "ne": ({"app_id": {"ne": "a"}}, ("app_id", "NE", "a")),
    "any id": ({"app_id": "*"}, ("app_id", "EXISTS", True)),
    "any text is every memory": ({"text": "*"}, ("all_of", [])),
    "camelCase": (
        {"userId": "a", "createdAt": {"gt": "2024-07-01T10:00:00Z"}},
        ("all_of", [("user_id", "EQ", "a"), ("create_time", "GT", "2024-07-01T10:00:00+00:00")]),
    ),
    "category": ({"categories": "likes"}, ("categories", "EQ", "likes")),
    "any of several categories": ({"categories": ["likes", "food"]}, ("categories", "IN", ["likes", "food"])),
    "keyword without regard to case": ({"keywords": {"icontains": "x"}}, ("text", "ICONTAINS", "x")),
    "bare keyword": ({"keywords": "x"}, ("text", "ICONTAINS", "x")),
    "ids": ({"memory_ids": ["1", "2"]}, ("id", "IN", ["1", "2"])),
    "ids in": ({"memoryIds": {"in": ["1"]}}, ("id", "IN", ["1"])),
    "metadata": ({"metadata": {"a": 1, "b": True}}, ("all_of", [("metadata.a", "EQ", 1), ("metadata.b", "EQ", True)])),
    "metadata operators": (
        {"metadata": {"n": {"gte": 1.5, "lt": 3}, "s": {"ne": "x"}, "t": {"contains": "y"}}},
        (
            "all_of",
            [
                ("metadata.n", "GTE", 1.5),
                ("metadata.n", "LT", 3),
                ("metadata.s", "NE", "x"),
                ("metadata.t", "CONTAINS", "y"),
            ],
        ),
    ),
    "metadata is there": ({"metadata": {"a": "*"}}, ("metadata.a", "EXISTS", True)),
    "metadata in": ({"metadata": {"a": {"in": ["x", "y"]}}}, ("metadata.a", "IN", ["x", "y"])),
    "expiry": ({"expiration_date": {"gt": "2024-07-31"}}, ("expire_time", "GT", JULY_31)),
    "no expiry": ({"NOT": {"expiration_date": "*"}}, ("none_of", ("expire_time", "EXISTS", True))),
    "lt a day": ({"updated_at": {"lt": "2024-07-01"}}, ("update_time", "LT", JULY_1)),
    "on a day": (
        {"created_at": "2024-07-01"},
        ("all_of", [("create_time", "GTE", JULY_1), ("create_time", "LTE", "2024-07-01T23:59:59.999999+00:00")]),
    ),
    "not on a day": (
        {"created_at": {"ne": "2024-07-01"}},
        (
            "none_of",
            ("all_of", [("create_time", "GTE", JULY_1), ("create_time", "LTE", "2024-07-01T23:59:59.999999+00:00")]),
        ),
    ),
    "at one of two moments": (
        {"created_at": {"in": ["2024-07-01T00:00:00", "2024-07-01T02:00:00+02:00"]}},
        ("any_of", [("create_time", "EQ", JULY_1), ("create_time", "EQ", JULY_1)]),
    ),
    "when it was said, or else stored": (
        {"timestamp": {"lte": "2024-07-31"}},
        (
            "any_of",
            [
                ("said_time", "LTE", JULY_31),
                ("all_of", [("none_of", ("said_time", "EXISTS", True)), ("create_time", "LTE", JULY_31)]),
            ],
        ),
    ),
    "the time of its message alone": ({"said_time": {"lte": "2024-07-31"}}, ("said_time", "LTE", JULY_31)),
    "when it happened": ({"event_date": {"gt": "2024-07-31"}}, ("event_time", "GT", JULY_31)),
    "that it is known when it happened": ({"eventTime": "*"}, ("event_time", "EXISTS", True)),
    "a time that is always there": ({"timestamp": "*"}, ("all_of", [])),
    "a date": ({"created_at": {"lte": date(2024, 7, 31)}}, ("create_time", "LTE", JULY_31)),
    "a datetime": ({"created_at": {"lte": datetime(2024, 7, 1, tzinfo=UTC)}}, ("create_time", "LTE", JULY_1)),
    "the last day there is": (
        {"created_at": {"lte": "9999-12-31"}},
        ("create_time", "LTE", "9999-12-31T23:59:59.999999+00:00"),
    ),
    "nested": (
        {"AND": [{"AND": [{"user_id": "a"}]}, {"OR": [{"run_id": "r"}, {"NOT": {"app_id": "*"}}]}]},
        (
            "all_of",
            [("user_id", "EQ", "a"), ("any_of", [("run_id", "EQ", "r"), ("none_of", ("app_id", "EXISTS", True))])],
        ),
    ),
}


@pytest.mark.parametrize(("given", "meant"), [*GUIDE.values(), *GRAMMAR.values()], ids=[*GUIDE, *GRAMMAR])
def test_meaning(given: dict[str, Any], meant: Any) -> None:
    assert shown(grammar.parse(given)) == meant


DEEP: dict[str, Any] = {"user_id": "a"}
for _ in range(40):
    DEEP = {"NOT": DEEP}


@pytest.mark.parametrize(
    ("given", "place", "allowed"),
    [
        ({"user": "a"}, "filters.user", "user_id"),
        ({"AND": {"user_id": "a"}}, "filters.AND", "list"),
        ({"AND": [{"OR": ["a"]}]}, "filters.AND[0].OR[0]", "object"),
        ({"user_id": {"like": "a"}}, "filters.user_id.like", "eq, ne, in"),
        ({"user_id": {"contains": "a"}}, "filters.user_id.contains", "eq, ne, in"),
        ({"user_id": {}}, "filters.user_id", "operator"),
        ({"user_id": 7}, "filters.user_id", "string"),
        ({"user_id": None}, "filters.user_id", "string"),
        ({"user_id": ["a", "b"]}, "filters.user_id", "string"),
        ({"user_id": {"in": "a"}}, "filters.user_id.in", "list"),
        ({"user_id": {"in": []}}, "filters.user_id.in", "at least one"),
        ({"user_id": {"in": ["a", 1]}}, "filters.user_id.in[1]", "string"),
        ({"created_at": {"gte": "yesterday"}}, "filters.created_at.gte", "YYYY-MM-DD"),
        ({"created_at": {"gte": 1721433600}}, "filters.created_at.gte", "YYYY-MM-DD"),
        ({"created_at": {"contains": "2024"}}, "filters.created_at.contains", "gte"),
        ({"metadata": "{'food': 'vegan'}"}, "filters.metadata", "object"),
        ({"metadata": {"a": {"b": 1}}}, "filters.metadata.a.b", "eq"),
        ({"metadata": {"a": None}}, "filters.metadata.a", "string"),
        ({"metadata": {"a": 2**53 + 1}}, "filters.metadata.a", "2^53"),
        ({"metadata": {"a": ["x"]}}, "filters.metadata.a", "string"),
        ("[object Object]", "filters", "object"),
    ],
)
def test_refusal_names_place_and_what_is_allowed(given: Any, place: str, allowed: str) -> None:
    with pytest.raises(FilterError) as caught:
        grammar.parse(given)
    (violation,) = caught.value.violations
    assert violation.field == place
    assert allowed in violation.description
    assert caught.value.reason == "FILTER_INVALID"


def test_depth_is_bounded() -> None:
    with pytest.raises(FilterError, match="nested too deep"):
        grammar.parse(DEEP)
