"""Conversion of the guide's arguments to requests of `recalld.v1`. Invalid arguments raise InvalidRequest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recalld import structs, times, validation
from recalld.arguments import (
    check_version,
    condition,
    everything,
    known_keys,
    new_request_id,
    request_id_of,
    scope,
    set_as_of,
    stamp,
)
from recalld.errors import invalid
from recalld.messages import conversation
from recalld.options import UNSET, CustomCategories, Id, Messages, Unset
from recalld.v1 import memory_pb2, memory_service_pb2, search_service_pb2

MAX_BATCH = 1000
MAX_PAGE = 1000
MAX_LIMIT = 10_000  # hits of one search
UPDATE_KEYS = ("memory_id", "text", "metadata", "categories", "expiration_date", "immutable", "etag")


def add(
    messages: Messages,
    *,
    user_id: Id = UNSET,
    agent_id: Id = UNSET,
    app_id: Id = UNSET,
    run_id: Id = UNSET,
    metadata: Mapping[str, Any] | None = None,
    infer: bool = True,
    includes: str | None = None,
    excludes: str | None = None,
    categories: Sequence[str] | str | None = None,
    custom_categories: CustomCategories | None = None,
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
    if validation.flag(async_mode, "async_mode"):
        raise invalid("async_mode", "must be False: add returns once the memories are stored")
    request = memory_service_pb2.AddRequest(
        scope=scope(user_id, agent_id, app_id, run_id),
        infer=validation.flag(infer, "infer"),
        includes=validation.optional_text(includes, "includes"),
        excludes=validation.optional_text(excludes, "excludes"),
        categories=() if categories is None else validation.texts(categories, "categories"),
        custom_categories=_custom_categories(custom_categories),
        custom_instructions=validation.optional_text(custom_instructions, "custom_instructions"),
        immutable=validation.flag(immutable, "immutable"),
        request_id=request_id_of(request_id),
    )
    if isinstance(messages, str):
        request.text = validation.text(messages, "messages")
    else:
        request.messages.extend(conversation(messages))
    if metadata is not None:
        structs.fill(request.metadata, metadata)
    stamp(request.expire_time, expiration_date, times.expiry, "expiration_date")
    stamp(request.timestamp, timestamp, times.moment, "timestamp")
    return request


def _custom_categories(given: CustomCategories | None) -> list[memory_pb2.CustomCategory]:
    """Convert {name: description}, a name, or a list of these."""
    listed = [given] if isinstance(given, Mapping | str) else given or ()
    made = []
    for number, each in enumerate(listed):
        path = f"custom_categories[{number}]"
        named = {each: ""} if isinstance(each, str) else each
        if not isinstance(named, Mapping):
            raise invalid(path, "must be a name or an object {name: description}")
        for name, description in named.items():
            validation.text(name, path, empty=False)
            described = validation.optional_text(description, f"{path}.{name}")
            made.append(memory_pb2.CustomCategory(name=name, description=described))
    return made


def search(
    query: str,
    *,
    user_id: Id = UNSET,
    agent_id: Id = UNSET,
    app_id: Id = UNSET,
    run_id: Id = UNSET,
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
        raise invalid("top_k", "is another name for limit: give only one of them, or the same value")
    validation.choice(mode, "mode", ("hybrid", "keyword", "vector"))
    most, name = (top_k, "top_k") if limit is None else (limit, "limit")
    request = search_service_pb2.SearchRequest(
        query=validation.text(query, "query"),
        scope=scope(user_id, agent_id, app_id, run_id),
        filter=condition(categories, metadata, filters),
        limit=validation.optional_whole(most, name, 1, MAX_LIMIT),
        threshold=validation.optional_number(threshold, "threshold"),
        mode=f"SEARCH_MODE_{mode.upper()}",
        explain=validation.flag(explain, "explain"),
        at_least_as_fresh=validation.optional_text(at_least_as_fresh, "at_least_as_fresh"),
        max_tokens=validation.optional_whole(max_tokens, "max_tokens"),
    )
    set_as_of(request.as_of, as_of)
    return request


def listing(
    *,
    user_id: Id = UNSET,
    agent_id: Id = UNSET,
    app_id: Id = UNSET,
    run_id: Id = UNSET,
    categories: Sequence[str] | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    filters: Mapping[str, Any] | None = None,
    keywords: str | None = None,
    version: str = "v1",
) -> memory_service_pb2.ListMemoriesRequest:
    """Arguments as in `ListOptions`. The caller sets the paging fields."""
    check_version(version)
    return memory_service_pb2.ListMemoriesRequest(
        scope=scope(user_id, agent_id, app_id, run_id),
        filter=condition(categories, metadata, filters, keywords),
        page_size=MAX_PAGE,
    )


def delete_all(
    *,
    user_id: Id = UNSET,
    agent_id: Id = UNSET,
    app_id: Id = UNSET,
    run_id: Id = UNSET,
    metadata: Mapping[str, Any] | None = None,
    request_id: str | None = None,
) -> memory_service_pb2.DeleteMemoriesRequest:
    """Raises InvalidRequest without an id. Use `reset` to delete everything."""
    chosen = scope(user_id, agent_id, app_id, run_id)
    if not chosen.ByteSize():
        raise invalid("user_id", "or agent_id, app_id or run_id must be given; reset() deletes everything")
    return memory_service_pb2.DeleteMemoriesRequest(
        scope=chosen, filter=condition(None, metadata, None), request_id=request_id_of(request_id)
    )


def delete_everything() -> memory_service_pb2.DeleteMemoriesRequest:
    """A request to delete all memories that the API key may access. Sets a filter, since the server requires one."""
    return memory_service_pb2.DeleteMemoriesRequest(filter=everything(), request_id=new_request_id())


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
        raise invalid("data", "is another name for text: give only one of them, or the same value")
    request = memory_service_pb2.UpdateMemoryRequest(
        etag=validation.optional_text(etag, "etag"), request_id=request_id_of(request_id)
    )
    changes = {
        "memory_id": memory_id,
        "text": data if text is None else text,
        "metadata": metadata,
        "categories": categories,
        "expiration_date": expiration_date,
        "immutable": immutable,
    }
    _change(request.memory, request.update_mask.paths, changes)
    return request


def _change(memory: memory_pb2.Memory, paths: Any, changes: Mapping[str, Any], path: str = "") -> None:
    """Copy the changes into `memory` and append their field names to the `paths` of an update mask."""
    memory.id = validation.text(changes["memory_id"], f"{path}memory_id", empty=False)
    if (text := changes.get("text")) is not None:
        memory.text = validation.text(text, f"{path}text")
        paths.append("text")
    if (metadata := changes.get("metadata")) is not None:
        structs.fill(memory.metadata, metadata, f"{path}metadata")
        paths.append("metadata")
    if (categories := changes.get("categories")) is not None:
        memory.categories.extend(validation.texts(categories, f"{path}categories"))
        paths.append("categories")
    if (expiration_date := changes.get("expiration_date", UNSET)) is not UNSET:
        stamp(memory.expire_time, expiration_date, times.expiry, f"{path}expiration_date")
        paths.append("expire_time")
    if (immutable := changes.get("immutable")) is not None:
        memory.immutable = validation.flag(immutable, f"{path}immutable")
        paths.append("immutable")
    if not paths:
        raise invalid(f"{path}text", "or metadata, categories, expiration_date or immutable must be given")


def delete(memory_id: str, etag: str | None, request_id: str | None) -> memory_service_pb2.DeleteMemoryRequest:
    """Delete one memory; with `etag` only if it is at that revision."""
    return memory_service_pb2.DeleteMemoryRequest(
        memory_id=validation.text(memory_id, "memory_id", empty=False),
        etag=validation.optional_text(etag, "etag"),
        request_id=request_id_of(request_id),
    )


def restore(memory_id: str, revision: int | None, request_id: str | None) -> memory_service_pb2.RestoreMemoryRequest:
    """Restore the last content of a deleted memory, or the content of `revision`."""
    return memory_service_pb2.RestoreMemoryRequest(
        memory_id=validation.text(memory_id, "memory_id", empty=False),
        revision=validation.optional_whole(revision, "revision"),
        request_id=request_id_of(request_id),
    )


def batch_update(
    memories: Sequence[Mapping[str, Any]], request_id: str | None = None
) -> memory_service_pb2.BatchUpdateMemoriesRequest:
    """Each item has a `memory_id` and changes, named as for `update`."""
    check_batch(memories, "updated")
    request = memory_service_pb2.BatchUpdateMemoriesRequest(request_id=request_id_of(request_id))
    for number, each in enumerate(memories):
        path = f"memories[{number}]"
        if not isinstance(each, Mapping):
            raise invalid(path, "must be an object with memory_id and the changes")
        known_keys(each, UPDATE_KEYS, path)
        if "memory_id" not in each:
            raise invalid(f"{path}.memory_id", "must be given")
        one = request.updates.add(etag=validation.optional_text(each.get("etag"), f"{path}.etag"))
        _change(one.memory, one.update_mask.paths, each, f"{path}.")
    return request


def batch_delete(
    memories: Sequence[Mapping[str, Any] | str], request_id: str | None = None
) -> memory_service_pb2.BatchDeleteMemoriesRequest:
    """Each item is an id or an object with a `memory_id`."""
    check_batch(memories, "deleted")
    ids = []
    for number, each in enumerate(memories):
        memory_id = each
        if isinstance(each, Mapping):
            known_keys(each, ("memory_id",), f"memories[{number}]")
            memory_id = each.get("memory_id", "")
        if not isinstance(memory_id, str) or not memory_id:
            raise invalid(f"memories[{number}].memory_id", "must be the id of a memory")
        ids.append(validation.text(memory_id, f"memories[{number}].memory_id"))
    return memory_service_pb2.BatchDeleteMemoriesRequest(memory_ids=ids, request_id=request_id_of(request_id))


def check_batch(memories: Sequence[Any], done: str) -> None:
    """Raise InvalidRequest for more items than the server accepts, before they are sent."""
    if not isinstance(memories, Sequence) or isinstance(memories, str):
        raise invalid("memories", f"must be a list, not {type(memories).__name__}")
    if len(memories) > MAX_BATCH:
        raise invalid("memories", f"Maximum of {MAX_BATCH} memories can be {done} in a single request")
