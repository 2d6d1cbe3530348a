"""A key pinned to alice cannot see or change the memories of anyone else, by any call."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2

from recalld.v1 import entity_service_pb2 as entity
from recalld.v1 import export_service_pb2 as export
from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import project_service_pb2 as project
from recalld.v1 import search_service_pb2 as search
from recalld_server.rpc.roles import RULES

OTHERS = ("bob", "alice-smith", "ALICE", " alice", "alice@x.com", "alicе")  # the last one ends in a Cyrillic letter
SECRET = "marzipan"  # in each text, source, category, metadata and run of the others, and nowhere else
SERVICES = {
    "MemoryService": "memory",
    "SearchService": "search",
    "EntityService": "entity",
    "ProjectService": "project",
    "ExportService": "export",
    "Operations": "operations",
}


@dataclass
class World:
    """What the others have, and the two ways to look at it: as the admin of all, and as alice."""

    admin: Any
    alice: Any
    refusal: Any
    memories: list[memory_pb2.Memory]
    own: memory_pb2.Memory
    export: str = ""  # of what is bob's, by the admin
    operation: str = ""

    async def all(self) -> list[bytes]:
        """Everything stored of the others, and its whole history."""
        listed = await self.admin.memory.ListMemories(pb.ListMemoriesRequest(page_size=1000))
        events = await self.admin.memory.ListEvents(pb.ListEventsRequest(page_size=1000))
        found = [memory for memory in listed.memories if memory.user_id != "alice"]
        changes = [e for e in events.events if (e.memory_after or e.memory_before).user_id in OTHERS]
        return [message.SerializeToString(deterministic=True) for message in (*found, *changes)]

    async def heard(self, service: str, rpc: str, request: Any) -> str:
        """Everything alice is told when she makes a call: answers, or the error with all its details.

        Of a watch, which does not end, what comes within a second.
        """
        call = getattr(getattr(self.alice, SERVICES[service]), rpc)
        running = call(iter(request) if isinstance(request, list) else request, timeout=1 if rpc == "Watch" else 5)
        answers: list[Any] = []
        try:
            if hasattr(running, "__aiter__"):
                async for answer in running:
                    answers.append(answer)  # noqa: PERF401 - those before an error count
            else:
                answers.append(await running)
        except grpc.aio.AioRpcError as error:
            if rpc != "Watch" or error.code() is not grpc.StatusCode.DEADLINE_EXCEEDED:
                found = self.refusal(error)
                answers.append(f"{found} {error.trailing_metadata()} {error.details()}")
        return "\n".join(map(str, answers))


@pytest.fixture
async def world(keyed_api: Callable[[str], Any], refusal: Any) -> AsyncIterator[World]:
    """Memories of everybody, all alike but for whom they are about."""
    async with keyed_api("admin") as admin, keyed_api("alice") as alice:
        await admin.memory.DeleteMemories(pb.DeleteMemoriesRequest(filter=ALL))
        made = {}
        for user in (*OTHERS, "alice"):
            word = "nougat" if user == "alice" else SECRET
            message = memory_pb2.Message(role="user", name=f"{word} fan", content=f"{user} keeps {word} in the locker")
            made[user] = (
                (
                    await admin.memory.Add(
                        pb.AddRequest(
                            scope={"user_id": user, "agent_id": "a1", "run_id": word},
                            messages=[message],
                            infer=False,
                            metadata={"kind": word},
                            categories=[word],
                        )
                    )
                )
                .results[0]
                .memory
            )
        asked = export.CreateExportRequest(scope={"user_id": "bob"}, format=export.EXPORT_FORMAT_JSONL)
        operation = await admin.ended(await admin.export.CreateExport(asked))
        held = export.Export()
        assert operation.response.Unpack(held)
        others = [made[user] for user in OTHERS]
        yield World(admin, alice, refusal, others, made["alice"], held.export_id, operation.name)


ALL = {"comparison": {"field": "user_id", "operator": "OPERATOR_EXISTS", "value": {"bool_value": True}}}
ANY = [{}, *({"user_id": user} for user in OTHERS), {"agent_id": "a1"}]
EITHER = {
    "any_of": {
        "filters": [
            {"comparison": {"field": "user_id", "operator": "OPERATOR_NE", "value": {"string_value": "alice"}}},
            {
                "none_of": {
                    "comparison": {"field": "text", "operator": "OPERATOR_CONTAINS", "value": {"string_value": "#"}}
                }
            },
        ]
    }
}


def probes(w: World) -> dict[str, list[Any]]:
    """What alice tries, by rpc: whatever could show or change what is not hers."""
    ids = [memory.id for memory in w.memories]
    past = {"sequence": 10**9}
    wholes = [
        pb.ImportItem(memory={"id": m.id, "text": "taken over", "user_id": "alice", "revision": m.revision})
        for m in w.memories
    ]
    quotes = [
        pb.ImportItem(
            memory={
                "text": "quoted",
                "user_id": "alice",
                "add_id": m.add_id,
                "sources": [{"role": "user", "content": "x"}],
            }
        )
        for m in w.memories
    ]
    foreign = [pb.ImportItem(memory={"id": str(uuid.uuid4()), "text": "planted", "user_id": user}) for user in OTHERS]
    planted = [pb.ImportItem(text={"text": "planted", "scope": {"user_id": user}}) for user in OTHERS]
    say = [{"role": "user", "content": "planted by alice"}]
    return {
        "MemoryService/Add": [pb.AddRequest(scope={"user_id": u}, messages=say, infer=False) for u in OTHERS],
        "MemoryService/AddAsync": [pb.AddRequest(scope={"user_id": u}, messages=say) for u in OTHERS],
        "MemoryService/ImportMemories": [wholes, quotes, foreign, planted],
        "MemoryService/GetMemory": [pb.GetMemoryRequest(memory_id=id) for id in ids],
        "MemoryService/ListMemories": [
            *(pb.ListMemoriesRequest(scope=scope, with_total_size=True) for scope in ANY),
            pb.ListMemoriesRequest(filter=EITHER, with_total_size=True),
            pb.ListMemoriesRequest(filter=EITHER, as_of=past),
        ],
        "MemoryService/UpdateMemory": [pb.UpdateMemoryRequest(memory={"id": id, "text": "changed"}) for id in ids],
        "MemoryService/DeleteMemory": [pb.DeleteMemoryRequest(memory_id=id) for id in ids],
        "MemoryService/BatchUpdateMemories": [
            pb.BatchUpdateMemoriesRequest(
                updates=[{"memory": {"id": id, "text": "changed"}} for id in (w.own.id, *ids)]
            )
        ],
        "MemoryService/BatchDeleteMemories": [pb.BatchDeleteMemoriesRequest(memory_ids=[w.own.id, *ids])],
        "MemoryService/DeleteMemories": [
            *(pb.DeleteMemoriesRequest(scope={"user_id": user}) for user in OTHERS),
            pb.DeleteMemoriesRequest(filter=EITHER, dry_run=True),
            pb.DeleteMemoriesRequest(filter=EITHER, expected_count=99),
            pb.DeleteMemoriesRequest(filter=EITHER),
        ],
        "MemoryService/RestoreMemory": [
            pb.RestoreMemoryRequest(memory_id=id, revision=revision) for id in ids for revision in (1, 7)
        ],
        "MemoryService/ForgetMemories": [
            *(pb.ForgetMemoriesRequest(scope={"user_id": user}) for user in OTHERS),
            pb.ForgetMemoriesRequest(filter=EITHER),
        ],
        "MemoryService/ListEvents": [
            *(pb.ListEventsRequest(memory_id=id) for id in ids),
            *(pb.ListEventsRequest(scope=scope) for scope in ANY),
            pb.ListEventsRequest(filter=EITHER),
        ],
        "MemoryService/Watch": [pb.WatchRequest(scope=scope, beginning=True) for scope in ANY],
        "MemoryService/DeleteByInstruction": [
            pb.DeleteByInstructionRequest(instruction=f"delete everything about {SECRET[:4]}", scope=scope)
            for scope in ANY
        ],
        "MemoryService/SetFeedback": [pb.SetFeedbackRequest(memory_id=id, feedback="FEEDBACK_NEGATIVE") for id in ids],
        "SearchService/Search": [
            *(search.SearchRequest(query="keeps in the locker", scope=scope, explain=True) for scope in ANY),
            search.SearchRequest(query="keeps in the locker", filter=EITHER, limit=100),
            search.SearchRequest(query="keeps in the locker", limit=10_000, mode="SEARCH_MODE_KEYWORD"),
        ],
        "SearchService/StreamSearch": [
            *(search.SearchRequest(query="keeps in the locker", scope=scope) for scope in ANY),
            search.SearchRequest(query="keeps in the locker", filter=EITHER, limit=10_000),
        ],
        "EntityService/ListEntities": [
            entity.ListEntitiesRequest(with_total_size=True),
            entity.ListEntitiesRequest(type="ENTITY_TYPE_RUN", with_total_size=True),
        ],
        "EntityService/DeleteEntity": [
            *(entity.DeleteEntityRequest(type="ENTITY_TYPE_USER", id=user) for user in OTHERS),
            entity.DeleteEntityRequest(type="ENTITY_TYPE_AGENT", id="a1"),
        ],
        "ProjectService/GetProject": [project.GetProjectRequest()],
        "ProjectService/GetProjectSettings": [project.GetProjectSettingsRequest()],
        "ProjectService/GetIndexStatus": [project.GetIndexStatusRequest()],
        "ExportService/CreateExport": [
            *(export.CreateExportRequest(scope={"user_id": user}, format="EXPORT_FORMAT_JSONL") for user in OTHERS),
            export.CreateExportRequest(filter=EITHER, format="EXPORT_FORMAT_JSONL", with_history=True),
        ],
        "ExportService/GetExport": [
            export.GetExportRequest(export_id=w.export),
            *(export.GetExportRequest(scope=scope) for scope in ANY),
        ],
        "ExportService/ListExports": [export.ListExportsRequest()],
        "ExportService/DeleteExport": [export.DeleteExportRequest(export_id=w.export)],
        "ExportService/ReadExport": [export.ReadExportRequest(export_id=w.export)],
        "Operations/GetOperation": [operations_pb2.GetOperationRequest(name=w.operation)],
        "Operations/ListOperations": [operations_pb2.ListOperationsRequest()],
        "Operations/WaitOperation": [
            operations_pb2.WaitOperationRequest(name=w.operation, timeout={"nanos": 1_000_000})
        ],
        "Operations/CancelOperation": [operations_pb2.CancelOperationRequest(name=w.operation)],
        "Operations/DeleteOperation": [operations_pb2.DeleteOperationRequest(name=w.operation)],
    }


def test_every_rpc_that_takes_a_pinned_key_is_tried() -> None:
    open_to_pins = {path.rpartition(".")[2] for path, rule in RULES.items() if rule.least and rule.pinned}
    nothing: Any = memory_pb2.Memory()
    assert probes(World(None, None, None, [nothing], nothing)).keys() == open_to_pins


async def test_nothing_of_the_others_is_heard_or_changed(world: World) -> None:
    before = await world.all()
    assert len(before) >= 2 * len(OTHERS)
    for path, requests in probes(world).items():
        service, rpc = path.split("/")
        for request in requests:
            heard = await world.heard(service, rpc, request)
            asked = "".join(map(str, request)) if isinstance(request, list) else str(request)
            assert SECRET not in heard, f"{path} of {asked}"
            assert [user for user in OTHERS if f'"{user}"' in heard and f'"{user}"' not in asked] == [], path
    assert await world.all() == before
    kept = await world.admin.export.GetExport(export.GetExportRequest(export_id=world.export))
    assert kept.export.state == export.EXPORT_STATE_READY
    named = operations_pb2.GetOperationRequest(name=world.operation)
    assert (await world.admin.operations.GetOperation(named)).done


async def test_her_exports_hold_what_is_hers_and_are_all_she_sees(world: World) -> None:
    made = await world.alice.exported(filter=ALL, with_history=True)
    data = await world.alice.exported_bytes(made.export_id)
    assert SECRET.encode() not in data
    assert [json.loads(line)["id"] for line in data.splitlines()] == [world.own.id]
    listed = (await world.alice.export.ListExports(export.ListExportsRequest(page_size=1000))).exports
    assert {found.scope.user_id for found in listed} == {"alice"}
    seen = await world.alice.operations.ListOperations(operations_pb2.ListOperationsRequest(page_size=1000))
    assert world.operation not in {operation.name for operation in seen.operations}
    for read in (
        world.alice.export.ReadExport(export.ReadExportRequest(export_id=world.export)).read(),
        world.alice.export.GetExport(export.GetExportRequest(export_id=world.export)),
    ):
        assert (await world.alice.refused(read)).reason == "EXPORT_NOT_FOUND"


async def test_what_is_hers_is_found_and_counted(world: World) -> None:
    alice = world.alice
    listed = await alice.memory.ListMemories(pb.ListMemoriesRequest(with_total_size=True))
    assert ([memory.id for memory in listed.memories], listed.total_size) == ([world.own.id], 1)
    entities = await alice.entity.ListEntities(entity.ListEntitiesRequest(with_total_size=True))
    assert {(each.id, each.memory_count) for each in entities.entities} == {("alice", 1), ("a1", 1), ("nougat", 1)}
    assert entities.total_size == 3
    hits = (await alice.search.Search(search.SearchRequest(query="what is in the locker?"))).hits
    assert [hit.memory.id for hit in hits] == [world.own.id]
    past = {"sequence": (await alice.memory.ListEvents(pb.ListEventsRequest())).events[-1].sequence}
    hits = (await alice.search.Search(search.SearchRequest(query="what is in the locker?", as_of=past))).hits
    assert [hit.memory.id for hit in hits] == [world.own.id]


async def test_a_pinned_key_fills_in_its_own_ids(world: World) -> None:
    say = [{"role": "user", "content": "Hiking on Sundays"}]
    for scope in ({}, {"run_id": "r9"}):
        added = await world.alice.memory.Add(pb.AddRequest(scope=scope, messages=say, infer=False))
        assert added.results[0].memory.user_id == "alice"
        assert added.results[0].memory.run_id == scope.get("run_id", "")
    refused = await world.alice.refused(
        world.alice.memory.Add(pb.AddRequest(scope={"user_id": "bob"}, messages=say, infer=False))
    )
    assert (refused.code, refused.reason) == (grpc.StatusCode.NOT_FOUND, "MEMORY_NOT_FOUND")


async def test_an_import_fails_only_what_lies_outside(world: World) -> None:
    taken, fresh = world.memories[0], str(uuid.uuid4())
    items = [
        pb.ImportItem(memory={"id": taken.id, "text": "taken over", "user_id": "alice"}),
        pb.ImportItem(memory={"id": fresh, "text": "my own", "user_id": "alice"}),
        pb.ImportItem(memory={"text": "quoted", "user_id": "alice", "add_id": taken.add_id}),
    ]
    *_, last = await world.alice.imported(items)
    assert (last.stored, [failure.index for failure in last.failed]) == (1, [0, 2])
    assert (await world.alice.memory.GetMemory(pb.GetMemoryRequest(memory_id=fresh))).memory.text == "my own"


async def test_tokens_and_request_ids_belong_to_one_key(world: World, keyed_api: Callable[[str], Any]) -> None:
    for text in ("one", "two"):
        say = [{"role": "user", "content": f"{text} locker"}]
        await world.admin.memory.Add(pb.AddRequest(scope={"user_id": "alice"}, messages=say, infer=False))
    first = pb.ListMemoriesRequest(page_size=1, scope={"user_id": "alice"})
    page = await world.admin.memory.ListMemories(first)
    query = search.SearchRequest(query="locker", scope={"user_id": "alice"})
    token, *_ = [answer.resume_token async for answer in world.admin.search.StreamSearch(query)]
    write = pb.AddRequest(
        scope={"user_id": "alice"}, messages=[{"role": "user", "content": "Tea"}], infer=False, request_id="shared"
    )
    stored = await world.admin.memory.Add(write)
    async with keyed_api("alice2") as other:
        for api in (world.alice, other):
            theirs = pb.ListMemoriesRequest(page_size=1, scope={"user_id": "alice"}, page_token=page.next_page_token)
            assert (await api.refused(api.memory.ListMemories(theirs))).reason == "PAGE_TOKEN_INVALID"
            resumed = search.SearchRequest(query="locker", scope={"user_id": "alice"}, resume_token=token)
            assert (await api.refused(api.search.StreamSearch(resumed).read())).reason == "RESUME_TOKEN_INVALID"
            again = await api.memory.Add(write)  # the answer of a call of one's own, not the stored one
            assert again.add_id != stored.add_id
