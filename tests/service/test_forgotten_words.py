"""After forgetting, no answer and no file contains a word or an id of the forgotten memories, in any derived form."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
from google.longrunning import operations_pb2

from recalld import testing
from recalld.v1 import entity_service_pb2 as entity
from recalld.v1 import export_service_pb2 as export
from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import project_service_pb2 as project
from recalld.v1 import search_service_pb2 as search

WORDS = ("xanthippe", "axolotl", "zwiesel")
ANY = {"comparison": {"field": "user_id", "operator": "OPERATOR_EXISTS", "value": {"bool_value": True}}}
NAMING = {"comparison": {"field": "text", "operator": "OPERATOR_ICONTAINS", "value": {"string_value": "axolotl"}}}


def held(text: str) -> set[str]:
    return {word for word in WORDS if word in text.lower()}


def left(folder: Path) -> dict[str, set[str]]:
    """Which of the words stand in which file, in whatever case; the server's log is one of them."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    assert {"ledger.db", "index.db", "server.log"} <= {path.name for path in files}
    found = {path.name: {word for word in WORDS if word.encode() in path.read_bytes().lower()} for path in files}
    return {name: there for name, there in found.items() if there}


async def whole(stream: Any) -> str:
    return "\n".join([str(answer) async for answer in stream])


async def watched(api: Any, head: int) -> str:
    call, heard = api.memory.Watch(pb.WatchRequest(beginning=True)), ""
    sequence = 0
    while sequence < head:
        answer = await asyncio.wait_for(call.read(), 10)
        sequence = max(answer.event.sequence, answer.checkpoint.sequence)
        heard += str(answer)
    call.cancel()
    return heard


async def answers(api: Any, memory_ids: list[str], export_ids: list[str]) -> dict[str, str]:
    """What every call that shows something says, by its name."""
    query = search.SearchRequest(query="Who breeds axolotls at Zwiesel?", limit=1000, explain=True)
    events = await api.memory.ListEvents(pb.ListEventsRequest(page_size=1000))
    found = {
        "ListMemories": await api.memory.ListMemories(pb.ListMemoriesRequest(page_size=1000)),
        "ListEvents": events,
        "ListEntities": await api.entity.ListEntities(entity.ListEntitiesRequest(page_size=1000)),
        "ListOperations": await api.operations.ListOperations(operations_pb2.ListOperationsRequest(page_size=1000)),
        "Search": await api.search.Search(query),
        "StreamSearch": await whole(api.search.StreamSearch(query)),
        "Watch": await watched(api, events.events[-1].sequence),
        "GetUsage": await api.project.GetUsage(project.GetUsageRequest()),
        "GetIndexStatus": await api.project.GetIndexStatus(project.GetIndexStatusRequest()),
    }
    for sequence in range(1, events.events[-1].sequence + 1, 3):
        past = pb.ListMemoriesRequest(page_size=1000, as_of={"sequence": sequence})
        found[f"as of {sequence}"] = await api.memory.ListMemories(past)
    made = await api.exported(filter=ANY, with_history=True, with_vectors=True)
    found["an export"] = (await api.exported_bytes(made.export_id)).decode()
    asked = [
        *(api.memory.GetMemory(pb.GetMemoryRequest(memory_id=id)) for id in memory_ids),
        *(api.memory.RestoreMemory(pb.RestoreMemoryRequest(memory_id=id, revision=1)) for id in memory_ids),
        *(api.export.GetExport(export.GetExportRequest(export_id=id)) for id in export_ids),
        *(api.export.ReadExport(export.ReadExportRequest(export_id=id)).read() for id in export_ids),
    ]
    for number, call in enumerate(asked):
        refusal = await api.refused(call)
        assert refusal.code in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.FAILED_PRECONDITION)
        found[f"refusal {number}"] = str(refusal)
    return {name: str(answer) for name, answer in found.items()}


async def test_whatever_was_made_of_it(tmp_path: Path, connect: Any) -> None:
    async with testing.start_local(tmp_path, arguments=["--log-level=DEBUG"]) as server, connect(server.target) as api:
        await api.remember("bob", "Owns a kayak")
        say = [{"role": "user", "name": "Xanthippe", "content": "I live in Zwiesel and I breed axolotls."}]
        scope = {"user_id": "xanthippe", "run_id": "run-zwiesel"}
        added = await api.memory.Add(pb.AddRequest(scope=scope, messages=say, metadata={"at": "Zwiesel"}))
        later = await api.memory.AddAsync(
            pb.AddRequest(scope=scope, text="I sold an axolotl to my sister.", request_id="later")
        )
        await api.ended(later)
        ids = [result.memory.id for result in added.results]
        assert len(ids) == 2
        changed = memory_pb2.Memory(id=ids[0], text="Lives near Zwiesel")
        await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
        await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=ids[1]))
        formats = (export.EXPORT_FORMAT_JSONL, export.EXPORT_FORMAT_PARQUET)
        made = [await api.exported(filter=ANY, with_history=True, format=format) for format in formats]
        made.append(await api.exported(scope={"user_id": "xanthippe"}, filter=NAMING))
        held_before = await api.exported_bytes(made[0].export_id)
        assert held(held_before.decode()) == set(WORDS)
        await api.ended(await api.project.RebuildIndex(project.RebuildIndexRequest()))
        assert left(tmp_path)

        receipt = await api.memory.ForgetMemories(pb.ForgetMemoriesRequest(scope={"user_id": "xanthippe"}))
        assert (receipt.memory_count, receipt.export_count) == (3, 3)
        legs = {leg.name: leg.state for leg in receipt.legs}
        assert legs.pop("backups") == pb.FORGET_STATE_NOT_COVERED
        pending = {name for name, state in legs.items() if state != pb.FORGET_STATE_EMPTY}
        assert pending <= {"requests"}
        heard = await answers(api, ids, [each.export_id for each in made])
        assert {name: held(said) for name, said in heard.items() if held(said)} == {}
        assert left(tmp_path) == {}
        assert await api.texts("bob") == ["Owns a kayak"]
        await asyncio.to_thread(server.stop)
        assert left(tmp_path) == {}
