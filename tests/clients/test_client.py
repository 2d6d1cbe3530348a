"""Both clients against a fake server: requests on the wire, and retries."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

import recalld
from recalld import AsyncMemoryClient, MemoryClient
from recalld.channel import Connection
from recalld.v1 import entity_service_pb2, memory_pb2, memory_service_pb2, search_service_pb2

UNAVAILABLE = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0], message="starting")
Ask = Callable[..., Any]


@pytest.fixture(params=["blocking", "asyncio"])
def ask(request: pytest.FixtureRequest, fake: Any) -> Ask:
    """Calls one method of a fresh client of either kind: ask("get", "m1", timeout=3)."""

    def blocking(method: str, *arguments: Any, **options: Any) -> Any:
        with MemoryClient(fake.target, "rk_1_secret") as client:
            return getattr(client, method)(*arguments, **options)

    def awaited(method: str, *arguments: Any, **options: Any) -> Any:
        async def run() -> Any:
            async with AsyncMemoryClient(fake.target, "rk_1_secret") as client:
                return await getattr(client, method)(*arguments, **options)

        return asyncio.run(run())

    return blocking if request.param == "blocking" else awaited


def test_metadata_and_deadline(fake: Any, ask: Ask) -> None:
    fake.answers["GetMemory"] = [memory_service_pb2.GetMemoryResponse(memory=memory_pb2.Memory(id="m1", text="x"))] * 2
    assert ask("get", "m1")["memory"] == "x"
    ask("get", memory_id="m1", timeout=3)
    first, second = fake.asked
    assert first.metadata["authorization"] == "Bearer rk_1_secret"
    assert len(first.metadata["x-correlation-id"]) == 32
    assert first.metadata["x-correlation-id"] != second.metadata["x-correlation-id"]
    assert 25 < first.seconds_left < 30.1  # the library rounds up on the wire
    assert 2 < second.seconds_left < 3.1


def test_unavailable_is_retried_with_the_same_request_id(fake: Any, ask: Ask) -> None:
    fake.answers["Add"] = [UNAVAILABLE, UNAVAILABLE, memory_service_pb2.AddResponse()]
    assert ask("add", "I'm a vegetarian", user_id="alex") == []
    ids = {each.request.request_id for each in fake.asked}
    assert len(fake.asked) == 3
    assert len(ids) == 1
    assert all(ids)


def test_retries_end(fake: Any, ask: Ask) -> None:
    fake.answers["Search"] = [UNAVAILABLE] * 9
    with pytest.raises(recalld.Unavailable) as caught:
        ask("search", "q", user_id="alex")
    assert len(fake.asked) == 4
    assert caught.value.correlation_id == fake.asked[0].metadata["x-correlation-id"]


def test_other_errors_are_not_retried(fake: Any, ask: Ask) -> None:
    packed = any_pb2.Any()
    packed.Pack(error_details_pb2.ErrorInfo(reason="MEMORY_NOT_FOUND", domain="recalld"))
    fake.answers["GetMemory"] = [status_pb2.Status(code=5, message="Memory not found.", details=[packed])]
    with pytest.raises(recalld.NotFound) as caught:
        ask("get", "m9")
    assert caught.value.reason == "MEMORY_NOT_FOUND"
    assert len(fake.asked) == 1


def test_deadline_passes(fake: Any, ask: Ask) -> None:
    fake.answers["GetMemory"] = [lambda request, context: time.sleep(0.5)]
    with pytest.raises(recalld.DeadlineExceeded):
        ask("get", "m1", timeout=0.1)


def test_nobody_there() -> None:
    with MemoryClient("127.0.0.1:1") as client, pytest.raises(recalld.Unavailable):
        client.users(timeout=5)


def memories(*ids: str, token: str = "", total: int = 0) -> memory_service_pb2.ListMemoriesResponse:
    listed = [memory_pb2.Memory(id=each) for each in ids]
    return memory_service_pb2.ListMemoriesResponse(memories=listed, next_page_token=token, total_size=total)


def test_get_all_walks_the_pages(fake: Any, ask: Ask) -> None:
    fake.answers["ListMemories"] = [memories("1", "2", token="t"), memories("3"), memories("1")]
    assert [each["id"] for each in ask("get_all", user_id="alex")] == ["1", "2", "3"]
    assert [each.request.page_token for each in fake.asked] == ["", "t"]
    assert fake.asked[0].request.scope.user_id == "alex"
    assert [each["id"] for each in ask("get_all", output_format="v1.1")["results"]] == ["1"]


def test_get_all_one_page_in_pieces(fake: Any, ask: Ask) -> None:
    fake.answers["ListMemories"] = [memories("3", token="t", total=9), memories("4", "5", total=9)]
    page = ask("get_all", user_id="alex", page=2, page_size=2)
    assert [each["id"] for each in page["results"]] == ["3", "4"]  # the server may cut a page short, the guide may not
    assert (page["count"], page["next"], page["previous"]) == (9, "3", "1")
    first = fake.asked[0].request
    assert (first.skip, first.page_size, first.with_total_size) == (2, 2, True)


@pytest.mark.parametrize("options", [{"page": 0}, {"page_size": 0}, {"page_size": 1001}, {"output_format": "v2"}])
def test_get_all_refuses(fake: Any, ask: Ask, options: dict[str, Any]) -> None:
    with pytest.raises(recalld.InvalidRequest):
        ask("get_all", user_id="alex", **options)
    assert not fake.asked


def test_history_and_search(fake: Any, ask: Ask) -> None:
    events = [memory_pb2.Event(sequence=number, kind=memory_pb2.KIND_ADDED) for number in (1, 2)]
    fake.answers["ListEvents"] = [
        memory_service_pb2.ListEventsResponse(events=events[:1], next_page_token="t"),
        memory_service_pb2.ListEventsResponse(events=events[1:]),
    ]
    assert [each["id"] for each in ask("history", "m1")] == ["1", "2"]
    hit = memory_pb2.Hit(memory=memory_pb2.Memory(id="m1"), relevance=0.5)
    fake.answers["Search"] = [search_service_pb2.SearchResponse(hits=[hit])] * 2
    assert ask("search", "q")[0]["score"] == 0.5
    assert ask("search", "q", output_format="v1.1")["results"][0]["id"] == "m1"


def test_writes(fake: Any, ask: Ask) -> None:
    fake.answers = {
        "UpdateMemory": [memory_service_pb2.UpdateMemoryResponse(memory=memory_pb2.Memory(id="m1", text="new"))],
        "DeleteMemory": [memory_service_pb2.DeleteMemoryResponse()],
        "DeleteMemories": [memory_service_pb2.DeleteMemoriesResponse(count=3)],
        "RestoreMemory": [memory_service_pb2.RestoreMemoryResponse(memory=memory_pb2.Memory(id="m1"))],
        "BatchUpdateMemories": [memory_service_pb2.BatchUpdateMemoriesResponse(memories=[memory_pb2.Memory()] * 2)],
        "BatchDeleteMemories": [memory_service_pb2.BatchDeleteMemoriesResponse(deleted_count=2)],
    }
    assert ask("update", "m1", "new")["memory"] == "new"
    assert ask("delete", "m1") == {"message": "Memory deleted successfully"}
    assert ask("delete_all", user_id="alex") == {"message": "Memories deleted successfully!"}
    assert ask("restore", "m1", 2)["id"] == "m1"
    updates = [{"memory_id": "1", "text": "Watches football"}, {"memory_id": "2", "text": "Loves to travel"}]
    assert ask("batch_update", updates) == {"message": "Successfully updated 2 memories"}
    deletes = [{"memory_id": "1"}, {"memory_id": "2"}]
    assert ask("batch_delete", deletes) == {"message": "Successfully deleted 2 memories"}
    assert all(each.request.request_id for each in fake.asked)
    assert fake.asked[3].request.revision == 2


def test_users_and_reset(fake: Any, ask: Ask) -> None:
    alex = memory_pb2.Entity(type=memory_pb2.ENTITY_TYPE_USER, id="alex", number=1)
    trip = memory_pb2.Entity(type=memory_pb2.ENTITY_TYPE_RUN, id="trip", number=2)
    pages = [
        entity_service_pb2.ListEntitiesResponse(entities=[alex], next_page_token="t"),
        entity_service_pb2.ListEntitiesResponse(entities=[trip]),
    ]
    fake.answers = {"ListEntities": pages, "DeleteMemories": [memory_service_pb2.DeleteMemoriesResponse()] * 2}
    assert [(each["name"], each["type"]) for each in ask("users")["results"]] == [("alex", "user"), ("trip", "run")]
    assert ask("delete_users") == {"message": "All users, agents, and runs deleted."}
    assert ask("reset") == {"message": "Client reset successful. All users and memories deleted."}
    deleted = [each for each in fake.asked if each.rpc == "DeleteMemories"]
    assert len(deleted) == 2, "one call deletes all, however many there are"
    for each in deleted:
        assert each.seconds_left is None or each.seconds_left > 1e6
        assert not each.request.scope.ByteSize()
        assert each.request.filter.comparison.field == "create_time"
        assert each.request.request_id


def test_a_deletion_of_many_ends_at_a_timeout_that_is_given(fake: Any, ask: Ask) -> None:
    fake.answers = {"DeleteMemories": [memory_service_pb2.DeleteMemoriesResponse()] * 2}
    ask("reset", timeout=60)
    ask("delete_all", user_id="alex", timeout=60)
    assert all(each.seconds_left is not None and each.seconds_left < 61 for each in fake.asked)
    assert len(fake.asked) == 2


@pytest.mark.parametrize("method", ["users", "stream_search", "import_memories", "export", "watch"])
def test_a_closed_client_says_so(fake: Any, method: str, tmp_path: Path) -> None:
    arguments: Any = {"stream_search": ["q"], "import_memories": [[]], "export": [tmp_path / "out.jsonl"]}
    given = arguments.get(method, [])
    blocking = MemoryClient(fake.target)
    blocking.close()
    with pytest.raises(recalld.PreconditionFailed, match="closed"):
        list(getattr(blocking, method)(*given))

    async def asynchronous() -> None:
        client = AsyncMemoryClient(fake.target)
        await client.close()
        called = getattr(client, method)(*given)
        _ = await called if method == "users" else [each async for each in called]

    with pytest.raises(recalld.PreconditionFailed, match="closed"):
        asyncio.run(asynchronous())
    assert not fake.asked


@pytest.mark.parametrize(
    ("target", "key", "tls", "setting", "expected"),
    [
        ("memory.example:7420", "rk_1_s", None, {}, True),
        ("memory.example:7420", "", None, {}, False),
        ("localhost:7420", "rk_1_s", None, {}, False),
        ("127.0.0.2:7420", "rk_1_s", None, {}, False),
        ("[::1]:7420", "rk_1_s", None, {}, False),
        ("unix:/tmp/recalld", "rk_1_s", None, {}, False),
        ("dns:///memory.example:7420", "rk_1_s", None, {}, True),
        ("10.0.0.7:7420", "rk_1_s", None, {}, True),
        ("memory.example:7420", "rk_1_s", False, {}, False),
        ("memory.example:7420", "rk_1_s", None, {"RECALLD_TLS": "no"}, False),
        ("localhost:7420", "", None, {"RECALLD_TLS": "yes"}, True),
        ("localhost:7420", "", None, {"RECALLD_TLS_CA": "ca.pem"}, "ca.pem"),
        ("localhost:7420", "", None, {"RECALLD_TLS_CA": "ca.pem", "RECALLD_TLS": "0"}, False),
        ("localhost:7420", "", False, {"RECALLD_TLS": "1"}, False),
    ],
)
def test_a_key_does_not_travel_in_the_clear_by_default(
    target: str, key: str, tls: Any, setting: dict[str, str], expected: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("RECALLD_TLS", "RECALLD_TLS_CA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in setting.items():
        monkeypatch.setenv(name, value)
    assert Connection.of(target, key, 1.0, tls).tls == expected


@pytest.mark.parametrize(
    ("given", "used"),
    [
        ("localhost", "localhost:7420"),
        ("memory.example", "memory.example:7420"),
        ("::1", "[::1]:7420"),
        ("[::1]", "[::1]:7420"),
        ("[::1]:99", "[::1]:99"),
        ("unix:/tmp/socket", "unix:/tmp/socket"),
        ("dns:///memory.example", "dns:///memory.example"),
    ],
)
def test_a_host_alone_has_the_usual_port(given: str, used: str) -> None:
    assert Connection.of(given, "", None, tls=False).target == used


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"target": "http://localhost:7420"}, "target"),
        ({"target": "https://memory.example"}, "target"),
        ({"target": 7420}, "target"),
        ({"api_key": "rk_1_secret\xa0"}, "api_key"),
        ({"api_key": "Bearer rk_1_secret"}, "api_key"),
        ({"timeout": "30"}, "timeout"),
        ({"timeout": float("nan")}, "timeout"),
        ({"timeout": -1}, "timeout"),
        ({"tls": "/nowhere/ca.pem"}, "tls"),
    ],
)
def test_a_connection_that_cannot_be_is_refused_at_once(options: dict[str, Any], field: str) -> None:
    with pytest.raises(recalld.InvalidRequest) as caught:
        MemoryClient(**options)
    assert [each.field for each in caught.value.violations] == [field]


def test_a_word_that_means_neither_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECALLD_TLS", "perhaps")
    with pytest.raises(recalld.InvalidRequest, match="RECALLD_TLS"):
        MemoryClient()


def test_an_infinite_timeout_is_none(fake: Any) -> None:
    fake.answers["ListEntities"] = [entity_service_pb2.ListEntitiesResponse()] * 2
    with MemoryClient(fake.target, timeout=float("inf")) as client:
        client.users()
        client.users(timeout=float("inf"))
    assert [each.seconds_left is None or each.seconds_left > 1e6 for each in fake.asked] == [True, True]


@pytest.mark.parametrize("method", ["add", "search", "get_all", "update", "delete_all", "delete_users"])
def test_unknown_arguments_raise_type_error(fake: Any, ask: Ask, method: str) -> None:
    arguments = [] if method in ("get_all", "delete_all", "delete_users") else ["x"]
    with pytest.raises(TypeError, match="usr_id"):
        ask(method, *arguments, usr_id="alex")
    assert not fake.asked


def test_one_async_client_in_several_loops(fake: Any) -> None:
    fake.answers["ListEntities"] = [entity_service_pb2.ListEntitiesResponse()] * 2
    client = AsyncMemoryClient(fake.target)  # as the guide does, before any loop runs

    async def once() -> Any:
        return await client.users()

    assert asyncio.run(once()) == asyncio.run(once()) == {"results": []}


def test_settings_from_the_environment(fake: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECALLD_TARGET", fake.target)
    monkeypatch.setenv("RECALLD_API_KEY", "rk_env")
    fake.answers["ListEntities"] = [entity_service_pb2.ListEntitiesResponse()] * 2
    for key in (None, "rk_given"):
        with MemoryClient(api_key=key) as client:
            client.users()
    assert [each.metadata["authorization"] for each in fake.asked] == ["Bearer rk_env", "Bearer rk_given"]


def test_both_clients_have_the_same_methods() -> None:
    public = {name for name in vars(MemoryClient) if not name.startswith("_")}
    assert public == {name for name in vars(AsyncMemoryClient) if not name.startswith("_")} - {"aclose"}
    for name in public - {"close", "stream_search", "watch", "import_memories", "export"}:
        blocking, awaited = (inspect.signature(getattr(each, name)) for each in (MemoryClient, AsyncMemoryClient))
        assert blocking == awaited, name
