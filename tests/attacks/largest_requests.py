"""The largest valid request of every call, as bytes, one item per message of a stream."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from google.longrunning import operations_pb2

from recalld.v1 import (
    entity_service_pb2,
    export_service_pb2,
    filter_pb2,
    memory_pb2,
    memory_service_pb2,
    project_service_pb2,
    search_service_pb2,
)
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.domain import limits
from recalld_server.domain.filters import MAX_BYTES, MAX_LEAVES, MAX_VALUES

FILES = [
    memory_service_pb2.DESCRIPTOR,
    search_service_pb2.DESCRIPTOR,
    entity_service_pb2.DESCRIPTOR,
    export_service_pb2.DESCRIPTOR,
    project_service_pb2.DESCRIPTOR,
    operations_pb2.DESCRIPTOR,
]
METHODS = [method for file in FILES for service in file.services_by_name.values() for method in service.methods]
ROOM = 64 * 1024  # bytes of a call that are left for what is not counted below
NAME = "é" * (limits.ID_BYTES // 2)
SCOPE = dict.fromkeys(("user_id", "agent_id", "app_id", "run_id"), NAME)


@dataclass(frozen=True)
class World:
    """What the requests are about: memories of one user, and things that have ids."""

    user: str
    memories: list[str]
    export: str
    operation: str


def words(size: int, offset: int = 0) -> str:
    """A text of so many bytes whose words all differ."""
    return " ".join(f"w{n:07}" for n in range(offset, offset + size // 9 + 1))[:size]


def metadata(offset: int = 0) -> dict[str, Any]:
    """As many values as metadata can hold, or one text where `offset` is odd."""
    return {"n": [1] * 8_100} if offset % 2 == 0 else {"k": words(limits.METADATA_BYTES - 16, offset)}


def wide_filter() -> filter_pb2.Filter:
    """As many comparisons, with as many values and bytes, as a filter may have."""
    asked = filter_pb2.Filter()
    letters = MAX_BYTES // MAX_VALUES - 6  # of one value; the rest is what a value and its comparison are wrapped in
    for leaf in range(MAX_LEAVES):
        comparison = asked.any_of.filters.add().comparison
        comparison.field, comparison.operator = "metadata.n", filter_pb2.OPERATOR_IN
        for n in range(MAX_VALUES // MAX_LEAVES):
            comparison.value.list_value.values.add().string_value = f"{leaf}-{n}".ljust(letters, "x")
    assert 0.9 * MAX_BYTES < asked.ByteSize() <= MAX_BYTES
    return asked


def messages(content: str) -> list[memory_pb2.Message]:
    """Messages that fill a call."""
    count = (limits.CALL_BYTES - ROOM) // (len(content.encode()) + 32)
    return [memory_pb2.Message(role="user", content=content) for _ in range(min(count, limits.MESSAGES))]


def add(**fields: Any) -> pb.AddRequest:
    asked = pb.AddRequest(**{"scope": {"user_id": "large"}} | fields)
    asked.includes, asked.excludes = words(8_000), words(8_000, 90_000)
    for n in range(limits.CATEGORIES):
        asked.custom_categories.add(name=f"c{n}", description=words(8_000, 1_000 * n))
    size = limits.CALL_BYTES - ROOM - asked.ByteSize()
    for message in messages(("What about " + "this and that " * 4_600)[: limits.MESSAGE_BYTES - 1] + "?"):
        size -= message.ByteSize() + 8
        if size > 0:
            asked.messages.append(message)
    return asked


def batch(world: World) -> pb.BatchUpdateMemoriesRequest:
    """All memories with new metadata and texts of 16 KiB in all, so that a write takes them."""
    return pb.BatchUpdateMemoriesRequest(
        updates=[{"memory": {"id": id, "metadata": metadata(2 * n + 1)}} for n, id in enumerate(world.memories)]
    )


def whole(n: int) -> memory_pb2.Memory:
    sources = [{"role": "user", "content": words(6_000, 700 * n), "position": at} for at in range(20)]
    return memory_pb2.Memory(
        id=str(uuid.uuid4()),
        user_id="imported",
        text=words(limits.TEXT_BYTES - 1, 2_000 * n),
        metadata=metadata(n),
        sources=sources,
        categories=[f"category {n}" for n in range(limits.CATEGORIES)],
    )


def imported(_: World) -> Iterator[Any]:
    """Items of all kinds: memories with vectors, and a history that fills a call."""
    vector = [0.05] * 384
    for n in range(60):
        yield pb.ImportItem(memory=whole(n), vector=vector, vector_model="minilm-l6-v2-int8")
    history = pb.ImportItem(vector_model="minilm-l6-v2-int8")
    memory = whole(1)
    del memory.sources[:]
    while history.ByteSize() < limits.CALL_BYTES - 2 * ROOM:
        kind = memory_pb2.KIND_UPDATED if history.history.revisions else memory_pb2.KIND_ADDED
        memory.revision += 1
        memory.text = words(limits.TEXT_BYTES - 1, 2_000 * memory.revision)
        history.history.revisions.add(memory=memory, kind=kind, vector=vector)
    yield history


def settings() -> dict[str, Any]:
    described = [{"name": f"c{n}", "description": words(8_000, n)} for n in range(limits.CATEGORIES)]
    return {"custom_categories": described, "custom_instructions": words(16_000)}


Make = Callable[[World], Any]
LARGEST: dict[str, Make] = {
    "Add": lambda _: add(dry_run=True),
    "AddAsync": lambda _: add(),
    "ImportMemories": imported,
    "GetMemory": lambda _: pb.GetMemoryRequest(memory_id=NAME),
    "ListMemories": lambda _: pb.ListMemoriesRequest(scope=SCOPE, filter=wide_filter(), page_size=1000),
    "UpdateMemory": lambda world: pb.UpdateMemoryRequest(
        memory={"id": world.memories[0], "text": words(limits.TEXT_BYTES - 1), "metadata": metadata()}
    ),
    "DeleteMemory": lambda _: pb.DeleteMemoryRequest(memory_id=NAME),
    "BatchUpdateMemories": batch,
    "BatchDeleteMemories": lambda _: pb.BatchDeleteMemoriesRequest(memory_ids=[f"{n:0256}" for n in range(1000)]),
    "DeleteMemories": lambda _: pb.DeleteMemoriesRequest(scope=SCOPE, filter=wide_filter(), dry_run=True),
    "RestoreMemory": lambda _: pb.RestoreMemoryRequest(memory_id=NAME, revision=1),
    "ForgetMemories": lambda _: pb.ForgetMemoriesRequest(scope=SCOPE, filter=wide_filter(), dry_run=True),
    "ListEvents": lambda _: pb.ListEventsRequest(filter=wide_filter(), page_size=1000),
    "Watch": lambda _: pb.WatchRequest(filter=wide_filter(), beginning=True),
    "DeleteByInstruction": lambda world: pb.DeleteByInstructionRequest(
        scope={"user_id": world.user}, instruction=words(8_000)
    ),
    "SetFeedback": lambda world: pb.SetFeedbackRequest(
        memory_id=world.memories[0], feedback=memory_pb2.FEEDBACK_NEGATIVE, reason=words(limits.TEXT_BYTES - 1)
    ),
    "Search": lambda world: search_service_pb2.SearchRequest(
        query=words(limits.QUERY_BYTES - 1), scope={"user_id": world.user}, limit=10_000, explain=True
    ),
    "StreamSearch": lambda world: search_service_pb2.SearchRequest(
        query="likes", scope={"user_id": world.user}, filter=wide_filter(), limit=10_000, explain=True
    ),
    "ListEntities": lambda _: entity_service_pb2.ListEntitiesRequest(page_size=1000, with_total_size=True),
    "DeleteEntity": lambda _: entity_service_pb2.DeleteEntityRequest(type="ENTITY_TYPE_USER", id=NAME),
    "CreateExport": lambda _: export_service_pb2.CreateExportRequest(
        filter=wide_filter(), format="EXPORT_FORMAT_JSONL", with_history=True, with_vectors=True
    ),
    "GetExport": lambda world: export_service_pb2.GetExportRequest(export_id=world.export),
    "ListExports": lambda _: export_service_pb2.ListExportsRequest(page_size=1000),
    "DeleteExport": lambda _: export_service_pb2.DeleteExportRequest(export_id=NAME),
    "ReadExport": lambda world: export_service_pb2.ReadExportRequest(export_id=world.export),
    "CreateProject": lambda _: project_service_pb2.CreateProjectRequest(
        project={"project_id": "p" * 64, "display_name": NAME, "description": words(16_000)}, settings=settings()
    ),
    "GetProject": lambda _: project_service_pb2.GetProjectRequest(project_id="default"),
    "ListProjects": lambda _: project_service_pb2.ListProjectsRequest(page_size=1000),
    "UpdateProject": lambda _: project_service_pb2.UpdateProjectRequest(
        project={"project_id": "default", "display_name": NAME, "description": words(16_000)}
    ),
    "DeleteProject": lambda _: project_service_pb2.DeleteProjectRequest(
        project_id="no-such", confirm_project_id="no-such"
    ),
    "GetProjectSettings": lambda _: project_service_pb2.GetProjectSettingsRequest(),
    "UpdateProjectSettings": lambda _: project_service_pb2.UpdateProjectSettingsRequest(settings=settings()),
    "CreateApiKey": lambda _: project_service_pb2.CreateApiKeyRequest(
        project_id="no-such", api_key={"role": "ROLE_READER", "display_name": NAME, "pin": SCOPE}
    ),
    "ListApiKeys": lambda _: project_service_pb2.ListApiKeysRequest(page_size=1000),
    "RevokeApiKey": lambda _: project_service_pb2.RevokeApiKeyRequest(key_id=NAME),
    "GetUsage": lambda _: project_service_pb2.GetUsageRequest(),
    "GetIndexStatus": lambda _: project_service_pb2.GetIndexStatusRequest(),
    "RebuildIndex": lambda _: project_service_pb2.RebuildIndexRequest(),
    "ReembedProject": lambda _: project_service_pb2.ReembedProjectRequest(model="minilm-l6-v2-int8"),
    "ListOperations": lambda _: operations_pb2.ListOperationsRequest(page_size=1000),
    "GetOperation": lambda world: operations_pb2.GetOperationRequest(name=world.operation),
    "DeleteOperation": lambda _: operations_pb2.DeleteOperationRequest(name=f"operations/{NAME}"),
    "CancelOperation": lambda _: operations_pb2.CancelOperationRequest(name=f"operations/{NAME}"),
    "WaitOperation": lambda world: operations_pb2.WaitOperationRequest(name=world.operation, timeout={"seconds": 2}),
}


def largest(name: str, world: World) -> list[bytes]:
    """The messages of the largest valid request of a call."""
    made = LARGEST[name](world)
    items = [made] if hasattr(made, "SerializeToString") else list(made)
    return [item.SerializeToString() for item in items]
