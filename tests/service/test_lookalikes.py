"""Keys pinned to similar ids do not see each other's operations, watches and pages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from google.longrunning import operations_pb2
from tests.service.test_pins import OTHERS

from recalld.v1 import entity_service_pb2 as entity
from recalld.v1 import export_service_pb2 as export
from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import search_service_pb2 as search
from recalld_server.admin.offline import open_keys
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Access, Scope
from recalld_server.wiring.settings import Settings

SECRET = "quincejelly"  # in whatever the others say, and nowhere else
SOON = 20.0  # seconds


@pytest.fixture(scope="module")
def pinned(keyed: Any) -> dict[str, str]:
    """A key for each of the others."""

    async def made() -> dict[str, str]:
        async with open_keys(Settings(data_dir=keyed.server.data_dir)) as ring:
            wanted = {user: ApiKey("", "default", Role.ADMIN, Scope(user_id=user)) for user in OTHERS}
            return {user: (await ring.create(Access("default"), key))[1] for user, key in wanted.items()}

    return asyncio.run(made())


@pytest.fixture
async def admin(keyed_api: Callable[[str], Any]) -> AsyncIterator[Any]:
    async with keyed_api("admin") as api:
        yield api


@pytest.fixture
async def alice(keyed_api: Callable[[str], Any]) -> AsyncIterator[Any]:
    async with keyed_api("alice") as api:
        yield api


def named(kind: Any, name: str) -> Any:
    return kind(name=name)


@pytest.mark.parametrize("user", OTHERS)
async def test_what_a_lookalike_starts_is_not_there_for_alice(
    user: str, alice: Any, pinned: dict[str, str], keyed_api: Callable[[str], Any]
) -> None:
    say = [{"role": "user", "content": f"I make {SECRET} with {user}"}]
    async with keyed_api(pinned[user]) as theirs:
        adding = await theirs.memory.AddAsync(pb.AddRequest(scope={"user_id": user}, messages=say, infer=False))
        asked = export.CreateExportRequest(scope={"user_id": user}, format=export.EXPORT_FORMAT_JSONL)
        assert (await theirs.ended(adding)).WhichOneof("result") == "response"
        writing = await theirs.export.CreateExport(asked)
        assert (await theirs.ended(writing)).WhichOneof("result") == "response"
        [held] = (await theirs.export.ListExports(export.ListExportsRequest(page_size=1000))).exports
        assert SECRET.encode() in await theirs.exported_bytes(held.export_id)

        for operation in (adding, writing):
            for call, request in (
                (alice.operations.GetOperation, operations_pb2.GetOperationRequest),
                (alice.operations.WaitOperation, operations_pb2.WaitOperationRequest),
                (alice.operations.CancelOperation, operations_pb2.CancelOperationRequest),
                (alice.operations.DeleteOperation, operations_pb2.DeleteOperationRequest),
            ):
                refusal = await alice.refused(call(named(request, operation.name)))
                assert refusal.reason == "OPERATION_NOT_FOUND"
                assert SECRET not in str(refusal)
        for call in (
            alice.export.GetExport(export.GetExportRequest(export_id=held.export_id)),
            alice.export.GetExport(export.GetExportRequest(scope={"user_id": user})),
            alice.export.ReadExport(export.ReadExportRequest(export_id=held.export_id)).read(),
            alice.export.DeleteExport(export.DeleteExportRequest(export_id=held.export_id)),
        ):
            refusal = await alice.refused(call)
            assert refusal.reason in ("EXPORT_NOT_FOUND", "MEMORY_NOT_FOUND")
            assert SECRET not in str(refusal)
        seen = await alice.operations.ListOperations(operations_pb2.ListOperationsRequest(page_size=1000))
        assert {adding.name, writing.name} & {operation.name for operation in seen.operations} == set()
        listed = (await alice.export.ListExports(export.ListExportsRequest(page_size=1000))).exports
        assert held.export_id not in {each.export_id for each in listed}

        for operation in (adding, writing):  # and nothing of it is gone
            found = await theirs.operations.GetOperation(named(operations_pb2.GetOperationRequest, operation.name))
            assert found.done
        assert (await theirs.export.GetExport(export.GetExportRequest(export_id=held.export_id))).export == held


async def test_a_watch_of_alice_hears_only_what_is_hers(admin: Any, alice: Any) -> None:
    call = alice.memory.Watch(pb.WatchRequest())
    heard = [await asyncio.wait_for(call.read(), SOON)]
    for user in OTHERS:
        [memory] = await admin.remember(user, f"Sells {SECRET}")
        changed = memory_pb2.Memory(id=memory.id, text=f"Sells no {SECRET}")
        await admin.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
        await admin.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.id))
        await admin.memory.RestoreMemory(pb.RestoreMemoryRequest(memory_id=memory.id))
        await admin.memory.ForgetMemories(pb.ForgetMemoriesRequest(scope={"user_id": user}))
    [own] = await admin.remember("alice", "Hikes on Sundays")
    while heard[-1].WhichOneof("item") == "checkpoint":
        heard.append(await asyncio.wait_for(call.read(), SOON))
    call.cancel()
    assert heard[-1].event.memory_after == own
    assert SECRET not in "".join(map(str, heard))


async def test_tokens_of_the_admin_open_nothing_for_alice(admin: Any, alice: Any) -> None:
    own: list[Any] = []
    for user in ("bob", "alice"):
        own = await admin.remember(user, f"{user} has {SECRET if user == 'bob' else 'pears'}", "Likes tea")
        await admin.exported(scope={"user_id": user})
    paged = [
        ("memory", "ListMemories", pb.ListMemoriesRequest(page_size=1)),
        ("memory", "ListEvents", pb.ListEventsRequest(page_size=1)),
        ("entity", "ListEntities", entity.ListEntitiesRequest(page_size=1)),
        ("export", "ListExports", export.ListExportsRequest(page_size=1)),
        ("operations", "ListOperations", operations_pb2.ListOperationsRequest(page_size=1)),
    ]
    for service, rpc, request in paged:
        request.page_token = (await getattr(getattr(admin, service), rpc)(request)).next_page_token
        assert request.page_token, rpc
        assert (await alice.refused(getattr(getattr(alice, service), rpc)(request))).reason == "PAGE_TOKEN_INVALID", rpc
    call = admin.memory.Watch(pb.WatchRequest(beginning=True))
    token = (await asyncio.wait_for(call.read(), SOON)).resume_token
    call.cancel()
    resumed = alice.memory.Watch(pb.WatchRequest(resume_token=token))
    assert (await alice.refused(resumed.read())).reason == "RESUME_TOKEN_INVALID"

    changed = memory_pb2.Memory(id=own[0].id, text="alice has quinces")
    fresh = (await admin.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))).consistency_token
    query = search.SearchRequest(query=f"Who has {SECRET}?", limit=1000, at_least_as_fresh=fresh)
    hits = (await alice.search.Search(query)).hits  # a token of anybody's says how fresh, and not who
    assert {hit.memory.user_id for hit in hits} == {"alice"}
    assert SECRET not in str(hits)
