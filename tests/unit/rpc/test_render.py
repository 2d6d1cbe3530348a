"""Conversion between protobuf and the domain."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf.struct_pb2 import Struct
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from recalld.v1 import filter_pb2, memory_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.domain import filters
from recalld_server.domain.errors import FilterInvalid
from recalld_server.domain.memory import SCOPE_FIELDS, Cause, Kind, Memory, Message, Scope
from recalld_server.domain.revision import Entity, Event
from recalld_server.rpc.parse.commands import add_command, as_of, update_of
from recalld_server.rpc.render import memory_protos
from recalld_server.usecases.queries import AsOf

FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999
TEXT = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=20)
MICROS = st.integers(FIRST, LAST)
NUMBERS = st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False)
JSON = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=8,
)
METADATA = st.dictionaries(TEXT, JSON, max_size=4)
SCOPES = st.builds(Scope, TEXT, TEXT, TEXT, TEXT)
MESSAGES = st.builds(
    Message, st.sampled_from(("user", "assistant")), TEXT, TEXT, st.none() | MICROS, st.integers(0, 2**30)
)
MEMORIES = st.builds(
    Memory,
    id=st.uuids().map(str),
    text=TEXT,
    scope=SCOPES,
    metadata=METADATA,
    categories=st.lists(TEXT, max_size=3, unique=True).map(tuple),
    create_time=st.integers(1, LAST),
    update_time=st.integers(1, LAST),
    expire_time=st.none() | MICROS,
    event_time=st.none() | MICROS,
    revision=st.integers(1, 2**30),
    speaker=TEXT,
    add_id=TEXT,
    sources=st.lists(MESSAGES, max_size=2).map(tuple),
    immutable=st.booleans(),
    feedback=st.sampled_from(("", "POSITIVE", "NEGATIVE", "VERY_NEGATIVE")),
    feedback_reason=TEXT,
)


@given(MICROS)
def test_times_keep_every_microsecond(micros: int) -> None:
    time = memory_protos.timestamp_pb(micros)
    assert memory_protos.micros_of(time) == micros
    assert 0 <= time.nanos < 10**9


@pytest.mark.parametrize(("nanos", "micros"), [(0, 0), (999, 0), (1000, 1), (999_999_999, 999_999)])
def test_what_lies_beyond_the_microsecond_is_cut_off(nanos: int, micros: int) -> None:
    assert memory_protos.micros_of(Timestamp(seconds=-1, nanos=nanos)) == micros - 1_000_000


@given(SCOPES)
def test_scopes(scope: Scope) -> None:
    there = memory_pb2.Scope(**{name: getattr(scope, name) for name in SCOPE_FIELDS})
    assert memory_protos.scope_of(there) == scope
    assert memory_protos.scope_of(memory_pb2.Scope.FromString(there.SerializeToString())) == scope


@given(MESSAGES)
def test_messages(message: Message) -> None:
    assert memory_protos.message_of(memory_protos.message_pb(message)) == message


@given(METADATA)
def test_metadata(metadata: dict[str, Any]) -> None:
    there = memory_protos.metadata_pb(metadata)
    assert memory_protos.metadata_of(there or Struct()) == metadata
    assert (there is None) is (not metadata)


@pytest.mark.parametrize("number", [3, 3.0, -0.0, 2**53, -(2**53), 0.1, 1e300])
def test_whole_numbers_of_metadata_are_integers_again(number: float) -> None:
    there = memory_protos.metadata_pb({"n": [number]})
    assert there is not None
    [back] = memory_protos.metadata_of(there)["n"]
    assert back == number
    assert isinstance(back, int) is (float(number).is_integer())


@given(MEMORIES)
def test_memories_show_everything_a_caller_may_see(memory: Memory) -> None:
    there = memory_protos.memory_pb(memory)
    same = ("id", "text", "revision", "etag", "speaker", "add_id", "immutable", "feedback_reason")
    assert {name: getattr(there, name) for name in same} == {name: getattr(memory, name) for name in same}
    assert {name: getattr(there, name) for name in SCOPE_FIELDS} == {n: getattr(memory.scope, n) for n in SCOPE_FIELDS}
    assert memory_protos.metadata_of(there.metadata) == memory.metadata
    assert tuple(there.categories) == memory.categories
    assert tuple(memory_protos.message_of(source) for source in there.sources) == memory.sources
    for name in ("create_time", "update_time", "expire_time", "event_time"):
        shown = memory_protos.micros_of(getattr(there, name)) if there.HasField(name) else None
        assert shown == getattr(memory, name), name
    feedback = memory_pb2.Feedback.Name(there.feedback).removeprefix("FEEDBACK_")
    assert feedback == (memory.feedback or "UNSPECIFIED")


def test_a_memory_that_is_not_stored_has_no_times_and_no_etag() -> None:
    there = memory_protos.memory_pb(Memory(id="", text="x", scope=Scope("alex")))
    assert (there.etag, there.HasField("create_time"), there.HasField("update_time")) == ("", False, False)


@pytest.mark.parametrize("kind", Kind)
@pytest.mark.parametrize("cause", Cause)
def test_every_kind_and_cause_has_a_name(kind: Kind, cause: Cause) -> None:
    memory = Memory("m", "x", Scope("alex"), sources=(Message("user", "x"),))
    there = memory_protos.event_pb(Event(5, kind, cause, "m", memory, None, "me", "again", 7))
    assert memory_pb2.Kind.Name(there.kind) == f"KIND_{kind.value}"
    assert memory_pb2.Cause.Name(there.cause) == f"CAUSE_{'UNSPECIFIED' if cause is Cause.NONE else cause.name}"
    assert (there.sequence, there.principal, there.request_id, there.time.nanos) == (5, "me", "again", 7000)
    assert (there.HasField("memory_before"), there.HasField("memory_after"), len(there.sources)) == (True, False, 1)


def test_an_entity_has_one_number_wherever_it_is_seen() -> None:
    first, again, other = (
        memory_protos.entity_pb(Entity(type, "alex", count, 1, 2))
        for type, count in (("user_id", 1), ("user_id", 9), ("run_id", 1))
    )
    assert first.number == again.number != other.number
    assert 0 < first.number < 2**53


VALUES = {
    "string_value": "x",
    "int64_value": 2**53,
    "double_value": 0.5,
    "bool_value": True,
    "timestamp_value": Timestamp(seconds=1, nanos=2000),
}
MEANT = {"timestamp_value": filters.Instant(1_000_002)}


@pytest.mark.parametrize("kind", VALUES)
@pytest.mark.parametrize("operator", filters.Operator)
def test_comparisons(kind: str, operator: filters.Operator) -> None:
    value = filter_pb2.Value(**{kind: VALUES[kind]})
    if operator is filters.Operator.IN:
        value = filter_pb2.Value(list_value=filter_pb2.ValueList(values=[value]))
    number = filter_pb2.Operator.Value(f"OPERATOR_{operator.value}")
    field = "create_time" if kind == "timestamp_value" else "metadata.k"
    there = filter_pb2.Filter(comparison=filter_pb2.Comparison(field=field, operator=number, value=value))
    meant: Any = MEANT.get(kind, VALUES[kind])
    expected = filters.Comparison(field, operator, (meant,) if operator is filters.Operator.IN else meant)
    if filters.violations(expected):
        with pytest.raises(FilterInvalid):
            memory_protos.filter_of(there)
        return
    assert memory_protos.filter_of(there) == expected


def test_groups() -> None:
    leaf = filter_pb2.Filter(comparison={"field": "text", "operator": 1, "value": {"string_value": "x"}})
    there = filter_pb2.Filter(
        all_of={"filters": [leaf, {"none_of": leaf}, {"any_of": {"filters": [leaf]}}, {"any_of": {}}]}
    )
    text = filters.Comparison("text", filters.Operator.EQ, "x")
    expected = filters.AllOf((text, filters.NoneOf(text), filters.AnyOf((text,)), filters.AnyOf(())))
    assert memory_protos.filter_of(there) == expected


@pytest.mark.parametrize(
    ("memory", "paths", "values"),
    [
        ({"text": "x"}, [], {"text": "x"}),
        ({"text": "x"}, ["metadata"], {"metadata": {}}),
        ({"immutable": False}, ["immutable"], {"immutable": False}),
        ({"expire_time": {"seconds": 1}}, [], {"expire_time": 1_000_000}),
        ({"categories": ["a", "a"]}, ["categories", "expire_time"], {"categories": ("a",), "expire_time": None}),
    ],
)
def test_updates_name_what_changes(memory: dict[str, Any], paths: list[str], values: dict[str, Any]) -> None:
    request = pb.UpdateMemoryRequest(memory={"id": "m", **memory}, update_mask={"paths": paths}, etag="e")
    update = update_of(request.memory, request.update_mask, request.etag)
    assert (update.memory_id, update.etag, dict(update.values)) == ("m", "e", values)


def test_an_add_infers_unless_told_not_to() -> None:
    for fields, infer in (({}, True), ({"infer": True}, True), ({"infer": False}, False)):
        command = add_command(pb.AddRequest(text="x", **fields), None)
        assert (command.infer, command.messages) == (infer, [Message("user", "x")])


def test_moments() -> None:
    assert as_of(pb.ListMemoriesRequest()) is None
    assert as_of(pb.ListMemoriesRequest(as_of={"sequence": 0})) == AsOf(seq=0)
    assert as_of(pb.ListMemoriesRequest(as_of={"time": {"seconds": 1}})) == AsOf(time=1_000_000)
