"""The methods of the clients as plans: generators that yield calls, receive the answers and return the result.

Plans do not use channels, so that the blocking and the asyncio client share them.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from recalld import requests, responses, validation
from recalld.responses import Item
from recalld.v1 import entity_service_pb2, memory_service_pb2, search_service_pb2


@dataclass(frozen=True, slots=True)
class Call:
    """One unary call: `service` and `rpc` as in the proto.

    `endless`: the duration is unbounded, so the client's default timeout does not apply, only one given to the method.
    """

    service: str
    rpc: str
    request: Any
    endless: bool = False


T = TypeVar("T")
Plan = Generator[Call, Any, T]


def add(request: memory_service_pb2.AddRequest, output_format: str) -> Plan[Any]:
    """Add; returns events."""
    check_format(output_format)
    return responses.added((yield Call("MemoryService", "Add", request)), output_format)


def search(request: search_service_pb2.SearchRequest, output_format: str) -> Plan[Any]:
    """Search; returns hits, best first."""
    check_format(output_format)
    answer = yield Call("SearchService", "Search", request)
    return responses.listed([responses.hit(each) for each in answer.hits], output_format)


def get(memory_id: str) -> Plan[Item]:
    """GetMemory."""
    request = memory_service_pb2.GetMemoryRequest(memory_id=validation.text(memory_id, "memory_id", empty=False))
    answer = yield Call("MemoryService", "GetMemory", request)
    return responses.memory(answer.memory)


def get_all(
    request: memory_service_pb2.ListMemoriesRequest, page: int | None, page_size: int | None, output_format: str
) -> Plan[Any]:
    """ListMemories; returns one page in an envelope, or all memories if neither page nor size is given."""
    check_format(output_format)
    if page is None and page_size is None:
        items, _ = yield from _memories(request)
        return responses.listed(items, output_format)
    number, size = 1 if page is None else page, 100 if page_size is None else page_size
    validation.whole(size, "page_size", 1, requests.MAX_PAGE)
    validation.whole(number, "page", 1, validation.MAX_INT32 // size)
    request.page_size, request.skip, request.with_total_size = size, (number - 1) * size, True
    items, count = yield from _memories(request, size)
    return responses.page(items, count, number, size, output_format)


def _memories(
    request: memory_service_pb2.ListMemoriesRequest, limit: int | None = None
) -> Plan[tuple[list[Item], int]]:
    """Up to `limit` memories, and the total. The server may return short pages, so this can take several calls."""
    items: list[Item] = []
    while True:
        answer = yield Call("MemoryService", "ListMemories", request)
        items += [responses.memory(each) for each in answer.memories]
        request.page_token = answer.next_page_token
        if not request.page_token or (limit is not None and len(items) >= limit):
            return items[:limit], answer.total_size


def history(memory_id: str) -> Plan[list[Item]]:
    """ListEvents of one memory, all pages, oldest first."""
    memory_id = validation.text(memory_id, "memory_id", empty=False)
    request = memory_service_pb2.ListEventsRequest(memory_id=memory_id, page_size=requests.MAX_PAGE)
    items: list[Item] = []
    while True:
        answer = yield Call("MemoryService", "ListEvents", request)
        items += [responses.event(each) for each in answer.events]
        request.page_token = answer.next_page_token
        if not request.page_token:
            return items


def update(request: memory_service_pb2.UpdateMemoryRequest) -> Plan[Item]:
    """UpdateMemory."""
    answer = yield Call("MemoryService", "UpdateMemory", request)
    return responses.memory(answer.memory)


def delete(memory_id: str, etag: str | None, request_id: str | None) -> Plan[Item]:
    """DeleteMemory."""
    yield Call("MemoryService", "DeleteMemory", requests.delete(memory_id, etag, request_id))
    return {"message": "Memory deleted successfully"}


def delete_all(request: memory_service_pb2.DeleteMemoriesRequest) -> Plan[Item]:
    """DeleteMemories of a scope."""
    yield Call("MemoryService", "DeleteMemories", request, endless=True)
    return {"message": "Memories deleted successfully!"}


def restore(memory_id: str, revision: int | None, request_id: str | None) -> Plan[Item]:
    """RestoreMemory."""
    answer = yield Call("MemoryService", "RestoreMemory", requests.restore(memory_id, revision, request_id))
    return responses.memory(answer.memory)


def batch_update(request: memory_service_pb2.BatchUpdateMemoriesRequest) -> Plan[Item]:
    """BatchUpdateMemories."""
    answer = yield Call("MemoryService", "BatchUpdateMemories", request)
    return {"message": f"Successfully updated {len(answer.memories)} memories"}


def batch_delete(request: memory_service_pb2.BatchDeleteMemoriesRequest) -> Plan[Item]:
    """BatchDeleteMemories."""
    answer = yield Call("MemoryService", "BatchDeleteMemories", request)
    return {"message": f"Successfully deleted {answer.deleted_count} memories"}


def users() -> Plan[Item]:
    """ListEntities, all pages."""
    return responses.entities((yield from _entities()))


def delete_users() -> Plan[Item]:
    """DeleteMemories of everything. This removes all entities, since an entity without memories is no longer listed."""
    yield Call("MemoryService", "DeleteMemories", requests.delete_everything(), endless=True)
    return {"message": "All users, agents, and runs deleted."}


def reset() -> Plan[Item]:
    """The same as delete_users; only the message differs."""
    yield from delete_users()
    return {"message": "Client reset successful. All users and memories deleted."}


def _entities() -> Plan[list[entity_service_pb2.ListEntitiesResponse]]:
    request = entity_service_pb2.ListEntitiesRequest(page_size=requests.MAX_PAGE)
    answers = []
    while True:
        answer = yield Call("EntityService", "ListEntities", request)
        answers.append(answer)
        request.page_token = answer.next_page_token
        if not request.page_token:
            return answers


def check_format(output_format: str) -> None:
    """Raise InvalidRequest unless the format is "v1.0" or "v1.1", the two of the guide."""
    validation.choice(output_format, "output_format", ("v1.0", "v1.1"))
