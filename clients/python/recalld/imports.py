"""Bulk imports of texts or whole memories: the conversion of items and the types of their progress.

An import is not atomic: items that a progress message reported as settled stay stored if the stream breaks. It is safe
to send everything again, since memories that are already stored count as unchanged. `recalld.feeds` sends the items.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recalld import structs, times, validation
from recalld.arguments import known_keys, scope, stamp
from recalld.errors import RecalldError, invalid
from recalld.messages import message
from recalld.v1 import memory_pb2, memory_service_pb2
from recalld.v1.memory_service_pb2 import ImportItem

SCOPE_KEYS = ("user_id", "agent_id", "app_id", "run_id")
SHARED_KEYS = (*SCOPE_KEYS, "metadata", "categories", "expiration_date", "immutable")
TEXT_KEYS = ("text", "name", "role", "timestamp", *SHARED_KEYS)
MEMORY_KEYS = (
    *("id", "memory", "hash", "created_at", "updated_at", "revision", "input", "vector", "vector_model"),
    *("event_date", "timestamp", "speaker", "add_id", "feedback", "feedback_reason"),
    *SHARED_KEYS,
)
# A row of an export with history. The import ignores principal, sequence and superseded, since it assigns its own.
REVISION_KEYS = (*MEMORY_KEYS, "event", "cause", "principal", "sequence", "superseded")
Importable = Mapping[str, Any] | ImportItem


@dataclass(frozen=True, slots=True)
class ImportFailure:
    """An item that was not stored, and the error: the server's, or the client's if the item was invalid and not sent.

    `index` is the item's index from 0; a memory's history is one item. `row` is the index from 0 of its first row.
    """

    index: int
    error: RecalldError
    row: int


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """Items up to and including `through_index` are settled. `failed` lists the failures since the last progress."""

    through_index: int
    stored: int
    unchanged: int
    failed: tuple[ImportFailure, ...]
    consistency_token: str


def item(given: Importable, index: int) -> ImportItem:
    """Convert a text, {"text"} with optional "name", "role", "timestamp", or a memory as `get` and exports return it.

    Both have ids and optional metadata, categories, expiration_date and immutable; a memory may have `vector` and
    `vector_model`. ImportItem messages are returned unchanged. Rows with an "event" are for `history` instead. Raises
    InvalidRequest.
    """
    if isinstance(given, ImportItem):
        return given
    path = f"items[{index}]"
    if not isinstance(given, Mapping):
        raise invalid(path, "must be an object")
    if "text" in given:
        known_keys(given, TEXT_KEYS, path)
        return ImportItem(text=_text(given, path))
    known_keys(given, MEMORY_KEYS, path)
    return ImportItem(
        memory=_memory(given, path),
        vector=_vector(given, path),
        vector_model=validation.optional_text(given.get("vector_model"), f"{path}.vector_model"),
    )


def history(rows: Sequence[Mapping[str, Any]], index: int) -> ImportItem:
    """Convert the rows of one memory in an export with history, oldest first. Raises InvalidRequest."""
    model = next((row["vector_model"] for row in rows if row.get("vector_model")), "")
    made = ImportItem(vector_model=validation.text(model, f"items[{index}].vector_model"))
    for number, row in enumerate(rows):
        path = f"items[{index}].history[{number}]"
        known_keys(row, REVISION_KEYS, path)
        revision = made.history.revisions.add(memory=_memory(row, path), vector=_vector(row, path))
        try:
            revision.kind = memory_pb2.Kind.Value(f"KIND_{row['event']}")
            revision.cause = memory_pb2.Cause.Value(f"CAUSE_{str(row.get('cause') or 'unspecified').upper()}")
        except ValueError:
            raise invalid(path, "has an unknown event or cause") from None
    return made


def _text(given: Mapping[str, Any], path: str) -> memory_service_pb2.ImportText:
    text = memory_service_pb2.ImportText(
        text=validation.text(given["text"], f"{path}.text"),
        name=validation.optional_text(given.get("name"), f"{path}.name"),
        role=validation.optional_text(given.get("role"), f"{path}.role"),
        scope=_owner(given, path),
    )
    stamp(text.message_time, given.get("timestamp"), times.moment, f"{path}.timestamp")
    _share(text, given, path)
    return text


def _memory(given: Mapping[str, Any], path: str) -> memory_pb2.Memory:
    memory = memory_pb2.Memory(
        id=validation.optional_text(given.get("id"), f"{path}.id"),
        text=validation.optional_text(given.get("memory"), f"{path}.memory"),
        revision=validation.optional_whole(given.get("revision"), f"{path}.revision"),
        sources=_sources(given.get("input") or (), f"{path}.input"),
        speaker=validation.optional_text(given.get("speaker"), f"{path}.speaker"),
        add_id=validation.optional_text(given.get("add_id"), f"{path}.add_id"),
        feedback=_feedback(given.get("feedback"), f"{path}.feedback"),
        feedback_reason=validation.optional_text(given.get("feedback_reason"), f"{path}.feedback_reason"),
    )
    owner = _owner(given, path)
    for name in SCOPE_KEYS:
        setattr(memory, name, getattr(owner, name))
    stamp(memory.create_time, given.get("created_at"), times.moment, f"{path}.created_at")
    stamp(memory.event_time, given.get("event_date"), times.moment, f"{path}.event_date")
    stamp(memory.said_time, given.get("timestamp"), times.moment, f"{path}.timestamp")
    stamp(memory.update_time, given.get("updated_at"), times.moment, f"{path}.updated_at")
    _share(memory, given, path)
    return memory


def _owner(given: Mapping[str, Any], path: str) -> memory_pb2.Scope:
    """The ids of an item. Raises InvalidRequest if one is None or empty."""
    return scope(**{name: given[name] for name in SCOPE_KEYS if name in given}, path=f"{path}.")


def _vector(given: Mapping[str, Any], path: str) -> list[float] | None:
    vector = given.get("vector")
    return None if vector is None else validation.numbers(vector, f"{path}.vector")


def _sources(given: Sequence[Mapping[str, Any]], path: str) -> list[memory_pb2.Message]:
    """Convert the source messages, with their `position` in the conversation if given."""
    if not isinstance(given, Sequence) or isinstance(given, str):
        raise invalid(path, f"must be a list of messages, not {type(given).__name__}")
    made = []
    for number, each in enumerate(given):
        at = f"{path}[{number}]"
        if not isinstance(each, Mapping):
            raise invalid(at, "must be an object with role and content")
        said = message({key: value for key, value in each.items() if key != "position"}, at)
        said.position = validation.whole(each.get("position", 0), f"{at}.position")
        made.append(said)
    return made


def _feedback(given: Any, path: str) -> memory_pb2.Feedback | None:
    if given is None:
        return None
    try:
        found: memory_pb2.Feedback = memory_pb2.Feedback.Value(f"FEEDBACK_{given}")
        return found
    except ValueError:
        raise invalid(path, "must be POSITIVE, NEGATIVE or VERY_NEGATIVE") from None


def _share(target: Any, given: Mapping[str, Any], path: str) -> None:
    if given.get("metadata") is not None:
        structs.fill(target.metadata, given["metadata"], f"{path}.metadata")
    if given.get("categories") is not None:
        target.categories.extend(validation.texts(given["categories"], f"{path}.categories"))
    stamp(target.expire_time, given.get("expiration_date"), times.expiry, f"{path}.expiration_date")
    if given.get("immutable") is not None:
        target.immutable = validation.flag(given["immutable"], f"{path}.immutable")
