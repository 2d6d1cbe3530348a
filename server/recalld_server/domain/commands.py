"""Commands: the payloads of operations, and their encoding in the queue.

A command is stored as JSON and not as a protobuf message, so queued work survives changes of the API.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from recalld_server.domain.filters import AllOf, AnyOf, Comparison, Filter, Instant, NoneOf, Operator, Scalar
from recalld_server.domain.memory import Message, Scope
from recalld_server.domain.revision import RequestKey


class Format(str, Enum):
    """The file format of an export."""

    JSONL = "JSONL"
    PARQUET = "PARQUET"


@dataclass(frozen=True, slots=True)
class AddCommand:
    """An add. `timestamp` is the time of messages without a time, in µs."""

    scope: Scope
    messages: Sequence[Message]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    infer: bool = True
    includes: str = ""
    excludes: str = ""
    custom_categories: tuple[tuple[str, str], ...] = ()
    custom_instructions: str = ""
    categories: tuple[str, ...] = ()
    expire_time: int | None = None
    timestamp: int | None = None
    immutable: bool = False
    dry_run: bool = False
    add_id: str = ""  # a new id if empty
    request: RequestKey | None = None  # of the call; a queued add uses the request of its operation


@dataclass(frozen=True, slots=True)
class ExportCommand:
    """An export. `scope` is already narrowed by the pin."""

    scope: Scope
    filter: Filter | None
    format: Format
    with_history: bool = False
    with_vectors: bool = False


@dataclass(frozen=True, slots=True)
class ReindexCommand:
    """A reindex: a re-embedding with `model` if it is set, otherwise a rebuild."""

    model: str = ""


Command = AddCommand | ExportCommand | ReindexCommand


# The fields of an add that are stored unchanged in JSON.
_PLAIN = (
    "metadata",
    "infer",
    "includes",
    "excludes",
    "custom_categories",
    "custom_instructions",
    "categories",
    "expire_time",
    "timestamp",
    "immutable",
    "dry_run",
)


def encoded(command: Command) -> bytes:
    """Encode a command as JSON in UTF-8, without fields that have their default value."""
    if isinstance(command, AddCommand):
        document = _add(command)
    elif isinstance(command, ExportCommand):
        document = _export(command)
    else:
        document = {"model": command.model} if command.model else {}
    return json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def add_command(data: bytes) -> AddCommand:
    """Decode an add. Its request and add id are not part of the encoding; they come from the operation."""
    kept = json.loads(data)
    messages = [Message(role, content, name, time) for role, content, name, time in kept.pop("messages")]
    categories = tuple(kept.pop("categories", ()))
    custom = tuple((name, description) for name, description in kept.pop("custom_categories", ()))
    scope = Scope(**kept.pop("scope", {}))
    return AddCommand(scope, messages, categories=categories, custom_categories=custom, **kept)


def export_command(data: bytes) -> ExportCommand:
    """Decode an export."""
    kept = json.loads(data)
    condition = kept.pop("filter", None)
    return ExportCommand(
        scope=Scope(**kept.pop("scope", {})),
        filter=None if condition is None else filter_read(condition),
        format=Format(kept.pop("format")),
        **kept,
    )


def reindex_command(data: bytes) -> ReindexCommand:
    """Decode a rebuild or a re-embedding."""
    return ReindexCommand(**json.loads(data))


def _add(command: AddCommand) -> dict[str, Any]:
    bare = AddCommand(Scope(), ())
    given = {name: getattr(command, name) for name in _PLAIN if getattr(command, name) != getattr(bare, name)}
    messages = [[message.role, message.content, message.name, message.time] for message in command.messages]
    return {"scope": dict(command.scope.items()), "messages": messages, **given}


def _export(command: ExportCommand) -> dict[str, Any]:
    document: dict[str, Any] = {"scope": dict(command.scope.items()), "format": command.format.value}
    if command.filter is not None:
        document["filter"] = filter_written(command.filter)
    for name in ("with_history", "with_vectors"):
        if getattr(command, name):
            document[name] = True
    return document


def filter_written(condition: Filter) -> dict[str, Any]:
    """Convert a filter to JSON values: {"all": […]}, {"any": […]}, {"not": …} or {"field", "operator", "value"}."""
    if isinstance(condition, AllOf):
        return {"all": [filter_written(inner) for inner in condition.filters]}
    if isinstance(condition, AnyOf):
        return {"any": [filter_written(inner) for inner in condition.filters]}
    if isinstance(condition, NoneOf):
        return {"not": filter_written(condition.filter)}
    value = condition.value
    written = [_scalar(each) for each in value] if isinstance(value, tuple) else _scalar(value)
    return {"field": condition.field, "operator": condition.operator.value, "value": written}


def filter_read(document: Mapping[str, Any]) -> Filter:
    """Convert the JSON values of `filter_written` to a filter."""
    if "all" in document:
        return AllOf(tuple(map(filter_read, document["all"])))
    if "any" in document:
        return AnyOf(tuple(map(filter_read, document["any"])))
    if "not" in document:
        return NoneOf(filter_read(document["not"]))
    value = document["value"]
    read = tuple(map(_scalar_read, value)) if isinstance(value, list) else _scalar_read(value)
    return Comparison(document["field"], Operator(document["operator"]), read)


def _scalar(value: Scalar) -> Any:
    return {"micros": value.micros} if isinstance(value, Instant) else value


def _scalar_read(value: Any) -> Scalar:
    return Instant(value["micros"]) if isinstance(value, dict) else value
