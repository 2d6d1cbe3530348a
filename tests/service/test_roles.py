"""Roles: every rpc of the descriptors with every kind of key, and the life cycle of keys."""

from __future__ import annotations

import asyncio
import importlib
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from google.protobuf import message_factory
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from recalld.v1 import export_service_pb2, memory_service_pb2, project_service_pb2
from recalld_server.admin.offline import open_keys
from recalld_server.domain.errors import RoleInsufficient
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Access
from recalld_server.rpc.interceptors.key_authenticator import KeyAuthenticator
from recalld_server.rpc.roles import RULES
from recalld_server.wiring.settings import Settings

FILES = sorted(Path(memory_service_pb2.__file__).parent.glob("*_service_pb2.py"))
SERVICES = [
    service
    for path in FILES
    for service in importlib.import_module(f"recalld.v1.{path.stem}").DESCRIPTOR.services_by_name.values()
]
OPERATIONS = operations_pb2.DESCRIPTOR.services_by_name["Operations"]
METHODS = {f"/{s.full_name}/{m.name}": m for s in (*SERVICES, OPERATIONS) for m in s.methods}
# The contract once more, in the letters of those who get in: reader, writer, admin, operator, pinned admin.
EXPECTED = {
    "MemoryService": {
        "Add": "wap",
        "AddAsync": "wap",
        "ImportMemories": "wap",
        "GetMemory": "rwap",
        "ListMemories": "rwap",
        "UpdateMemory": "wap",
        "DeleteMemory": "wap",
        "BatchUpdateMemories": "wap",
        "BatchDeleteMemories": "wap",
        "DeleteMemories": "wap",
        "RestoreMemory": "wap",
        "ForgetMemories": "ap",
        "ListEvents": "rwap",
        "Watch": "rwap",
        "DeleteByInstruction": "wap",
        "SetFeedback": "wap",
    },
    "SearchService": {"Search": "rwap", "StreamSearch": "rwap"},
    "EntityService": {"ListEntities": "rwap", "DeleteEntity": "wap"},
    "ExportService": {
        "CreateExport": "wap",
        "GetExport": "rwap",
        "ListExports": "rwap",
        "DeleteExport": "wap",
        "ReadExport": "rwap",
    },
    "ProjectService": {
        "CreateProject": "o",
        "GetProject": "rwaop",
        "ListProjects": "o",
        "UpdateProject": "ao",
        "DeleteProject": "o",
        "GetProjectSettings": "rwap",
        "UpdateProjectSettings": "a",
        "CreateApiKey": "ao",
        "ListApiKeys": "ao",
        "RevokeApiKey": "ao",
        "GetUsage": "rwao",
        "GetIndexStatus": "rwap",
        "RebuildIndex": "a",
        "ReembedProject": "a",
    },
    "Operations": {
        "GetOperation": "rwaop",
        "ListOperations": "rwaop",
        "WaitOperation": "rwaop",
        "CancelOperation": "wap",
        "DeleteOperation": "wap",
    },
}
CALLERS = {"reader": "r", "writer": "w", "admin": "a", "operator": "o", "alice": "p", "other": "a"}
REFUSED = {"": "KEY_MISSING", "revoked": "KEY_REVOKED", "expired": "KEY_EXPIRED", "unknown": "KEY_INVALID"}


@pytest.fixture(scope="module")
def keys(keyed: Any) -> dict[str, str]:
    """The keys of the common server, and one of another project, which an operator made."""

    async def other() -> str:
        async with grpc.aio.insecure_channel(keyed.server.target) as channel:
            operator = (("authorization", f"Token {keyed.keys['operator']}"),)
            path = "/recalld.v1.ProjectService/"
            create = project_service_pb2.CreateProjectRequest(project={"project_id": "other"})
            key = project_service_pb2.CreateApiKeyRequest(project_id="other", api_key={"role": "ROLE_ADMIN"})
            await _unary(channel, path + "CreateProject", create, operator)
            return (await _unary(channel, path + "CreateApiKey", key, operator)).secret

    return {**keyed.keys, "other": asyncio.run(other()), "unknown": f"rk_{'0' * 16}_{'0' * 64}"}


async def _unary(channel: Any, path: str, request: Any, metadata: Any) -> Any:
    answer = message_factory.GetMessageClass(METHODS[path].output_type)
    call = channel.unary_unary(path, type(request).SerializeToString, answer.FromString)
    return await call(request, metadata=metadata, timeout=10)


async def reason(channel: grpc.aio.Channel, path: str, key: str, refusal_of: Any) -> str:
    """Why an empty request was refused; empty when it was not, or its stream goes on."""
    method = METHODS[path]
    request = message_factory.GetMessageClass(method.input_type)
    answer = message_factory.GetMessageClass(method.output_type)
    shape = f"{'stream' if method.client_streaming else 'unary'}_{'stream' if method.server_streaming else 'unary'}"
    call = getattr(channel, shape)(path, request.SerializeToString, answer.FromString)
    metadata = (("authorization", f"Bearer {key}"),) if key else ()
    try:
        running = call(iter(()) if method.client_streaming else request(), metadata=metadata, timeout=2)
        if method.server_streaming:
            await running.read()
            running.cancel()
        else:
            await running
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            return ""
        return str(refusal_of(error).reason)
    return ""


def test_every_rpc_has_a_row_and_every_row_an_rpc() -> None:
    assert RULES.keys() == METHODS.keys()
    assert {f"{s}/{m}" for s, methods in EXPECTED.items() for m in methods} == {
        path.rpartition(".")[2] for path in METHODS
    }


async def test_every_service_that_answers_is_in_the_matrix_or_open_to_all(keyed: Any) -> None:
    """The server itself tells what it serves, so that nothing is served beside the table."""
    async with grpc.aio.insecure_channel(keyed.server.target) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = reflection_pb2.ServerReflectionRequest(list_services="")
        [answer] = [each async for each in stub.ServerReflectionInfo(iter([asked]))]
    served = {service.name for service in answer.list_services_response.service}
    tested = {path.split("/")[1] for path in METHODS}
    assert served - tested == {"grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"}
    assert tested <= served


async def test_an_rpc_without_a_row_is_nobodys(monkeypatch: pytest.MonkeyPatch) -> None:
    path = "/recalld.v1.MemoryService/GetMemory"

    class Ring:
        async def begun(self, *, sure: bool = True) -> bool:
            return True

        async def authenticate(self, given: str) -> ApiKey:
            return ApiKey("k", "default", Role[given])

    gate: Any = KeyAuthenticator(Ring())  # type: ignore[arg-type]
    assert await gate(path, {"authorization": "Bearer ADMIN"})
    monkeypatch.delitem(RULES, path)
    for role in Role:
        with pytest.raises(RoleInsufficient):
            await gate(path, {"authorization": f"Bearer {role.name}"})


@pytest.mark.parametrize("path", METHODS, ids=lambda path: path.rpartition(".")[2])
async def test_the_matrix(path: str, keyed: Any, keys: dict[str, str], refusal: Any) -> None:
    service, name = path.rpartition(".")[2].split("/")
    async with grpc.aio.insecure_channel(keyed.server.target) as channel:
        for caller, letter in CALLERS.items():
            found = await reason(channel, path, keys[caller], refusal)
            assert not found.startswith("KEY_"), caller
            assert (found != "ROLE_INSUFFICIENT") == (letter in EXPECTED[service][name]), f"{caller}: {found}"
        for caller, expected in REFUSED.items():
            assert await reason(channel, path, keys.get(caller, ""), refusal) == expected, caller


@pytest.mark.parametrize(
    "header", ["rk_1_2", "Bearer", "Bearer rk_", "Basic rk_1_2", "Bearer x", "Bearer rk__", "Token rk_a"]
)
async def test_a_header_that_is_no_key(header: str, keyed: Any, refusal: Any) -> None:
    async with grpc.aio.insecure_channel(keyed.server.target) as channel:
        path, request = "/recalld.v1.MemoryService/ListMemories", memory_service_pb2.ListMemoriesRequest()
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _unary(channel, path, request, (("authorization", header),))
    assert refusal(caught.value).reason == "KEY_INVALID"


async def test_a_key_of_another_project_sees_nothing_of_this_one(
    keyed: Any, keys: dict[str, str], keyed_api: Any
) -> None:
    async with keyed_api("writer") as api, keyed_api(keys["other"]) as stranger:
        [memory] = await api.remember("carol", "Carol keeps a spare key under the mat")
        found = await stranger.refused(
            stranger.memory.GetMemory(memory_service_pb2.GetMemoryRequest(memory_id=memory.id))
        )
        assert found.reason == "MEMORY_NOT_FOUND"
        assert await stranger.listed("carol") == []
        assert await stranger.found("carol", "spare key") == []
        request = project_service_pb2.GetProjectSettingsRequest(project_id="default")
        found = await stranger.refused(stranger.project.GetProjectSettings(request))
        assert (found.reason, found.metadata["project_id"]) == ("PROJECT_NOT_FOUND", "default")
        revoke = project_service_pb2.RevokeApiKeyRequest(key_id=keys["reader"].split("_")[1])
        assert (await stranger.refused(stranger.project.RevokeApiKey(revoke))).reason == "KEY_NOT_FOUND"


async def test_the_secret_is_shown_once_and_is_stored_nowhere(keyed: Any, keyed_api: Any) -> None:
    request = project_service_pb2.CreateApiKeyRequest(api_key={"role": "ROLE_READER"}, request_id="once")
    async with keyed_api("admin") as api:
        first = await api.project.CreateApiKey(request)
        again = await api.project.CreateApiKey(request)
        listed = await api.project.ListApiKeys(project_service_pb2.ListApiKeysRequest())
        other = project_service_pb2.CreateApiKeyRequest(api_key={"role": "ROLE_WRITER"}, request_id="once")
        assert (await api.refused(api.project.CreateApiKey(other))).reason == "REQUEST_ID_REUSED"
    assert first.secret.startswith(f"rk_{first.api_key.key_id}_")
    assert (again.api_key, again.secret) == (first.api_key, "")
    assert [key for key in listed.api_keys if key.key_id == first.api_key.key_id] == [first.api_key]
    secret = first.secret.rpartition("_")[2].encode()
    files = [path for path in keyed.server.data_dir.iterdir() if path.is_file()]
    assert len(files) > 2
    assert [path.name for path in files if secret in path.read_bytes()] == []


async def test_a_revoked_key_ends_at_once_and_its_streams_soon(keyed: Any, keyed_api: Any, refusal: Any) -> None:
    async with keyed_api("admin") as admin:
        made = await admin.project.CreateApiKey(
            project_service_pb2.CreateApiKeyRequest(api_key={"role": "ROLE_WRITER"})
        )

        async def items() -> AsyncIterator[Any]:
            while True:
                yield memory_service_pb2.ImportItem()
                await asyncio.sleep(0.2)

        async with keyed_api(made.secret) as api:
            await api.memory.ListMemories(memory_service_pb2.ListMemoriesRequest())
            stream = api.memory.ImportMemories(items(), timeout=30)
            reading = asyncio.ensure_future(stream.read())
            revoke = project_service_pb2.RevokeApiKeyRequest(key_id=made.api_key.key_id)
            first = await admin.project.RevokeApiKey(revoke)
            assert first.api_key.HasField("revoke_time")
            assert await admin.project.RevokeApiKey(revoke) == first
            found = await api.refused(api.memory.ListMemories(memory_service_pb2.ListMemoriesRequest()))
            assert (found.reason, found.metadata["key_id"]) == ("KEY_REVOKED", made.api_key.key_id)
            start = time.monotonic()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await reading
            assert refusal(caught.value).reason == "KEY_REVOKED"
            assert time.monotonic() - start < 15


async def test_a_key_revoked_beside_the_server_ends_within_seconds(keyed: Any, keyed_api: Any) -> None:
    request = memory_service_pb2.ListMemoriesRequest()
    async with open_keys(Settings(data_dir=keyed.server.data_dir)) as ring:
        key, secret = await ring.create(Access("default"), ApiKey("", "default", Role.READER))
        async with keyed_api(secret) as api:
            await api.memory.ListMemories(request)
            await ring.revoke(Access("default"), key.id)
            deadline = time.monotonic() + 5
            while time.monotonic() < deadline:
                try:
                    await api.memory.ListMemories(request)
                except grpc.aio.AioRpcError:
                    break
                await asyncio.sleep(0.1)
            assert (await api.refused(api.memory.ListMemories(request))).reason == "KEY_REVOKED"


async def test_the_first_key_ends_development_mode_at_once(connect: Any) -> None:
    from recalld import testing

    with testing.start_local() as server:
        async with connect(server.target) as api:
            await api.memory.ListMemories(memory_service_pb2.ListMemoriesRequest())
            operate = api.project.CreateProject(project_service_pb2.CreateProjectRequest())
            assert (await api.refused(operate)).reason == "ROLE_INSUFFICIENT"
            request = project_service_pb2.CreateApiKeyRequest(api_key={"role": "ROLE_ADMIN"})
            made = await api.project.CreateApiKey(request)
            found = await api.refused(api.memory.ListMemories(memory_service_pb2.ListMemoriesRequest()))
            assert found.reason == "KEY_MISSING"
        with server.client(made.secret) as client:
            client.add("I like tea", user_id="dora", infer=False)
        async with connect(server.target, made.secret) as api:
            await api.project.RevokeApiKey(project_service_pb2.RevokeApiKeyRequest(key_id=made.api_key.key_id))
        server.restart()
        async with connect(server.target) as api:  # nobody has a key any more, and still nobody gets in without one
            found = await api.refused(api.memory.ListMemories(memory_service_pb2.ListMemoriesRequest()))
            assert found.reason == "KEY_MISSING"


async def test_only_who_may_start_an_operation_may_end_it(keyed_api: Any) -> None:
    async with keyed_api("admin") as admin, keyed_api("writer") as writer, keyed_api("alice") as pinned:
        started = await admin.project.RebuildIndex(project_service_pb2.RebuildIndexRequest(project_id="default"))
        cancel = operations_pb2.CancelOperationRequest(name=started.name)
        delete = operations_pb2.DeleteOperationRequest(name=started.name)
        for call in (writer.operations.CancelOperation(cancel), writer.operations.DeleteOperation(delete)):
            found = await writer.refused(call)
            assert (found.reason, found.metadata["needed"]) == ("ROLE_INSUFFICIENT", "ADMIN without a pin")
        assert (await pinned.refused(pinned.operations.DeleteOperation(delete))).reason == "OPERATION_NOT_FOUND"
        await admin.operations.CancelOperation(cancel)
        await admin.operations.DeleteOperation(delete)
        export = export_service_pb2.CreateExportRequest(scope={"user_id": "carol"}, format="EXPORT_FORMAT_JSONL")
        exported = await admin.export.CreateExport(export)
        await writer.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=exported.name))
