"""The checks of single message types, beyond required fields and NUL in strings. `CHECKS` maps a type to its check."""

from __future__ import annotations

import math
import uuid
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from dataclasses import field as attribute
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value

from recalld.v1 import entity_service_pb2, memory_pb2, memory_service_pb2, search_service_pb2
from recalld_server.domain import limits
from recalld_server.domain.bounds import metadata_size
from recalld_server.domain.errors import FieldInvalid, LimitExceeded, QueryEmpty, ScopeMissing, TextInvalid
from recalld_server.domain.filters import MAX_INTEGER
from recalld_server.rpc.render.memory_protos import metadata_of

ROLES = ("user", "assistant", "system", "tool")
ORDERS = ("create_time", "create_time desc", "create_time asc", "update_time", "update_time desc", "update_time asc")
UPDATABLE = ("text", "metadata", "categories", "expire_time", "immutable")
HISTORIC = (memory_pb2.KIND_ADDED, memory_pb2.KIND_UPDATED, memory_pb2.KIND_DELETED, memory_pb2.KIND_RESTORED)
MAX_CATEGORIES = limits.CATEGORIES
HINT_BYTES = 8 * 1024
STRUCT_DEPTH = 16
STRUCT_BYTES = 8 * limits.METADATA_BYTES  # a Struct is at most 5.5 times its JSON, so a larger one is surely too large
LONGEST_ESCAPE = 6  # one byte of a Struct becomes at most 6 bytes of JSON (\u0001)


@dataclass(frozen=True, slots=True)
class Violation:
    """The path of a field, the rule it breaks, and the error that is raised if this is the first violation."""

    field: str
    text: str
    kind: type[FieldInvalid] = FieldInvalid
    metadata: dict[str, Any] = attribute(default_factory=dict)


Check = Callable[[Any, str], Iterator[Violation]]


def too_long(value: str, most: int, path: str) -> Iterator[Violation]:
    """Yield a violation if the UTF-8 encoding of `value` is longer than `most` bytes."""
    if (size := len(value.encode())) > most:
        yield Violation(
            path, f"must be at most {most} bytes, not {size}", LimitExceeded, {"limit": most, "actual": size}
        )


def too_many(count: int, most: int, path: str) -> Iterator[Violation]:
    """Yield a violation if a list has more than `most` items."""
    if count > most:
        text = f"must have at most {most} items, not {count}"
        yield Violation(path, text, LimitExceeded, {"limit": most, "actual": count})


def check_scope(scope: memory_pb2.Scope, prefix: str) -> Iterator[Violation]:
    for name in ("user_id", "agent_id", "app_id", "run_id"):
        yield from too_long(getattr(scope, name), limits.ID_BYTES, prefix + name)


def check_scope_given(request: Any, prefix: str) -> Iterator[Violation]:
    scope = request.scope
    if not (scope.user_id or scope.agent_id or scope.app_id or scope.run_id):
        text = "must have at least one of user_id, agent_id, app_id and run_id"
        yield Violation(f"{prefix}scope", text, ScopeMissing)


def check_metadata(struct: Struct, path: str) -> Iterator[Violation]:
    if (size := struct.ByteSize()) > STRUCT_BYTES:
        text = f"must be at most {limits.METADATA_BYTES} bytes as JSON"
        yield Violation(path, text, LimitExceeded, {"limit": limits.METADATA_BYTES, "actual": size})
        return
    problem = _unfit(struct.fields.items(), path, 1)
    if problem:
        yield problem
        return
    if size * LONGEST_ESCAPE <= limits.METADATA_BYTES:
        return
    size = metadata_size(metadata_of(struct))
    if size > limits.METADATA_BYTES:
        text = f"must be at most {limits.METADATA_BYTES} bytes as JSON, not {size}"
        yield Violation(path, text, LimitExceeded, {"limit": limits.METADATA_BYTES, "actual": size})


def _unfit(items: Iterable[tuple[str, Value]], path: str, depth: int) -> Violation | None:
    """The first key or value that JSON or the ledger cannot store unchanged."""
    for key, value in items:
        at, kind = f"{path}.{key}" if key else path, value.WhichOneof("kind")
        if "\0" in key or (kind == "string_value" and "\0" in value.string_value):
            return Violation(at.replace("\0", "\\0"), "must not contain a NUL character", TextInvalid)
        if kind is None:
            return Violation(at, "must have a value (null, a number, a string, a bool, a struct or a list)")
        number = value.number_value
        if kind == "number_value" and not math.isfinite(number):
            return Violation(at, "must be a finite number")
        if kind == "number_value" and number.is_integer() and abs(number) > MAX_INTEGER:
            return Violation(at, "must be from -2^53 to 2^53: larger integers lose digits; use a string instead")
        if depth >= STRUCT_DEPTH and kind in ("struct_value", "list_value"):
            return Violation(at, f"must be nested at most {STRUCT_DEPTH} levels deep")
        inner: Iterable[tuple[str, Value]] = ()
        if kind == "struct_value":
            inner = value.struct_value.fields.items()
        elif kind == "list_value":
            inner = (("", item) for item in value.list_value.values)
        if problem := _unfit(inner, at, depth + 1):
            return problem
    return None


def check_categories(request: Any, prefix: str) -> Iterator[Violation]:
    yield from too_many(len(request.categories), MAX_CATEGORIES, f"{prefix}categories")
    for number, name in enumerate(request.categories):
        at = f"{prefix}categories[{number}]"
        if not name.strip():
            yield Violation(at, "must not be empty or only whitespace")
        yield from too_long(name, limits.ID_BYTES, at)


def check_request_id(request: Any, prefix: str) -> Iterator[Violation]:
    given = request.request_id
    yield from too_long(given, limits.REQUEST_ID_LENGTH, f"{prefix}request_id")
    if given and not (given.isascii() and given.isprintable()):
        yield Violation(f"{prefix}request_id", "must contain only printable ASCII characters")


def check_custom_category(category: memory_pb2.CustomCategory, prefix: str) -> Iterator[Violation]:
    if category.name and not category.name.strip():
        yield Violation(f"{prefix}name", "must not be only whitespace")
    yield from too_long(category.name, limits.ID_BYTES, f"{prefix}name")
    yield from too_long(category.description, HINT_BYTES, f"{prefix}description")


def check_message(message: memory_pb2.Message, prefix: str) -> Iterator[Violation]:
    if message.role and message.role not in ROLES:
        yield Violation(f"{prefix}role", f"must be one of {', '.join(ROLES)}")
    yield from too_long(message.content, limits.MESSAGE_BYTES, f"{prefix}content")
    yield from too_long(message.name, limits.ID_BYTES, f"{prefix}name")


def check_memory(memory: memory_pb2.Memory, prefix: str) -> Iterator[Violation]:
    yield from too_long(memory.text, limits.TEXT_BYTES, f"{prefix}text")
    for name in ("id", "user_id", "agent_id", "app_id", "run_id", "speaker", "add_id", "etag"):
        yield from too_long(getattr(memory, name), limits.ID_BYTES, prefix + name)
    yield from check_categories(memory, prefix)
    yield from too_many(len(memory.sources), limits.MESSAGES, f"{prefix}sources")


def check_add(request: memory_service_pb2.AddRequest, prefix: str) -> Iterator[Violation]:
    yield from check_scope_given(request, prefix)
    if request.messages and request.text:
        yield Violation(f"{prefix}text", "must be empty when messages is set")
    elif not request.messages and not request.text.strip():
        yield Violation(f"{prefix}messages", "must have at least one message, or text must be set")
    yield from too_many(len(request.messages), limits.MESSAGES, f"{prefix}messages")
    yield from too_long(request.text, limits.MESSAGE_BYTES, f"{prefix}text")
    for name in ("includes", "excludes", "custom_instructions"):
        yield from too_long(getattr(request, name), HINT_BYTES, prefix + name)
    yield from too_many(len(request.custom_categories), MAX_CATEGORIES, f"{prefix}custom_categories")
    yield from check_categories(request, prefix)
    yield from check_request_id(request, prefix)


def check_import_item(item: memory_service_pb2.ImportItem, prefix: str) -> Iterator[Violation]:
    kind = item.WhichOneof("item")
    if kind is None:
        yield Violation(f"{prefix}item", "must have one of text, memory, history")
    elif kind == "memory":
        yield from check_whole(item.memory, f"{prefix}memory")
    if item.vector and kind != "memory":
        yield Violation(f"{prefix}vector", "must be empty unless memory is set")
    vectors = [item.vector, *(revision.vector for revision in item.history.revisions)]
    if any(vectors) and not item.vector_model:
        yield Violation(f"{prefix}vector_model", "is required with a vector: name the model that computed it")
    yield from too_many(max(map(len, vectors)), 65_536, f"{prefix}vector")
    yield from check_request_id(item, prefix)


def check_whole(memory: memory_pb2.Memory, path: str) -> Iterator[Violation]:
    """Check a memory to import: its required fields, and the values that an import stores as given."""
    if not memory.text.strip():
        yield Violation(f"{path}.text", "must not be empty or only whitespace")
    if memory.id and not _is_uuid(memory.id):
        yield Violation(f"{path}.id", "must be a UUID in lower case, with hyphens")
    if not (memory.user_id or memory.agent_id or memory.app_id or memory.run_id):
        text = "must have at least one of user_id, agent_id, app_id and run_id"
        yield Violation(path, text, ScopeMissing)
    if not 0 <= memory.revision < 2**30:
        yield Violation(f"{path}.revision", "must be from 0 to 2^30 - 1")
    yield from check_positions(memory.sources, f"{path}.sources")


def check_import_history(history: memory_service_pb2.ImportHistory, prefix: str) -> Iterator[Violation]:
    yield from too_many(len(history.revisions), limits.BATCH, f"{prefix}revisions")
    before: memory_service_pb2.ImportRevision | None = None
    for number, revision in enumerate(history.revisions):
        path = f"{prefix}revisions[{number}]"
        yield from check_whole(revision.memory, f"{path}.memory")
        if revision.kind not in HISTORIC:
            yield Violation(f"{path}.kind", "must be ADDED, UPDATED, DELETED or RESTORED")
        if revision.cause and revision.kind != memory_pb2.KIND_DELETED:
            yield Violation(f"{path}.cause", "must be unset unless kind is DELETED")
        if revision.memory.revision <= (before.memory.revision if before else 0):
            yield Violation(f"{path}.memory.revision", "must be at least 1 and above that of the previous revision")
        if not revision.memory.id or (before and revision.memory.id != before.memory.id):
            yield Violation(f"{path}.memory.id", "is required, and must be the same in all revisions of a history")
        if before and _ids_of(revision.memory) != _ids_of(before.memory):
            yield Violation(f"{path}.memory", "must have the same scope ids in all revisions of a history")
        ended = before is not None and before.kind == memory_pb2.KIND_DELETED
        if before and ended and revision.kind != memory_pb2.KIND_RESTORED:
            yield Violation(f"{path}.kind", "must be RESTORED when the previous revision is DELETED")
        if before and revision.kind == memory_pb2.KIND_DELETED and revision.memory.text != before.memory.text:
            yield Violation(f"{path}.memory.text", "must be the text of the previous revision when kind is DELETED")
        before = revision


def _ids_of(memory: memory_pb2.Memory) -> tuple[str, str, str, str]:
    return memory.user_id, memory.agent_id, memory.app_id, memory.run_id


def check_positions(sources: Iterable[memory_pb2.Message], path: str) -> Iterator[Violation]:
    """Check the positions of messages in a conversation. The bound leaves room for the messages that follow."""
    seen: set[int] = set()
    for number, source in enumerate(sources):
        if source.position in seen or not 0 <= source.position < 2**30:
            yield Violation(f"{path}[{number}].position", "must be from 0 to 2^30 - 1 and unique among the sources")
        seen.add(source.position)


def _is_uuid(text: str) -> bool:
    try:
        return str(uuid.UUID(text)) == text
    except ValueError:
        return False


def check_import_text(text: memory_service_pb2.ImportText, prefix: str) -> Iterator[Violation]:
    yield from check_scope_given(text, prefix)
    yield from too_long(text.text, limits.TEXT_BYTES, f"{prefix}text")
    if text.text and not text.text.strip():
        yield Violation(f"{prefix}text", "must not be only whitespace")
    if text.role and text.role not in ROLES:
        yield Violation(f"{prefix}role", f"must be one of {', '.join(ROLES)}")
    yield from too_long(text.name, limits.ID_BYTES, f"{prefix}name")
    yield from check_categories(text, prefix)


def check_list(request: memory_service_pb2.ListMemoriesRequest, prefix: str) -> Iterator[Violation]:
    yield from check_page(request, prefix)
    if request.skip < 0:
        yield Violation(f"{prefix}skip", "must not be negative")
    if request.order_by and request.order_by not in ORDERS:
        yield Violation(f"{prefix}order_by", f"must be one of {', '.join(ORDERS)}")
    yield from check_as_of(request, prefix)


def check_page(request: Any, prefix: str) -> Iterator[Violation]:
    if request.page_size < 0:
        yield Violation(f"{prefix}page_size", "must not be negative")


def check_as_of(request: Any, prefix: str) -> Iterator[Violation]:
    if request.HasField("as_of") and request.as_of.WhichOneof("point") is None:
        yield Violation(f"{prefix}as_of", "must have one of sequence, time")
    if request.as_of.sequence < 0:
        yield Violation(f"{prefix}as_of.sequence", "must not be negative")


def check_update(request: Any, prefix: str) -> Iterator[Violation]:
    memory, paths = request.memory, list(request.update_mask.paths)
    if request.HasField("memory") and not memory.id:
        yield Violation(f"{prefix}memory.id", "is required")
    for path in paths:
        if path not in (*UPDATABLE, "*") or (path == "*" and len(paths) > 1):
            text = f"may contain only {', '.join(UPDATABLE)}, or * alone; not {path[:64]!r}"
            yield Violation(f"{prefix}update_mask", text)
    changed = set(UPDATABLE) if paths == ["*"] else set(paths or (f.name for f, _ in memory.ListFields()))
    if not changed & set(UPDATABLE):
        text = f"must contain at least one of {', '.join(UPDATABLE)}, or memory must set one of them"
        yield Violation(f"{prefix}update_mask", text)
    if "text" in changed and not memory.text.strip():
        yield Violation(f"{prefix}memory.text", "must not be empty or only whitespace")


def check_update_memory(request: memory_service_pb2.UpdateMemoryRequest, prefix: str) -> Iterator[Violation]:
    yield from check_update(request, prefix)
    yield from check_request_id(request, prefix)


def check_batch_update(request: memory_service_pb2.BatchUpdateMemoriesRequest, prefix: str) -> Iterator[Violation]:
    yield from too_many(len(request.updates), limits.BATCH, f"{prefix}updates")
    yield from _distinct((item.memory.id for item in request.updates), f"{prefix}updates")
    yield from check_request_id(request, prefix)


def check_batch_delete(request: memory_service_pb2.BatchDeleteMemoriesRequest, prefix: str) -> Iterator[Violation]:
    yield from too_many(len(request.memory_ids), limits.BATCH, f"{prefix}memory_ids")
    for number, id in enumerate(request.memory_ids):
        if not id:
            yield Violation(f"{prefix}memory_ids[{number}]", "must not be empty")
        yield from too_long(id, limits.ID_BYTES, f"{prefix}memory_ids[{number}]")
    yield from check_request_id(request, prefix)


def _distinct(ids: Iterable[str], path: str) -> Iterator[Violation]:
    seen: set[str] = set()
    for number, id in enumerate(ids):
        if id in seen:
            yield Violation(f"{path}[{number}]", "must not name a memory that an earlier item names")
        seen.add(id)


def check_scope_or_filter(request: Any, prefix: str) -> Iterator[Violation]:
    if not request.HasField("filter"):
        for violation in check_scope_given(request, prefix):
            yield Violation(violation.field, f"{violation.text}, or filter must be set", ScopeMissing)


def check_delete_matching(request: Any, prefix: str) -> Iterator[Violation]:
    yield from check_scope_or_filter(request, prefix)
    if request.expected_count < 0:
        yield Violation(f"{prefix}expected_count", "must not be negative")
    yield from check_request_id(request, prefix)


def check_one_memory(request: Any, prefix: str) -> Iterator[Violation]:
    yield from too_long(request.memory_id, limits.ID_BYTES, f"{prefix}memory_id")
    if "request_id" in request.DESCRIPTOR.fields_by_name:
        yield from check_request_id(request, prefix)


def check_feedback(request: memory_service_pb2.SetFeedbackRequest, prefix: str) -> Iterator[Violation]:
    yield from check_one_memory(request, prefix)
    yield from too_long(request.reason, limits.TEXT_BYTES, f"{prefix}reason")


def check_events(request: memory_service_pb2.ListEventsRequest, prefix: str) -> Iterator[Violation]:
    yield from check_page(request, prefix)
    yield from check_one_memory(request, prefix)
    if request.memory_id and (request.HasField("scope") or request.HasField("filter")):
        yield Violation(f"{prefix}memory_id", "must be empty when scope or filter is set")
    if request.after_sequence < 0:
        yield Violation(f"{prefix}after_sequence", "must not be negative")


def check_search(request: search_service_pb2.SearchRequest, prefix: str) -> Iterator[Violation]:
    if not request.query.strip():
        yield Violation(f"{prefix}query", "must not be empty or only whitespace", QueryEmpty)
    yield from too_long(request.query, limits.QUERY_BYTES, f"{prefix}query")
    most, given = limits.SEARCH_LIMIT, request.limit
    if request.HasField("limit") and given < 1:
        yield Violation(f"{prefix}limit", f"must be from 1 to {most}")
    if given > most:
        counts = {"limit": most, "actual": given}
        yield Violation(f"{prefix}limit", f"must be at most {most}, not {given}", LimitExceeded, counts)
    if not 0 <= request.threshold <= 1:  # also false for NaN
        yield Violation(f"{prefix}threshold", "must be from 0 to 1")
    if request.max_tokens < 0:
        yield Violation(f"{prefix}max_tokens", "must not be negative")
    yield from check_as_of(request, prefix)
    if request.HasField("as_of") and request.at_least_as_fresh:
        yield Violation(f"{prefix}at_least_as_fresh", "must be empty when as_of is set")


def check_delete_entity(request: entity_service_pb2.DeleteEntityRequest, prefix: str) -> Iterator[Violation]:
    yield from too_long(request.id, limits.ID_BYTES, f"{prefix}id")
    yield from check_request_id(request, prefix)


_SERVICE = "recalld.v1."
CHECKS: dict[str, Check] = {
    Struct.DESCRIPTOR.full_name: check_metadata,
    f"{_SERVICE}Scope": check_scope,
    f"{_SERVICE}Message": check_message,
    f"{_SERVICE}Memory": check_memory,
    f"{_SERVICE}CustomCategory": check_custom_category,
    f"{_SERVICE}AddRequest": check_add,
    f"{_SERVICE}ImportItem": check_import_item,
    f"{_SERVICE}ImportText": check_import_text,
    f"{_SERVICE}ImportHistory": check_import_history,
    f"{_SERVICE}GetMemoryRequest": check_one_memory,
    f"{_SERVICE}ListMemoriesRequest": check_list,
    f"{_SERVICE}UpdateMemoryRequest": check_update_memory,
    f"{_SERVICE}BatchUpdateItem": check_update,
    f"{_SERVICE}DeleteMemoryRequest": check_one_memory,
    f"{_SERVICE}BatchUpdateMemoriesRequest": check_batch_update,
    f"{_SERVICE}BatchDeleteMemoriesRequest": check_batch_delete,
    f"{_SERVICE}DeleteMemoriesRequest": check_delete_matching,
    f"{_SERVICE}RestoreMemoryRequest": check_one_memory,
    f"{_SERVICE}ListEventsRequest": check_events,
    f"{_SERVICE}SetFeedbackRequest": check_feedback,
    f"{_SERVICE}WatchRequest": check_as_of,
    f"{_SERVICE}ForgetMemoriesRequest": check_delete_matching,
    f"{_SERVICE}SearchRequest": check_search,
    f"{_SERVICE}ListEntitiesRequest": check_page,
    f"{_SERVICE}DeleteEntityRequest": check_delete_entity,
}
