"""The guide's arguments as requests of `recalld.v1`. What can't be meant raises InvalidRequest before it is sent."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recalld import structs, times
from recalld.arguments import check_version, condition, conversation, known_keys, new_request_id, scope, stamp
from recalld.errors import invalid
from recalld.options import UNSET, Messages, Unset
from recalld.v1 import entity_service_pb2, memory_pb2, memory_service_pb2, search_service_pb2

MAX_BATCH = 1000
MAX_PAGE = 1000
UPDATE_KEYS = ("memory_id", "text", "metadata", "categories", "expiration_date", "immutable", "etag")


def add(
    messages: Messages,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    app_id: str | None = None,
    run_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    infer: bool = True,
    includes: str | None = None,
    excludes: str | None = None,
    categories: Sequence[str] | None = None,
    custom_categories: Sequence[Mapping[str, str] | str] | None = None,
    custom_instructions: str | None = None,
    expiration_date: times.Time | None = None,
    timestamp: times.Time | float | None = None,
    immutable: bool = False,
    version: str = "v1",
    async_mode: bool = False,
    request_id: str | None = None,
) -> memory_service_pb2.AddRequest:
    """Arguments as in `AddOptions`."""
    check_version(version)
    if async_mode:
        raise invalid("async_mode", "must be False: add answers when the memories are stored")
    request = memory_service_pb2.AddRequest(
        scope=scope(user_id, agent_id, app_id, run_id),
        infer=infer,
        includes=includes,
        excludes=excludes,
        categories=categories or (),
        custom_instructions=custom_instructions,
        immutable=immutable,
        request_id=request_id or new_request_id(),
    )
    if isinstance(messages, str):
        request.text = messages
    else:
        request.messages.extend(conversation(messages))
    for each in custom_categories or ():
        named = {each: ""} if isinstance(each, str) else each
        request.custom_categories.extend(
            memory_pb2.CustomCategory(name=name, description=description) for name, description in named.items()
        )
    if metadata is not None:
        structs.fill(request.metadata, metadata)
    stamp(request.expire_time, expiration_date, times.expiry, "expiration_date")
    stamp(request.timestamp, timestamp, times.moment, "timestamp")
    return request


def search(
    query: str,
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    app_id: str | None = None,
    run_id: str | None = None,
    categories: Sequence[str] | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    filters: Mapping[str, Any] | None = None,
    version: str = "v1",
    limit: int | None = None,
    top_k: int | None = None,
    threshold: float | None = None,
    mode: str = "hybrid",
    explain: bool = False,
    as_of: times.Time | int | None = None,
    at_least_as_fresh: str | None = None,
    max_tokens: int | None = None,
) -> search_service_pb2.SearchRequest:
    """Arguments as in `SearchOptions`."""
    check_version(version)
    if limit is not None and top_k is not None and limit != top_k:
        raise invalid("top_k", "must equal limit, or only one may be given")
    if mode not in ("hybrid", "keyword", "vector"):
        raise invalid("mode", "must be hybrid, keyword or vector")
    request = search_service_pb2.SearchRequest(
        query=query,
        scope=scope(user_id, agent_id, app_id, run_id),
        filter=condition(categories, metadata, filters),
        limit=top_k if limit is None else limit,
        threshold=threshold,
        mode=f"SEARCH_MODE_{mode.upper()}",
        explain=explain,
        at_least_as_fresh=at_least_as_fresh,
        max_tokens=max_tokens,
    )
    if isinstance(as_of, int):
        request.as_of.sequence = as_of
    elif as_of is not None:
        stamp(request.as_of.time, as_of, times.moment, "as_of")
    return request


def listing(
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    app_id: str | None = None,
    run_id: str | None = None,
    categories: Sequence[str] | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    filters: Mapping[str, Any] | None = None,
    keywords: str | None = None,
    version: str = "v1",
) -> memory_service_pb2.ListMemoriesRequest:
    """Arguments as in `ListOptions`. Paging is left to the caller."""
    check_version(version)
    return memory_service_pb2.ListMemoriesRequest(
        scope=scope(user_id, agent_id, app_id, run_id),
        filter=condition(categories, metadata, filters, keywords),
        page_size=MAX_PAGE,
    )


def delete_all(
    *,
    user_id: str | None = None,
    agent_id: str | None = None,
    app_id: str | None = None,
    run_id: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    request_id: str | None = None,
) -> memory_service_pb2.DeleteMemoriesRequest:
    """Needs an id: deleting everything is what `reset` is for."""
    chosen = scope(user_id, agent_id, app_id, run_id)
    if not chosen.ByteSize():
        raise invalid("user_id", "or agent_id, app_id or run_id must be given; reset() deletes everything")
    return memory_service_pb2.DeleteMemoriesRequest(
        scope=chosen, filter=condition(None, metadata, None), request_id=request_id or new_request_id()
    )


def update(
    memory_id: str,
    text: str | None = None,
    *,
    data: str | None = None,
    metadata: Mapping[str, Any] | None = None,
    categories: Sequence[str] | None = None,
    expiration_date: times.Time | Unset | None = UNSET,
    immutable: bool | None = None,
    etag: str | None = None,
    request_id: str | None = None,
) -> memory_service_pb2.UpdateMemoryRequest:
    """Arguments as in `UpdateOptions`. At least one change must be given."""
    if text is not None and data is not None and text != data:
        raise invalid("data", "must equal text, or only one may be given")
    text = data if text is None else text
    request = memory_service_pb2.UpdateMemoryRequest(etag=etag, request_id=request_id or new_request_id())
    memory, paths = request.memory, request.update_mask.paths
    memory.id = memory_id
    if text is not None:
        memory.text = text
        paths.append("text")
    if metadata is not None:
        structs.fill(memory.metadata, metadata)
        paths.append("metadata")
    if categories is not None:
        memory.categories.extend(categories)
        paths.append("categories")
    if expiration_date is not UNSET:
        stamp(memory.expire_time, expiration_date, times.expiry, "expiration_date")
        paths.append("expire_time")
    if immutable is not None:
        memory.immutable = immutable
        paths.append("immutable")
    if not paths:
        raise invalid("text", "or metadata, categories, expiration_date or immutable must be given")
    return request


def delete(memory_id: str, etag: str | None, request_id: str | None) -> memory_service_pb2.DeleteMemoryRequest:
    """One memory, at any revision or the one of `etag`."""
    return memory_service_pb2.DeleteMemoryRequest(
        memory_id=memory_id, etag=etag, request_id=request_id or new_request_id()
    )


def restore(memory_id: str, revision: int | None, request_id: str | None) -> memory_service_pb2.RestoreMemoryRequest:
    """A deleted memory as it was last, or as of an earlier revision."""
    return memory_service_pb2.RestoreMemoryRequest(
        memory_id=memory_id, revision=revision, request_id=request_id or new_request_id()
    )


def batch_update(
    memories: Sequence[Mapping[str, Any]], request_id: str | None = None
) -> memory_service_pb2.BatchUpdateMemoriesRequest:
    """Each with `memory_id` and what changes, named as for `update`."""
    check_batch(memories, "updated")
    request = memory_service_pb2.BatchUpdateMemoriesRequest(request_id=request_id or new_request_id())
    for number, each in enumerate(memories):
        known_keys(each, UPDATE_KEYS, f"memories[{number}]")
        if "memory_id" not in each:
            raise invalid(f"memories[{number}].memory_id", "must be given")
        one = update(**each)
        request.updates.add(memory=one.memory, update_mask=one.update_mask, etag=one.etag)
    return request


def batch_delete(
    memories: Sequence[Mapping[str, Any] | str], request_id: str | None = None
) -> memory_service_pb2.BatchDeleteMemoriesRequest:
    """Each an id, or an object that holds it as `memory_id`."""
    check_batch(memories, "deleted")
    ids = []
    for number, each in enumerate(memories):
        memory_id = each
        if isinstance(each, Mapping):
            known_keys(each, ("memory_id",), f"memories[{number}]")
            memory_id = each.get("memory_id", "")
        if not isinstance(memory_id, str) or not memory_id:
            raise invalid(f"memories[{number}].memory_id", "must be the id of a memory")
        ids.append(memory_id)
    return memory_service_pb2.BatchDeleteMemoriesRequest(memory_ids=ids, request_id=request_id or new_request_id())


def delete_entity(entity_type: Any, name: str) -> entity_service_pb2.DeleteEntityRequest:
    """One entity and its memories, by its type in the API."""
    return entity_service_pb2.DeleteEntityRequest(type=entity_type, id=name, request_id=new_request_id())


def check_batch(memories: Sequence[Any], done: str) -> None:
    """More would be refused by the server, after they were sent."""
    if len(memories) > MAX_BATCH:
        raise invalid("memories", f"Maximum of {MAX_BATCH} memories can be {done} in a single request")
