"""Invalid input has clear errors, as have calls that are not yet implemented."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.descriptor import MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from recalld.v1 import filter_pb2, search_service_pb2
from recalld.v1 import memory_service_pb2 as pb

FILES = sorted((Path(pb.__file__).parent).glob("*_service_pb2.py"))
METHODS: list[MethodDescriptor] = [
    method
    for path in FILES
    for service in importlib.import_module(f"recalld.v1.{path.stem}").DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
WORKING = {
    "MemoryService": {
        "Add",
        "AddAsync",
        "ImportMemories",
        "GetMemory",
        "ListMemories",
        "UpdateMemory",
        "DeleteMemory",
        "BatchUpdateMemories",
        "BatchDeleteMemories",
        "DeleteMemories",
        "RestoreMemory",
        "ListEvents",
        "Watch",
        "ForgetMemories",
        "SetFeedback",
    },
    "SearchService": {"Search", "StreamSearch"},
    "EntityService": {"ListEntities", "DeleteEntity"},
    "ProjectService": {
        "GetProject",
        "UpdateProject",
        "GetProjectSettings",
        "UpdateProjectSettings",
        "CreateApiKey",
        "ListApiKeys",
        "RevokeApiKey",
        "GetUsage",
        "GetIndexStatus",
        "RebuildIndex",
        "ReembedProject",
    },
    "ExportService": {"CreateExport", "GetExport", "ListExports", "DeleteExport", "ReadExport"},
}
OPERATORS = {"CreateProject", "ListProjects", "DeleteProject"}  # nobody is one while there are no keys
VALUE = filter_pb2.Value(string_value="x")


def path(method: MethodDescriptor) -> str:
    return f"/{method.containing_service.full_name}/{method.name}"


async def sent(api: Any, method: MethodDescriptor, data: bytes) -> Message | None:
    """The first answer to the bytes of one request, by whichever shape the method has."""
    read = GetMessageClass(method.output_type).FromString
    kind = ("stream" if method.client_streaming else "unary") + ("_stream" if method.server_streaming else "_unary")
    call = getattr(api.channel, kind)(path(method), response_deserializer=read)(
        iter([data]) if method.client_streaming else data
    )
    if not method.server_streaming:
        return await call  # type: ignore[no-any-return]
    first = await call.read()
    call.cancel()
    return None if first is grpc.aio.EOF else first


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name.removeprefix("recalld.v1."))
async def test_every_call_works_or_says_that_it_does_not_yet(api: Any, method: MethodDescriptor) -> None:
    if method.name in WORKING.get(method.containing_service.name, ()):
        try:
            await sent(api, method, b"")
        except grpc.RpcError as error:
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT, error  # noqa: PT017
        return
    refusal = await api.refused(sent(api, method, b""))
    if method.name in OPERATORS:
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_INSUFFICIENT")
        return
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNIMPLEMENTED, "NOT_YET_AVAILABLE")
    assert refusal.metadata["feature"] == method.name


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.full_name.removeprefix("recalld.v1."))
async def test_bytes_that_are_no_message_are_refused(api: Any, method: MethodDescriptor) -> None:
    for data in (b"\xff\xff\xff\xff", b"\x0a\x05abc", b"\x0a", b"\x0b" * 200):
        refusal = await api.refused(sent(api, method, data))
        if method.name in OPERATORS:  # nothing is read of who may not call
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.PERMISSION_DENIED, "ROLE_INSUFFICIENT")
            continue
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED")
        assert refusal.metadata["type"] == method.input_type.full_name


@pytest.mark.parametrize("name", sorted(OPERATORS))
async def test_bytes_of_an_operator_that_are_no_message_are_refused(keyed: Any, connect: Any, name: str) -> None:
    [method] = [method for method in METHODS if method.name == name]
    async with connect(keyed.server.target, keyed.keys["operator"]) as api:
        for data in (b"\xff\xff\xff\xff", b"\x0a\x05abc", b"\x0a", b"\x0b" * 200):
            refusal = await api.refused(sent(api, method, data))
            assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_MALFORMED")
            assert refusal.metadata["type"] == method.input_type.full_name


async def test_a_lone_surrogate_is_refused_wherever_it_stands(api: Any) -> None:
    """Only hand-made bytes can hold one: field 1 of each message is a string."""
    lone = b"\xed\xa0\x80"
    string = b"\x0a" + bytes([len(lone)]) + lone
    by_name = {method.name: method for method in METHODS}
    for name, data in {
        "Search": string,
        "GetMemory": string,
        "Add": b"\x0a" + bytes([len(string)]) + string,  # scope.user_id
        "ListMemories": b"\x0a" + bytes([len(string)]) + string,
    }.items():
        refusal = await api.refused(sent(api, by_name[name], data))
        assert refusal.reason == "REQUEST_MALFORMED", name


NUL = "a\0b"
WITH_NUL: dict[str, tuple[str, Message]] = {
    "messages[0].content": ("Add", pb.AddRequest(scope={"user_id": "x"}, messages=[{"role": "user", "content": NUL}])),
    "scope.user_id": ("Add", pb.AddRequest(scope={"user_id": NUL}, text="x")),
    "metadata.k": ("Add", pb.AddRequest(scope={"user_id": "x"}, text="x", metadata={"k": NUL})),
    "metadata.a\\0b": ("Add", pb.AddRequest(scope={"user_id": "x"}, text="x", metadata={NUL: 1})),
    "metadata.k.l": ("Add", pb.AddRequest(scope={"user_id": "x"}, text="x", metadata={"k": {"l": [1, NUL]}})),
    "categories[0]": ("Add", pb.AddRequest(scope={"user_id": "x"}, text="x", categories=[NUL])),
    "memory.text": ("UpdateMemory", pb.UpdateMemoryRequest(memory={"id": "x", "text": NUL})),
    "memory_id": ("GetMemory", pb.GetMemoryRequest(memory_id=NUL)),
    "memory_ids[0]": ("BatchDeleteMemories", pb.BatchDeleteMemoriesRequest(memory_ids=[NUL])),
    "query": ("Search", search_service_pb2.SearchRequest(query=NUL)),
}


@pytest.mark.parametrize("field", WITH_NUL)
async def test_nul_is_refused_wherever_it_stands(api: Any, field: str) -> None:
    name, request = WITH_NUL[field]
    call = api.search.Search if name == "Search" else getattr(api.memory, name)
    refusal = await api.refused(call(request))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "TEXT_INVALID")
    assert refusal.fields == (field,)


def comparison(field: str, operator: int, **value: Any) -> filter_pb2.Filter:
    return filter_pb2.Filter(comparison={"field": field, "operator": operator, "value": value})


BAD_FILTERS: dict[str, tuple[filter_pb2.Filter, str]] = {
    "nothing": (filter_pb2.Filter(), "filter"),
    "unknown field": (comparison("color", 1, string_value="x"), "filter.comparison.field"),
    "no field": (comparison("", 1, string_value="x"), "filter.comparison.field"),
    "no key": (comparison("metadata.", 1, string_value="x"), "filter.comparison.field"),
    "metadata alone": (comparison("metadata", 1, string_value="x"), "filter.comparison.field"),
    "no operator": (comparison("text", 0, string_value="x"), "filter.comparison.operator"),
    "unknown operator": (comparison("text", 99, string_value="x"), "filter.comparison.operator"),
    "operator of another field": (comparison("text", 4, string_value="x"), "filter.comparison.operator"),
    "no value": (comparison("text", 1), "filter.comparison.value"),
    "number for text": (comparison("text", 1, int64_value=1), "filter.comparison.value"),
    "text for time": (comparison("create_time", 4, string_value="2024"), "filter.comparison.value"),
    "time for metadata": (comparison("metadata.k", 1, timestamp_value={}), "filter.comparison.value"),
    "bad time": (comparison("create_time", 1, timestamp_value={"nanos": -1}), "filter.comparison.value"),
    "far time": (comparison("create_time", 1, timestamp_value={"seconds": 2**60}), "filter.comparison.value"),
    "nan": (comparison("metadata.k", 1, double_value=float("nan")), "filter.comparison.value"),
    "beyond 2^53": (comparison("metadata.k", 1, int64_value=2**53 + 1), "filter.comparison.value"),
    "text for exists": (comparison("metadata.k", 10, string_value="x"), "filter.comparison.value"),
    "no list for in": (comparison("metadata.k", 3, string_value="x"), "filter.comparison.value"),
    "empty list": (comparison("metadata.k", 3, list_value={}), "filter.comparison.value"),
    "list in a list": (
        comparison("metadata.k", 3, list_value={"values": [VALUE, {"list_value": {"values": [VALUE]}}]}),
        "filter.comparison.value.list_value.values[1]",
    ),
    "list for eq": (comparison("text", 1, list_value={"values": [VALUE]}), "filter.comparison.value"),
    "empty id": (comparison("user_id", 1, string_value=""), "filter.comparison.value"),
    "nul": (comparison("text", 1, string_value=NUL), "filter.comparison.value"),
    "inside a group": (
        filter_pb2.Filter(
            all_of={"filters": [comparison("text", 8, string_value="x"), {"none_of": comparison("color", 1)}]}
        ),
        "filter.all_of.filters[1].none_of.comparison",
    ),
}


@pytest.mark.parametrize("name", BAD_FILTERS)
async def test_a_filter_that_means_nothing_is_refused_everywhere(api: Any, name: str) -> None:
    condition, place = BAD_FILTERS[name]
    user = api.user()
    kept = await api.remember(user, "Likes tea")
    scope = {"user_id": user}
    for call in (
        api.memory.ListMemories(pb.ListMemoriesRequest(scope=scope, filter=condition)),
        api.memory.DeleteMemories(pb.DeleteMemoriesRequest(scope=scope, filter=condition)),
        api.memory.ListEvents(pb.ListEventsRequest(scope=scope, filter=condition)),
        api.search.Search(search_service_pb2.SearchRequest(query="tea", scope=scope, filter=condition)),
    ):
        refusal = await api.refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "FILTER_INVALID")
        assert refusal.fields[0].startswith(place), refusal.fields
    assert await api.listed(user) == kept


BAD_SEARCHES: dict[str, tuple[dict[str, Any], str, str]] = {
    "empty query": ({"query": ""}, "QUERY_EMPTY", "query"),
    "blank query": ({"query": " \n\t\u3000"}, "QUERY_EMPTY", "query"),
    "limit 0": ({"limit": 0}, "FIELD_INVALID", "limit"),
    "limit -1": ({"limit": -1}, "FIELD_INVALID", "limit"),
    "threshold": ({"threshold": 1.01}, "FIELD_INVALID", "threshold"),
    "threshold below 0": ({"threshold": -0.01}, "FIELD_INVALID", "threshold"),
    "threshold nan": ({"threshold": float("nan")}, "FIELD_INVALID", "threshold"),
    "mode": ({"mode": 9}, "FIELD_INVALID", "mode"),
    "max_tokens": ({"max_tokens": -1}, "FIELD_INVALID", "max_tokens"),
    "as_of of nothing": ({"as_of": {}}, "FIELD_INVALID", "as_of"),
    "resume token in a unary search": ({"resume_token": "x"}, "FIELD_INVALID", "resume_token"),
    "token of nobody": ({"at_least_as_fresh": "x"}, "CONSISTENCY_TOKEN_INVALID", "at_least_as_fresh"),
}


@pytest.mark.parametrize("name", BAD_SEARCHES)
async def test_a_search_that_means_nothing_is_refused(api: Any, name: str) -> None:
    fields, reason, field = BAD_SEARCHES[name]
    request = search_service_pb2.SearchRequest(**{"query": "tea"} | fields)
    refusal = await api.refused(api.search.Search(request))
    assert (refusal.code, refusal.reason, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, reason, (field,))


async def test_a_resume_token_of_nobody_is_refused(api: Any) -> None:
    request = search_service_pb2.SearchRequest(query="tea", resume_token="nonsense")
    refusal = await api.refused(api.search.StreamSearch(request).read())
    assert (refusal.reason, refusal.fields) == ("RESUME_TOKEN_INVALID", ("resume_token",))


@pytest.mark.parametrize(
    ("fields", "reason", "field"),
    [
        ({"text": "x"}, "SCOPE_MISSING", "scope"),
        ({"text": "x", "scope": {}}, "SCOPE_MISSING", "scope"),
        ({"scope": {"user_id": "x"}}, "FIELD_INVALID", "messages"),
        ({"scope": {"user_id": "x"}, "text": " \n"}, "FIELD_INVALID", "messages"),
        ({"scope": {"user_id": "x"}, "text": "x", "messages": [{"role": "user"}]}, "FIELD_INVALID", "text"),
        ({"scope": {"user_id": "x"}, "messages": [{"content": "x"}]}, "FIELD_INVALID", "messages[0].role"),
        ({"scope": {"user_id": "x"}, "messages": [{"role": "User"}]}, "FIELD_INVALID", "messages[0].role"),
        ({"scope": {"user_id": "x"}, "text": "x", "timestamp": {"nanos": 10**9}}, "FIELD_INVALID", "timestamp"),
        ({"scope": {"user_id": "x"}, "text": "x", "timestamp": {"seconds": 2**40}}, "FIELD_INVALID", "timestamp"),
        ({"scope": {"user_id": "x"}, "text": "x", "request_id": "a\nb"}, "FIELD_INVALID", "request_id"),
        (
            {"scope": {"user_id": "x"}, "text": "x", "custom_categories": [{}]},
            "FIELD_INVALID",
            "custom_categories[0].name",
        ),
    ],
)
async def test_an_add_that_means_nothing_is_refused(api: Any, fields: dict[str, Any], reason: str, field: str) -> None:
    refusal = await api.refused(api.memory.Add(pb.AddRequest(**fields)))
    assert (refusal.code, refusal.reason, refusal.fields) == (grpc.StatusCode.INVALID_ARGUMENT, reason, (field,))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 2.0**54, -(2.0**54)])
async def test_numbers_no_engine_keeps_are_refused(api: Any, value: float) -> None:
    request = pb.AddRequest(scope={"user_id": "x"}, text="x", metadata={"a": [{"b": value}]})
    assert (await api.refused(api.memory.Add(request))).fields == ("metadata.a.b",)
    unset = pb.AddRequest(scope={"user_id": "x"}, text="x")
    unset.metadata.fields["k"].SetInParent()
    assert (await api.refused(api.memory.Add(unset))).fields == ("metadata.k",)


async def test_an_error_names_the_correlation_id_of_its_call(api: Any) -> None:
    refusal = await api.refused(
        api.memory.GetMemory(pb.GetMemoryRequest(memory_id="x"), metadata=(("x-correlation-id", "mine"),))
    )
    assert refusal.metadata["correlation_id"] == "mine"
