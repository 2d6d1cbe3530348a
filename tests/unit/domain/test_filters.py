"""The meaning (`matches`) and validation (`violations`) of filters, case by case."""

from __future__ import annotations

import math
import time
from typing import Any

import pytest

from recalld_server.domain.filters import (
    OPERATORS,
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Instant,
    NoneOf,
    Operator,
    Value,
    matches,
    scalars,
    violations,
)
from recalld_server.domain.memory import Memory, Scope

MEMORY = Memory(
    id="m1",
    text="Likes the Straße in Köln",
    scope=Scope(user_id="alex", run_id="Run"),
    metadata={
        "n": 1,
        "half": 0.5,
        "yes": True,
        "word": "Food",
        "list": ["a", 2, False, None, ["deep"], {"k": "deep"}],
        "empty": [],
        "object": {"k": 1},
        "null": None,
        'a.b "c"': "odd",
    },
    categories=("food", "Travel plans"),
    create_time=1_000,
    update_time=2_000,
)
EXPIRING = Memory(id="m2", text="x", scope=Scope(agent_id="bot"), expire_time=5_000)


def compare(field: str, operator: str, value: Value) -> Comparison:
    return Comparison(field, Operator(operator), value)


MATCHING: list[tuple[str, str, Value]] = [
    ("user_id", "EQ", "alex"),
    ("user_id", "NE", "Alex"),
    ("user_id", "IN", ("bob", "alex")),
    ("user_id", "EXISTS", True),
    ("agent_id", "EXISTS", False),
    ("agent_id", "NE", "bot"),
    ("id", "EQ", "m1"),
    ("id", "IN", ("m1", "m2")),
    ("text", "EQ", "Likes the Straße in Köln"),
    ("text", "NE", "likes the straße in köln"),
    ("text", "CONTAINS", "the Straße"),
    ("text", "CONTAINS", ""),
    ("text", "ICONTAINS", "STRASSE"),
    ("text", "ICONTAINS", "KO\u0308LN"),
    ("text", "ICONTAINS", "\uff4c\uff29\uff4b\uff25\uff53"),
    ("categories", "EQ", "food"),
    ("categories", "NE", "plans"),
    ("categories", "IN", ("sport", "food")),
    ("categories", "CONTAINS", "plan"),
    ("categories", "ICONTAINS", "TRAVEL"),
    ("categories", "EXISTS", True),
    ("create_time", "EQ", Instant(1_000)),
    ("create_time", "GT", Instant(999)),
    ("create_time", "LTE", Instant(1_000)),
    ("update_time", "IN", (Instant(1), Instant(2_000))),
    ("expire_time", "EXISTS", False),
    ("expire_time", "NE", Instant(5_000)),
    ("metadata.n", "EQ", 1.0),
    ("metadata.n", "GTE", 1),
    ("metadata.n", "NE", True),
    ("metadata.n", "NE", "1"),
    ("metadata.n", "IN", ("x", True, 1)),
    ("metadata.half", "LT", 1),
    ("metadata.yes", "EQ", True),
    ("metadata.yes", "NE", 1),
    ("metadata.word", "LT", "a"),
    ("metadata.word", "GT", "E"),
    ("metadata.word", "CONTAINS", "oo"),
    ("metadata.word", "ICONTAINS", "fOO"),
    ("metadata.list", "EQ", "a"),
    ("metadata.list", "EQ", 2),
    ("metadata.list", "EQ", False),
    ("metadata.list", "GT", 1.5),
    ("metadata.list", "NE", "deep"),
    ("metadata.list", "EXISTS", True),
    ("metadata.empty", "EXISTS", True),
    ("metadata.object", "EXISTS", True),
    ("metadata.object", "NE", 1),
    ("metadata.null", "EXISTS", False),
    ("metadata.null", "NE", "x"),
    ("metadata.missing", "EXISTS", False),
    ("metadata.missing", "NE", 1),
    ('metadata.a.b "c"', "EQ", "odd"),
]

OTHER: list[tuple[str, str, Value]] = [
    ("user_id", "EQ", "Alex"),
    ("user_id", "NE", "alex"),
    ("agent_id", "IN", ("bot", "alex")),
    ("agent_id", "EQ", ""),
    ("run_id", "EQ", "run"),
    ("run_id", "EXISTS", False),
    ("text", "CONTAINS", "straße"),
    ("text", "CONTAINS", "%"),
    ("text", "CONTAINS", "_ikes"),
    ("categories", "EQ", "Food"),
    ("categories", "CONTAINS", "travel"),
    ("categories", "EXISTS", False),
    ("create_time", "GT", Instant(1_000)),
    ("expire_time", "LT", Instant(9_000)),
    ("expire_time", "GTE", Instant(0)),
    ("metadata.n", "EQ", True),
    ("metadata.n", "EQ", "1"),
    ("metadata.n", "GT", "0"),
    ("metadata.yes", "EQ", 1),
    ("metadata.yes", "IN", (1, "true")),
    ("metadata.word", "CONTAINS", "foo"),
    ("metadata.word", "GT", "a"),
    ("metadata.list", "NE", "a"),
    ("metadata.list", "EQ", "deep"),
    ("metadata.list", "GT", 2),
    ("metadata.list", "EXISTS", False),
    ("metadata.object", "EQ", 1),
    ("metadata.empty", "CONTAINS", ""),
    ("metadata.null", "EXISTS", True),
    ("metadata.a", "EXISTS", True),
]


@pytest.mark.parametrize(("field", "operator", "value"), MATCHING)
def test_comparison_holds(field: str, operator: str, value: Value) -> None:
    assert matches(compare(field, operator, value), MEMORY)
    assert not matches(NoneOf(compare(field, operator, value)), MEMORY)


@pytest.mark.parametrize(("field", "operator", "value"), OTHER)
def test_comparison_does_not_hold(field: str, operator: str, value: Value) -> None:
    assert not matches(compare(field, operator, value), MEMORY)
    assert matches(NoneOf(compare(field, operator, value)), MEMORY)


def test_a_memory_that_expires() -> None:
    assert matches(compare("expire_time", "EXISTS", True), EXPIRING)
    said = Memory(id="m3", text="x", scope=Scope(user_id="a"), said_time=0, event_time=7)
    assert matches(compare("said_time", "EQ", Instant(0)), said), "the epoch is a time like any other"
    assert matches(compare("event_time", "GT", Instant(6)), said)
    assert not matches(compare("event_time", "EXISTS", True), EXPIRING)
    assert matches(compare("said_time", "NE", Instant(0)), EXPIRING)
    assert matches(compare("expire_time", "EQ", Instant(5_000)), EXPIRING)
    assert not matches(compare("expire_time", "GT", Instant(5_000)), EXPIRING)


def test_strings_compare_by_code_point_not_by_utf_16_unit() -> None:
    memory = Memory(id="m", text="", scope=Scope(), metadata={"k": "\U00010000"})
    assert matches(compare("metadata.k", "GT", "\uffff"), memory)


def test_groups() -> None:
    right, wrong = compare("id", "EQ", "m1"), compare("id", "EQ", "m2")
    assert matches(AllOf(()), MEMORY)
    assert not matches(AnyOf(()), MEMORY)
    assert matches(AllOf((right, NoneOf(wrong))), MEMORY)
    assert not matches(AllOf((right, wrong)), MEMORY)
    assert matches(AnyOf((wrong, right)), MEMORY)
    assert not matches(NoneOf(AnyOf((wrong, right))), MEMORY)


def test_scalars_keep_types_apart_and_drop_what_no_filter_can_name() -> None:
    found = scalars([1, True, 1.5, "1", None, [2], {"k": 3}, math.nan, math.inf, 2**53, 2**53 + 1])
    assert [(type(item), item) for item in found] == [
        (float, 1.0),
        (bool, True),
        (float, 1.5),
        (str, "1"),
        (float, 2.0**53),
    ]


@pytest.mark.parametrize(("field", "operator", "value"), [case for case in MATCHING + OTHER if case[2] != ""])
def test_what_has_a_meaning_has_no_violations(field: str, operator: str, value: Value) -> None:
    assert violations(compare(field, operator, value)) == []


INVALID: list[tuple[str, str, Any, str, str]] = [
    ("mood", "EQ", "x", "field", "create_time"),
    ("metadata", "EQ", "x", "field", "metadata.<key>"),
    ("metadata.", "EQ", "x", "field", "1 to 256 bytes"),
    ("metadata." + "é" * 129, "EQ", "x", "field", "1 to 256 bytes"),
    ("metadata.\0", "EQ", "x", "field", "NUL"),
    ("metadata.\ud800", "EQ", "x", "field", "surrogates"),
    ("id", "EXISTS", True, "operator", "EQ, NE, IN for id"),
    ("text", "IN", ("x",), "operator", "CONTAINS"),
    ("user_id", "CONTAINS", "x", "operator", "EXISTS"),
    ("categories", "GT", "x", "operator", "ICONTAINS"),
    ("create_time", "EXISTS", True, "operator", "LTE"),
    ("user_id", "EQ", 1, "value", "a string"),
    ("user_id", "EQ", ("x",), "value", "a string"),
    ("user_id", "EQ", "", "value", "EXISTS"),
    ("id", "EQ", "", "value", "1 to 256 bytes"),
    ("run_id", "EQ", "é" * 129, "value", "1 to 256 bytes"),
    ("user_id", "EXISTS", 1, "value", "a bool"),
    ("create_time", "GT", 5, "value", "a time"),
    ("update_time", "LT", "2024-01-01", "value", "a time"),
    ("expire_time", "LT", Instant(2**62), "value", "years 1 to 9999"),
    ("text", "CONTAINS", "a\0", "value", "NUL"),
    ("text", "EQ", "\udc00", "value", "surrogates"),
    ("metadata.k", "EQ", Instant(1), "value", "string or number or bool"),
    ("metadata.k", "EQ", None, "value", "string or number or bool"),
    ("metadata.k", "GT", True, "value", "string or number"),
    ("metadata.k", "CONTAINS", 1, "value", "a string"),
    ("metadata.k", "EXISTS", "yes", "value", "a bool"),
    ("metadata.k", "EQ", math.nan, "value", "finite"),
    ("metadata.k", "LT", -math.inf, "value", "finite"),
    ("metadata.k", "EQ", 2**53 + 1, "value", "2^53"),
    ("metadata.k", "EQ", -(2**53) - 1, "value", "2^53"),
    ("metadata.k", "IN", (), "value", "1 to 1000 values"),
    ("metadata.k", "IN", "x", "value", "1 to 1000 values"),
    ("metadata.k", "IN", tuple(range(1001)), "value", "1 to 1000 values"),
    ("metadata.k", "IN", (1, Instant(1)), "value.list_value.values[1]", "string or number or bool"),
    ("user_id", "IN", ("x", ""), "value.list_value.values[1]", "1 to 256 bytes"),
]


@pytest.mark.parametrize(("field", "operator", "value", "where", "allowed"), INVALID)
def test_violation(field: str, operator: str, value: Any, where: str, allowed: str) -> None:
    [(path, description)] = violations(compare(field, operator, value))
    assert path == f"filter.comparison.{where}"
    assert allowed in description


@pytest.mark.parametrize("value", [2**53, -(2**53), 1e300, 0.1])
def test_numbers_at_the_bounds_are_valid(value: float) -> None:
    assert violations(compare("metadata.k", "EQ", value)) == []
    assert violations(compare("metadata." + "k" * 256, "IN", (value,) * 1000)) == []


def test_every_violation_is_reported_with_its_path() -> None:
    bad = compare("mood", "EQ", "x")
    condition = AllOf((AllOf(()), AnyOf((compare("id", "EQ", "m"), bad)), NoneOf(compare("metadata.", "GT", True))))
    assert [path for path, _ in violations(condition, "request.filter")] == [
        "request.filter.all_of.filters[1].any_of.filters[1].comparison.field",
        "request.filter.all_of.filters[2].none_of.comparison.field",
        "request.filter.all_of.filters[2].none_of.comparison.value",
    ]


def test_no_description_repeats_what_was_sent() -> None:
    for field, operator, value, _, _ in INVALID:
        for path, description in violations(compare(field, operator, value)):
            assert (path + description).isprintable()


def nested(depth: int, leaf: Filter) -> Filter:
    for number in range(depth - 1):
        leaf = NoneOf(leaf) if number % 2 else AllOf((leaf,))
    return leaf


def test_depth() -> None:
    leaf = compare("id", "EQ", "m")
    assert violations(nested(8, leaf)) == []
    [(path, description)] = violations(nested(9, leaf))
    assert path.endswith(".filters[0]")
    assert "8" in description
    assert len(violations(nested(100_000, leaf))) == 1


def test_leaves() -> None:
    leaf = compare("id", "EQ", "m")
    half = AnyOf((leaf,) * 99 + (AllOf(()),))
    assert violations(AllOf((half, half))) == []
    [(path, description)] = violations(AllOf((half, half, leaf)))
    assert path == "filter"
    assert "200" in description


def test_values_in_all() -> None:
    full = compare("metadata.k", "IN", tuple(range(1000)))
    assert violations(AllOf((full,) * 10)) == []
    [(path, description)] = violations(NoneOf(AnyOf((full,) * 11)))
    assert path == "filter"
    assert "10000 values" in description
    assert violations(AnyOf((*(full,) * 10, compare("text", "EQ", "x")))) == [(path, description)]


@pytest.mark.parametrize(
    ("operator", "value"),
    [("IN", tuple(range(9_000, 19_000))), ("ICONTAINS", "é" * 500_000), ("CONTAINS", "x" * 10**6)],
)
def test_the_largest_metadata_and_the_largest_value_meet_in_no_time(operator: str, value: Value) -> None:
    """In time that grows with both and not with their product, which would be minutes."""
    numbers = Memory(id="m", text="", scope=Scope(), metadata={"k": [*range(4_000), *["Ä"] * 4_000]})
    begun = time.thread_time()
    assert not matches(compare("metadata.k", operator, value), numbers)
    assert time.thread_time() - begun < 1


def test_violations_are_bounded_for_a_wide_filter() -> None:
    assert len(violations(AllOf((compare("mood", "EQ", "x"),) * 100_000))) == 201
    assert len(violations(AllOf((nested(20, AllOf(())),) * 100_000))) == 201


def test_every_operator_has_a_field_that_allows_it_and_every_field_refuses_one() -> None:
    assert {operator for allowed in OPERATORS.values() for operator in allowed} == set(Operator)
    assert all(set(allowed) < set(Operator) for allowed in OPERATORS.values())
