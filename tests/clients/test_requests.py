"""Conversion of the guide's arguments to requests."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from recalld import InvalidRequest, exports, imports, requests, watching
from recalld.v1 import memory_pb2, search_service_pb2
from recalld.v1.memory_service_pb2 import ImportItem

MESSAGES = [
    {"role": "user", "content": "Hi, I'm Alex. I'm a vegetarian and I'm allergic to nuts."},
    {"role": "assistant", "content": "Hello Alex!"},
]


def test_add_as_in_the_guide() -> None:
    request = requests.add(
        MESSAGES, user_id="alex", run_id="trip", metadata={"food": "vegan", "n": [1, None, {"a": True}]}
    )
    assert request.scope == memory_pb2.Scope(user_id="alex", run_id="trip")
    assert [(each.role, each.content) for each in request.messages] == [(m["role"], m["content"]) for m in MESSAGES]
    assert dict(request.metadata) | {"n": None} == {"food": "vegan", "n": None}
    assert request.metadata["n"][2]["a"] is True
    assert request.infer is True
    assert not request.HasField("expire_time")
    assert len(request.request_id) == 32
    assert request.request_id != requests.add(MESSAGES, user_id="alex").request_id


def test_add_with_everything() -> None:
    request = requests.add(
        "I'm travelling to SF",
        agent_id="a",
        app_id="b",
        infer=False,
        includes="trips",
        excludes="food",
        categories=["travel"],
        custom_categories=[{"trips": "Where to", "food": "What"}, "misc"],
        custom_instructions="Be brief",
        expiration_date="2030-01-31",
        timestamp=1721433600,
        immutable=True,
        version="v2",
        async_mode=False,
        request_id="mine",
    )
    assert request.text == "I'm travelling to SF"
    assert not request.messages
    assert request.HasField("infer")
    assert not request.infer
    assert (request.includes, request.excludes, request.custom_instructions) == ("trips", "food", "Be brief")
    assert [(each.name, each.description) for each in request.custom_categories] == [
        ("trips", "Where to"),
        ("food", "What"),
        ("misc", ""),
    ]
    assert request.expire_time.ToDatetime(UTC) == datetime(2030, 2, 1, tzinfo=UTC)  # the day itself is the last
    assert request.timestamp.ToDatetime(UTC) == datetime(2024, 7, 20, tzinfo=UTC)
    assert request.immutable
    assert request.request_id == "mine"


def test_a_message_alone_with_name_and_time() -> None:
    (message,) = requests.add(
        {"role": "user", "content": "Hi", "name": "Alex", "timestamp": "2024-07-20T10:00:00+02:00"}, user_id="a"
    ).messages
    assert message.name == "Alex"
    assert message.time.ToDatetime(UTC) == datetime(2024, 7, 20, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("messages", "options", "field"),
    [
        ("x", {"user_id": ""}, "user_id"),
        ("x", {"user_id": 7}, "user_id"),
        ("x", {"metadata": ["a"]}, "metadata"),
        ("x", {"metadata": {"a": {"b": 2**53 + 1}}}, "metadata.a.b"),
        ("x", {"metadata": {"a": float("nan")}}, "metadata.a"),
        ("x", {"metadata": {"a": [datetime(2024, 1, 1, tzinfo=UTC)]}}, "metadata.a[0]"),
        ("x", {"metadata": {1: "a"}}, "metadata"),
        ("x", {"expiration_date": "soon"}, "expiration_date"),
        ("x", {"expiration_date": "9999-12-31"}, "expiration_date"),
        ("x", {"timestamp": 1e20}, "timestamp"),
        ("x", {"async_mode": True}, "async_mode"),
        ("x", {"version": "v9"}, "version"),
        (["x"], {}, "messages[0]"),
        ([{"role": "user"}], {}, "messages[0].content"),
        ([{"role": "user", "content": [{"type": "text"}]}], {}, "messages[0].content[0].text"),
        ([{"role": "user", "content": ["a", 7]}], {}, "messages[0].content[1]"),
        ([{"role": "narrator", "content": "a"}], {}, "messages[0].role"),
        (None, {}, "messages"),
        (7, {}, "messages"),
        ("half of one \ud83d", {}, "messages"),
        ([{"role": "user", "content": "half \ud83d"}], {}, "messages[0].content"),
        ([{"role": "user", "content": "a", "name": 5}], {}, "messages[0].name"),
        ("x", {"user_id": None}, "user_id"),
        ("x", {"user_id": "u", "agent_id": None}, "agent_id"),
        ("x", {"run_id": ""}, "run_id"),
        ("x", {"user_id": "\ud83d"}, "user_id"),
        ("x", {"infer": "no"}, "infer"),
        ("x", {"immutable": 1}, "immutable"),
        ("x", {"includes": ["a"]}, "includes"),
        ("x", {"categories": 5}, "categories"),
        ("x", {"categories": ["a", None]}, "categories[1]"),
        ("x", {"custom_categories": [["a"]]}, "custom_categories[0]"),
        ("x", {"custom_categories": {"a": 5}}, "custom_categories[0].a"),
        ("x", {"metadata": {"a": "\udc00"}}, "metadata.a"),
        ("x", {"request_id": ""}, "request_id"),
        ("x", {"timestamp": float("nan")}, "timestamp"),
        ([{"role": "user", "content": "a", "tone": "b"}], {}, "messages[0].tone"),
    ],
)
def test_add_refuses(messages: Any, options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        requests.add(messages, **options)
    assert [each.field for each in caught.value.violations] == [field]


def test_everything_wrong_with_a_conversation_is_named_at_once() -> None:
    with pytest.raises(InvalidRequest) as caught:
        requests.add([{"role": "user", "content": 5, "tone": "b"}, {"role": "x", "content": "a"}], user_id="a")
    named = [each.field for each in caught.value.violations]
    assert named == ["messages[0].tone", "messages[0].content", "messages[1].role"]


def test_text_that_utf8_cannot_hold_has_a_reason_of_its_own() -> None:
    for messages in ("half \ud83d", [{"role": "user", "content": "half \ud83d"}]):
        with pytest.raises(InvalidRequest) as caught:
            requests.add(messages, user_id="a")
        assert caught.value.reason == "TEXT_INVALID"


def test_one_text_is_a_list_of_one() -> None:
    request = requests.add("I like tea", user_id="a", categories="food", custom_categories={"food": "What I eat"})
    assert list(request.categories) == ["food"]
    assert [(each.name, each.description) for each in request.custom_categories] == [("food", "What I eat")]
    assert [each.name for each in requests.add("x", user_id="a", custom_categories="food").custom_categories] == [
        "food"
    ]
    assert list(requests.update("m", categories="food").memory.categories) == ["food"]
    values = requests.search("q", categories="food").filter.comparison.value.list_value.values
    assert [each.string_value for each in values] == ["food"]
    item = imports.item({"text": "Likes tea", "user_id": "a", "categories": "food"}, 0)
    assert list(item.text.categories) == ["food"]


AGENT: list[dict[str, Any]] = [
    {"role": "developer", "content": "Be brief."},
    {"role": "user", "content": [{"type": "text", "text": "I live in Oslo."}, {"type": "image_url", "image_url": {}}]},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function"}], "refusal": None},
    {"role": "tool", "tool_call_id": "c1", "content": "{}"},
    {"role": "function", "name": "lookup", "content": "42"},
    {"type": "human", "content": "Thanks", "additional_kwargs": {}, "response_metadata": {}, "id": "x"},
    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t", "content": "9"}]},
    {"role": "assistant", "tool_calls": []},
    {"role": "assistant", "content": [{"type": "output_text", "text": "Hello"}, {"type": "text", "text": "there"}]},
]


def test_conversations_of_agents_go_in_as_they_are() -> None:
    messages = requests.add(AGENT, user_id="a").messages
    assert [(each.role, each.content) for each in messages] == [
        ("system", "Be brief."),
        ("user", "I live in Oslo."),
        ("assistant", ""),
        ("tool", "{}"),
        ("tool", "42"),
        ("user", "Thanks"),
        ("user", ""),
        ("assistant", ""),
        ("assistant", "Hello\nthere"),
    ]


@pytest.mark.parametrize("make", [requests.add, requests.search])
def test_unknown_arguments_are_never_ignored(make: Any) -> None:
    with pytest.raises(TypeError, match="usr_id"):
        make("x", usr_id="alex")


def test_search_by_category_and_metadata() -> None:
    request = requests.search("What do you know about me?", categories=["food_preferences"], metadata={"food": "vegan"})
    first, second = request.filter.all_of.filters
    assert first.comparison.field == "categories"
    assert first.comparison.value.list_value.values[0].string_value == "food_preferences"
    assert second.comparison.field == "metadata.food"
    assert not request.HasField("limit")
    assert not request.HasField("threshold")
    assert not request.scope.ByteSize()


def test_search_with_everything() -> None:
    request = requests.search(
        "q",
        user_id="a",
        top_k=3,
        threshold=0.0,
        mode="keyword",
        explain=True,
        as_of=7,
        at_least_as_fresh="t",
        max_tokens=50,
    )
    assert request.limit == 3
    assert request.HasField("threshold")
    assert request.mode == search_service_pb2.SEARCH_MODE_KEYWORD
    assert request.as_of.sequence == 7
    assert (request.explain, request.at_least_as_fresh, request.max_tokens) == (True, "t", 50)
    assert not request.HasField("filter")
    past = requests.search("q", as_of=date(2024, 7, 20))
    assert past.as_of.time.ToDatetime(UTC) == datetime(2024, 7, 20, tzinfo=UTC)
    assert requests.search("q", as_of=0).as_of.WhichOneof("point") == "sequence"


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"limit": 2, "top_k": 3}, "top_k"),
        ({"mode": "magic"}, "mode"),
        ({"mode": None}, "mode"),
        ({"as_of": "then"}, "as_of"),
        ({"as_of": True}, "as_of"),
        ({"as_of": -1}, "as_of"),
        ({"user_id": None}, "user_id"),
        ({"user_id": "a", "run_id": None}, "run_id"),
        ({"agent_id": ""}, "agent_id"),
        ({"categories": []}, "categories"),
        ({"limit": "5"}, "limit"),
        ({"limit": 2**31}, "limit"),
        ({"top_k": 0}, "top_k"),
        ({"threshold": "0.5"}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"explain": "yes"}, "explain"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"at_least_as_fresh": 5}, "at_least_as_fresh"),
    ],
)
def test_search_refuses(options: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        requests.search("q", **options)
    assert caught.value.violations[0].field == field


def test_a_query_must_be_a_text() -> None:
    for query in (5, None, "\ud83d"):
        with pytest.raises(InvalidRequest) as caught:
            requests.search(query)  # type: ignore[arg-type]
        assert caught.value.violations[0].field == "query"


@pytest.mark.parametrize("name", ["user_id", "agent_id", "app_id", "run_id"])
@pytest.mark.parametrize("nothing", [None, ""])
def test_an_id_that_is_nothing_never_means_everyone(name: str, nothing: Any) -> None:
    for make in (
        lambda **ids: requests.add("x", **ids),
        lambda **ids: requests.search("q", **ids),
        requests.listing,
        requests.delete_all,
        watching.request,
        lambda **ids: exports.request("jsonl", False, False, None, **ids),
        lambda **ids: imports.item({"text": "x", **ids}, 0),
        lambda **ids: imports.item({"memory": "x", **ids}, 0),
    ):
        with pytest.raises(InvalidRequest) as caught:
            make(**{"user_id" if name != "user_id" else "agent_id": "a", name: nothing})
        assert caught.value.violations[0].field.endswith(name)


def test_listing_by_keyword() -> None:
    request = requests.listing(user_id="alex123", keywords="to play")
    assert request.filter.comparison.field == "text"
    assert request.filter.comparison.value.string_value == "to play"


def test_update_masks_what_is_given() -> None:
    assert list(requests.update("m", "new").update_mask.paths) == ["text"]
    assert requests.update("m", data="new").memory.text == "new"
    cleared = requests.update("m", metadata={}, categories=[], expiration_date=None, immutable=False, etag="e")
    assert list(cleared.update_mask.paths) == ["metadata", "categories", "expire_time", "immutable"]
    assert not cleared.memory.HasField("expire_time")
    assert cleared.etag == "e"
    with pytest.raises(InvalidRequest):
        requests.update("m")
    with pytest.raises(InvalidRequest):
        requests.update("m", "a", data="b")


def test_delete_all_needs_an_id() -> None:
    assert requests.delete_all(user_id="alex", metadata={"a": 1}).filter.comparison.field == "metadata.a"
    for options in ({}, {"metadata": {"a": 1}}):
        with pytest.raises(InvalidRequest, match="must be given"):
            requests.delete_all(**options)  # type: ignore[arg-type]


def test_batches() -> None:
    update = requests.batch_update(
        [{"memory_id": "1", "text": "Watches football"}, {"memory_id": "2", "metadata": {"a": 1}}]
    )
    assert [(each.memory.id, list(each.update_mask.paths)) for each in update.updates] == [
        ("1", ["text"]),
        ("2", ["metadata"]),
    ]
    assert update.request_id
    assert list(requests.batch_delete([{"memory_id": "1"}, "2"]).memory_ids) == ["1", "2"]


@pytest.mark.parametrize(
    ("make", "memories", "message"),
    [
        (requests.batch_update, [{"memory_id": "1", "text": "x"}] * 1001, "Maximum of 1000 memories can be updated"),
        (requests.batch_delete, ["1"] * 1001, "Maximum of 1000 memories can be deleted"),
        (requests.batch_update, [{"text": "x"}], "memory_id"),
        (requests.batch_update, [{"memory_id": "1", "memory": "x"}], r"memories\[0\]\.memory"),
        (requests.batch_delete, [{"id": "1"}], r"memories\[0\]\.id"),
        (requests.batch_delete, [{}], "memory_id"),
        (requests.batch_delete, [""], "memory_id"),
    ],
)
def test_batches_refuse(make: Any, memories: Any, message: str) -> None:
    with pytest.raises(InvalidRequest, match=message):
        make(memories)


def test_import_items() -> None:
    text = imports.item(
        {"text": "Likes tea", "user_id": "a", "name": "Alex", "timestamp": 0, "categories": ["food"]}, 0
    )
    assert text.text.message_time.ToDatetime(UTC) == datetime(1970, 1, 1, tzinfo=UTC)
    assert list(text.text.categories) == ["food"]
    memory = imports.item(
        {
            "id": "m",
            "memory": "Likes tea",
            "user_id": "a",
            "hash": "h",
            "metadata": None,
            "categories": None,
            "created_at": "2024-07-20T01:30:36.275141-07:00",
            "updated_at": "2024-07-20T01:30:36.275172-07:00",
            "input": [{"role": "user", "content": "I like tea"}],
            "vector": [0.5, 0.25],
            "vector_model": "x",
        },
        1,
    )
    assert memory.memory.create_time.ToDatetime(UTC) == datetime(2024, 7, 20, 8, 30, 36, 275141, UTC)
    assert memory.memory.sources[0].content == "I like tea"
    assert list(memory.vector) == [0.5, 0.25]
    whole = ImportItem()
    assert imports.item(whole, 2) is whole
    for wrong, field in (
        ({"text": 5, "user_id": "a"}, "items[3].text"),
        ({"text": "x", "user_id": "a", "metadata": [1]}, "items[3].metadata"),
        ({"memory": "x", "user_id": "a", "vector": ["a"]}, "items[3].vector[0]"),
        ({"memory": "x", "user_id": "a", "vector": "ab"}, "items[3].vector"),
        ({"memory": "x", "user_id": "a", "revision": "1"}, "items[3].revision"),
        ({"memory": "x", "user_id": "a", "input": "said"}, "items[3].input"),
        ({"memory": "x", "user_id": "a", "immutable": "yes"}, "items[3].immutable"),
        ({"text": "surr \ud83d", "user_id": "a"}, "items[3].text"),
        ({"\ud83d": "x"}, "items[3].\\ud83d"),
    ):
        with pytest.raises(InvalidRequest) as caught:
            imports.item(wrong, 3)
        assert [each.field for each in caught.value.violations] == [field]
        str(caught.value).encode()
    nested: Any = {}
    for _ in range(2000):
        nested = {"a": nested}
    with pytest.raises(InvalidRequest, match="nested"):
        imports.item({"text": "x", "user_id": "a", "metadata": nested}, 3)
    with pytest.raises(InvalidRequest, match=r"items\[3\]\.colour"):
        imports.item({"text": "x", "colour": "red"}, 3)
