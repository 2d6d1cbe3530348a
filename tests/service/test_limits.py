"""Every limit: the largest value is accepted, one more is refused with its name, and refusals leave nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc
import pytest

from recalld.v1 import entity_service_pb2, filter_pb2, memory_pb2, search_service_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.domain import limits

NOBODY = {"user_id": "nobody"}  # whose memories are quickly filtered
ABSENT = "0192f0c1-5b7e-7c3a-9d52-3f1a8be0c4d7"


def add(**fields: Any) -> pb.AddRequest:
    return pb.AddRequest(**{"scope": {"user_id": "limits"}, "text": "Likes tea", "dry_run": True} | fields)


def told(**fields: Any) -> pb.AddRequest:
    """One message that is kept and not read by the extractor."""
    message = {"role": "system", "content": "Be kind."} | fields
    return add(text="", messages=[memory_pb2.Message(**message)])


def search(**fields: Any) -> search_service_pb2.SearchRequest:
    return search_service_pb2.SearchRequest(**{"query": "tea", "mode": "SEARCH_MODE_KEYWORD"} | fields)


def compared(field: str = "metadata.n", **value: Any) -> filter_pb2.Filter:
    comparison = filter_pb2.Comparison(field=field, operator=1, value=value or {"int64_value": 1})
    return filter_pb2.Filter(comparison=comparison)


def one_of(count: int) -> filter_pb2.Filter:
    values = filter_pb2.ValueList(values=[filter_pb2.Value(int64_value=n) for n in range(count)])
    comparison = filter_pb2.Comparison(field="metadata.n", operator=3, value={"list_value": values})
    return filter_pb2.Filter(comparison=comparison)


def nested(depth: int) -> filter_pb2.Filter:
    inner = compared()
    for _ in range(depth - 1):
        inner = filter_pb2.Filter(none_of=inner)
    return inner


def full(values: int) -> filter_pb2.Filter:
    """A filter of so many values in lists of 1,000."""
    lists = [one_of(min(1000, values - at)) for at in range(0, values, 1000)]
    return filter_pb2.Filter(all_of=filter_pb2.FilterList(filters=lists))


def long(size: int) -> filter_pb2.Filter:
    """A filter of so many bytes."""
    without = compared(string_value="x" * size).ByteSize() - size
    return compared(string_value="x" * (size - without))


def wide(leaves: int) -> filter_pb2.Filter:
    return filter_pb2.Filter(any_of=filter_pb2.FilterList(filters=[compared()] * leaves))


def deep(depth: int) -> dict[str, Any]:
    """A struct of so many levels, itself the first."""
    inner: Any = 1
    for _ in range(depth):
        inner = {"a": inner}
    return inner  # type: ignore[no-any-return]


# Field, limit, and the call with a request that has so many bytes or items. Over it: LIMIT_EXCEEDED.
Case = tuple[str, int, str, Callable[[int], Any]]
COUNTED: list[Case] = [
    ("text", limits.MESSAGE_BYTES, "Add", lambda n: add(text="?" * n)),
    ("messages[0].content", limits.TEXT_BYTES, "Add", lambda n: add(text="x" * n, infer=False)),
    ("messages[0].content", limits.MESSAGE_BYTES, "Add", lambda n: told(content="x" * n)),
    ("messages[0].name", limits.ID_BYTES, "Add", lambda n: told(name="x" * n)),
    ("messages", limits.MESSAGES, "Add", lambda n: add(text="", messages=[{"role": "system"}] * n)),
    ("scope.user_id", limits.ID_BYTES, "Add", lambda n: add(scope={"user_id": "é" * (n // 2) + "x" * (n % 2)})),
    ("scope.agent_id", limits.ID_BYTES, "Add", lambda n: add(scope={"agent_id": "x" * n})),
    ("scope.app_id", limits.ID_BYTES, "ListMemories", lambda n: pb.ListMemoriesRequest(scope={"app_id": "x" * n})),
    ("scope.run_id", limits.ID_BYTES, "Search", lambda n: search(scope={"run_id": "x" * n})),
    ("metadata", limits.METADATA_BYTES, "Add", lambda n: add(metadata={"k": "é" * ((n - 8) // 2) + "x" * (n % 2)})),
    ("metadata", limits.METADATA_BYTES, "Add", lambda n: add(metadata={"x" * (n - 13): "", "a": 1})),
    ("categories", 100, "Add", lambda n: add(categories=[f"c{i}" for i in range(n)])),
    ("categories[0]", limits.ID_BYTES, "Add", lambda n: add(categories=["x" * n])),
    ("includes", 8192, "Add", lambda n: add(includes="x" * n)),
    ("excludes", 8192, "Add", lambda n: add(excludes="x" * n)),
    ("custom_instructions", 8192, "Add", lambda n: add(custom_instructions="x" * n)),
    ("custom_categories", 100, "Add", lambda n: add(custom_categories=[{"name": f"c{i}"} for i in range(n)])),
    ("request_id", limits.REQUEST_ID_LENGTH, "Add", lambda n: add(request_id="x" * n)),
    ("query", limits.QUERY_BYTES, "Search", lambda n: search(query="a " * (n // 2) + "b" * (n % 2))),
    ("limit", limits.SEARCH_LIMIT, "Search", lambda n: search(limit=n)),
    ("memory_id", limits.ID_BYTES, "GetMemory", lambda n: pb.GetMemoryRequest(memory_id="x" * n)),
    ("memory_id", limits.ID_BYTES, "DeleteMemory", lambda n: pb.DeleteMemoryRequest(memory_id="x" * n)),
    (
        "memory_ids[1]",
        limits.ID_BYTES,
        "BatchDeleteMemories",
        lambda n: pb.BatchDeleteMemoriesRequest(memory_ids=[ABSENT, "x" * n]),
    ),
    (
        "memory.text",
        limits.TEXT_BYTES,
        "UpdateMemory",
        lambda n: pb.UpdateMemoryRequest(memory={"id": ABSENT, "text": "x" * n}),
    ),
    (
        "updates[0].memory.metadata",
        limits.METADATA_BYTES,
        "BatchUpdateMemories",
        lambda n: pb.BatchUpdateMemoriesRequest(updates=[{"memory": {"id": ABSENT, "metadata": {"k": "x" * (n - 8)}}}]),
    ),
    (
        "id",
        limits.ID_BYTES,
        "DeleteEntity",
        lambda n: entity_service_pb2.DeleteEntityRequest(type="ENTITY_TYPE_USER", id="x" * n),
    ),
]
# The same for filters and nesting, whose errors name the place alone.
SHAPED: list[Case] = [
    ("filter.comparison.value", 1000, "ListMemories", lambda n: pb.ListMemoriesRequest(scope=NOBODY, filter=one_of(n))),
    ("filter", 8, "ListMemories", lambda n: pb.ListMemoriesRequest(scope=NOBODY, filter=nested(n))),
    ("filter", 200, "Search", lambda n: search(scope=NOBODY, filter=wide(n))),
    ("filter", 10_000, "ListMemories", lambda n: pb.ListMemoriesRequest(scope=NOBODY, filter=full(n))),
    ("filter", 10_000, "Search", lambda n: search(scope=NOBODY, filter=full(n))),
    ("filter", 2**20, "ListEvents", lambda n: pb.ListEventsRequest(scope=NOBODY, filter=long(n))),
    ("filter", 2**20, "DeleteMemories", lambda n: pb.DeleteMemoriesRequest(scope=NOBODY, filter=long(n))),
    (
        "filter.comparison.field",
        limits.ID_BYTES,
        "ListEvents",
        lambda n: pb.ListEventsRequest(scope=NOBODY, filter=compared("metadata." + "k" * n)),
    ),
    (
        "filter.comparison.value",
        limits.ID_BYTES,
        "ListMemories",
        lambda n: pb.ListMemoriesRequest(scope=NOBODY, filter=compared("user_id", string_value="x" * n)),
    ),
    ("metadata", 16, "Add", lambda n: add(metadata=deep(n))),
    ("metadata.k", 2**53, "Add", lambda n: add(metadata={"k": n if n == 2**53 else n + 1})),
]


def stub(api: Any, name: str) -> Any:
    service = {"Search": api.search, "DeleteEntity": api.entity}.get(name, api.memory)
    return getattr(service, name)


async def head(api: Any) -> int:
    """The newest sequence number: it moves with every write."""
    return int((await api.search.Search(search(limit=1))).sequence)


async def taken(api: Any, name: str, request: Any) -> None:
    """The call works, or fails for no more than that what it names is not there."""
    try:
        await stub(api, name)(request)
    except grpc.RpcError as error:
        assert error.code() is grpc.StatusCode.NOT_FOUND, error  # noqa: PT017


def names(cases: list[Case]) -> list[str]:
    return [f"{name}-{field}-{limit}" for field, limit, name, _ in cases]


@pytest.mark.parametrize(("field", "limit", "name", "request_of"), COUNTED, ids=names(COUNTED))
async def test_one_more_than_the_limit_is_refused_by_name(
    api: Any, field: str, limit: int, name: str, request_of: Callable[[int], Any]
) -> None:
    before = await head(api)
    refusal = await api.refused(stub(api, name)(request_of(limit + 1)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "LIMIT_EXCEEDED")
    assert (refusal.fields, refusal.metadata["field"]) == ((field,), field)
    assert (refusal.metadata["limit"], refusal.metadata["actual"]) == (str(limit), str(limit + 1))
    assert str(limit) in refusal.message
    await taken(api, name, request_of(limit))
    assert await head(api) == before


@pytest.mark.parametrize(("field", "limit", "name", "request_of"), SHAPED, ids=names(SHAPED))
async def test_one_level_or_leaf_more_is_refused_with_its_place(
    api: Any, field: str, limit: int, name: str, request_of: Callable[[int], Any]
) -> None:
    before = await head(api)
    refusal = await api.refused(stub(api, name)(request_of(limit + 1)))
    assert refusal.reason == ("FILTER_INVALID" if field.startswith("filter") else "FIELD_INVALID")
    assert all(found.startswith(field) for found in refusal.fields)
    await taken(api, name, request_of(limit))
    assert await head(api) == before


def lines(facts: int) -> list[dict[str, Any]]:
    said = [f"I like number {n}." for n in range(facts)]
    return [{"role": "user", "content": "\n".join(said[at : at + 1000])} for at in range(0, facts, 1000)]


async def test_one_add_gives_so_many_facts_and_no_more(api: Any) -> None:
    asked = add(text="", messages=lines(limits.FACTS), dry_run=True)
    assert len((await api.memory.Add(asked)).results) == limits.FACTS
    asked.messages.add(role="user", content="I like one more.")
    refused = await api.refused(api.memory.Add(asked))
    assert (refused.reason, refused.metadata["limit"]) == ("LIMIT_EXCEEDED", str(limits.FACTS))
    assert "again" not in refused.message


async def test_what_stands_on_every_memory_of_an_add_counts_for_each(api: Any) -> None:
    asked = add(text="", messages=lines(2000), metadata={"k": "x" * 16_000}, dry_run=True)
    refused = await api.refused(api.memory.Add(asked))
    assert (refused.reason, refused.metadata["limit"]) == ("LIMIT_EXCEEDED", str(limits.WRITE_BYTES))
    del asked.messages[1:]
    assert len((await api.memory.Add(asked)).results) == 1000
    asked.metadata.update({"k": "", "n": list(range(100))})
    refused = await api.refused(api.memory.Add(asked))
    assert (refused.reason, refused.metadata["limit"]) == ("LIMIT_EXCEEDED", str(limits.WRITE_VALUES))


async def test_what_a_batch_of_updates_writes_is_counted_with_what_stays(api: Any) -> None:
    user = api.user()
    added = [await api.remember(user, f"Likes {n}", metadata={"k": list(range(3000))}) for n in range(7)]
    updates = [{"memory": {"id": memory.id, "text": f"{memory.text} best"}} for [memory] in added]
    refused = await api.refused(api.memory.BatchUpdateMemories(pb.BatchUpdateMemoriesRequest(updates=updates)))
    assert (refused.reason, refused.metadata["limit"]) == ("LIMIT_EXCEEDED", str(limits.WRITE_VALUES))
    assert refused.fields == ("updates",)
    changed = await api.memory.BatchUpdateMemories(pb.BatchUpdateMemoriesRequest(updates=updates[:6]))
    assert len(changed.memories) == 6


async def test_a_call_of_sixteen_mebibytes_is_taken_and_a_byte_more_is_not(api: Any) -> None:
    filler = [memory_pb2.Message(role="system", content="x" * 65_200) for _ in range(257)]
    request = add(text="", messages=[*filler, memory_pb2.Message(role="system", content="x" * 16_400)])
    request.messages[-1].content += "x" * (limits.CALL_BYTES - request.ByteSize())
    assert request.ByteSize() == limits.CALL_BYTES
    answer = await api.memory.Add(request)
    assert len(answer.verdicts) == 258
    before = await head(api)
    request.messages[-1].content += "x"
    refusal = await api.refused(api.memory.Add(request))
    assert (refusal.reason, refusal.metadata["limit"]) == ("LIMIT_EXCEEDED", str(limits.CALL_BYTES))
    assert await head(api) == before


async def test_all_violations_are_told_at_once(api: Any) -> None:
    request = pb.AddRequest(
        messages=[{"role": "king", "content": "x" * 65537}, {"content": "a\0b"}],
        text="x",
        categories=[" "],
        request_id="é",
        metadata={"k": 2**54},
    )
    refusal = await api.refused(api.memory.Add(request))
    assert {
        "scope",
        "text",
        "messages[0].role",
        "messages[0].content",
        "messages[1].role",
        "messages[1].content",
        "categories[0]",
        "request_id",
        "metadata.k",
    } == set(refusal.fields)
    assert refusal.reason == "SCOPE_MISSING"  # that of the first


async def test_so_many_violations_that_they_do_not_fit_are_still_an_answer(api: Any) -> None:
    messages = [{"role": f"king {n}", "content": "a\0b", "name": "n" * 300} for n in range(500)]
    refusal = await api.refused(api.memory.Add(add(text="", messages=messages)))
    assert len(refusal.fields) > 10
    long_name = "ключ" * 2000
    refusal = await api.refused(api.memory.Add(add(metadata={long_name: float("nan")})))
    assert refusal.fields[0].startswith("metadata.ключ")
