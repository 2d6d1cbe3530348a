"""Every kind of filter, through the whole service."""

from __future__ import annotations

from typing import Any

from google.protobuf.timestamp_pb2 import Timestamp

from recalld.v1 import filter_pb2
from recalld.v1 import memory_service_pb2 as pb

LATER = Timestamp(seconds=4_000_000_000)
EARLY = Timestamp(seconds=1_000_000_000)
CORPUS: dict[str, dict[str, Any]] = {
    "Likes Tea": {"categories": ["drink", "hot"], "metadata": {"n": 1, "tag": "a", "on": True}},
    "Likes rain": {"metadata": {"n": 2.5, "tag": ["a", "b"], "on": False}, "expire_time": LATER},
    "Likes ＦＯＧ": {"categories": ["Weather"], "metadata": {"n": "1", "x.y": None}},
}
TEA, RAIN, FOG = CORPUS


def value(given: Any) -> filter_pb2.Value:
    if isinstance(given, list):
        return filter_pb2.Value(list_value=filter_pb2.ValueList(values=[value(item) for item in given]))
    kinds = {bool: "bool_value", int: "int64_value", float: "double_value", str: "string_value"}
    return filter_pb2.Value(**{kinds.get(type(given), "timestamp_value"): given})


def where(field: str, operator: str, given: Any) -> filter_pb2.Filter:
    number = filter_pb2.Operator.Value(f"OPERATOR_{operator}")
    comparison = filter_pb2.Comparison(field=field, operator=number, value=value(given))
    return filter_pb2.Filter(comparison=comparison)


def group(kind: str, *filters: filter_pb2.Filter) -> filter_pb2.Filter:
    return filter_pb2.Filter(**{kind: filter_pb2.FilterList(filters=filters)})


def negated(inner: filter_pb2.Filter) -> filter_pb2.Filter:
    return filter_pb2.Filter(none_of=inner)


FILTERS: list[tuple[filter_pb2.Filter, list[str]]] = [
    (where("text", "EQ", TEA), [TEA]),
    (where("text", "NE", TEA), [RAIN, FOG]),
    (where("text", "CONTAINS", "Likes"), [TEA, RAIN, FOG]),
    (where("text", "CONTAINS", "tea"), []),
    (where("text", "ICONTAINS", "tea"), [TEA]),
    (where("text", "ICONTAINS", "fog"), [FOG]),
    (where("categories", "EQ", "hot"), [TEA]),
    (where("categories", "NE", "hot"), [RAIN, FOG]),
    (where("categories", "IN", ["hot", "Weather"]), [TEA, FOG]),
    (where("categories", "ICONTAINS", "weather"), [FOG]),
    (where("categories", "EXISTS", False), [RAIN]),
    (where("metadata.n", "EQ", 1), [TEA]),
    (where("metadata.n", "EQ", 1.0), [TEA]),
    (where("metadata.n", "EQ", "1"), [FOG]),
    (where("metadata.n", "GT", 1), [RAIN]),
    (where("metadata.n", "GTE", 1), [TEA, RAIN]),
    (where("metadata.n", "LT", 2.5), [TEA]),
    (where("metadata.n", "LTE", 2.5), [TEA, RAIN]),
    (where("metadata.n", "IN", [2.5, "1"]), [RAIN, FOG]),
    (where("metadata.n", "IN", [True]), []),
    (where("metadata.tag", "EQ", "a"), [TEA, RAIN]),
    (where("metadata.tag", "CONTAINS", "b"), [RAIN]),
    (where("metadata.tag", "NE", "a"), [FOG]),
    (where("metadata.on", "EQ", True), [TEA]),
    (where("metadata.on", "EXISTS", True), [TEA, RAIN]),
    (where("metadata.x.y", "EXISTS", False), [TEA, RAIN, FOG]),
    (where("expire_time", "EXISTS", True), [RAIN]),
    (where("expire_time", "EQ", LATER), [RAIN]),
    (where("expire_time", "LT", LATER), []),
    (where("create_time", "GT", EARLY), [TEA, RAIN, FOG]),
    (where("update_time", "LTE", EARLY), []),
    (where("user_id", "EXISTS", True), [TEA, RAIN, FOG]),
    (where("run_id", "EXISTS", True), []),
    (where("agent_id", "NE", "nobody"), [TEA, RAIN, FOG]),
    (group("all_of"), [TEA, RAIN, FOG]),
    (group("any_of"), []),
    (group("all_of", where("metadata.tag", "EQ", "a"), where("metadata.on", "EQ", False)), [RAIN]),
    (group("any_of", where("text", "EQ", FOG), where("metadata.n", "EQ", 1)), [TEA, FOG]),
    (negated(where("metadata.on", "EQ", True)), [RAIN, FOG]),
    (negated(group("any_of", where("text", "EQ", TEA), negated(where("expire_time", "EXISTS", True)))), [RAIN]),
]


async def test_every_kind_of_filter(api: Any) -> None:
    user = api.user()
    for text, fields in CORPUS.items():
        await api.remember(user, text, **fields)
    rain = (await api.listed(user))[1].id  # whoever names no categories gets some
    await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory={"id": rain}, update_mask={"paths": ["categories"]}))
    wrong = {}
    for condition, expected in FILTERS:
        if (found := await api.texts(user, filter=condition)) != expected:
            wrong[str(condition)] = (found, expected)
    assert wrong == {}


async def test_a_filter_by_id_and_by_time_of_one_memory(api: Any) -> None:
    user = api.user()
    first, second, third = await api.remember(user, "Likes tea", "Likes rain", "Likes fog")
    assert await api.listed(user, filter=where("id", "IN", [first.id, third.id])) == [first, third]
    await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory={"id": second.id, "text": "Likes sun"}))
    after = third.update_time
    assert await api.texts(user, filter=where("update_time", "GT", after)) == ["Likes sun"]
