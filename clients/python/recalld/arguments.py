"""The parts that requests are made of. What can't be meant raises InvalidRequest, which names the argument."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from recalld import filters as grammar
from recalld import times
from recalld.errors import invalid
from recalld.v1 import memory_pb2
from recalld.v1.filter_pb2 import Filter

MESSAGE_KEYS = ("role", "content", "name", "timestamp")


def conversation(messages: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> list[memory_pb2.Message]:
    """Messages with `role` and `content`, and optionally `name` and `timestamp`. A single one may stand for itself."""
    listed = [messages] if isinstance(messages, Mapping) else list(messages)
    result = []
    for number, each in enumerate(listed):
        path = f"messages[{number}]"
        if not isinstance(each, Mapping):
            raise invalid(path, "must be an object with role and content")
        known_keys(each, MESSAGE_KEYS, path)
        for key in ("role", "content"):
            if not isinstance(each.get(key), str):
                raise invalid(f"{path}.{key}", "must be a string")
        message = memory_pb2.Message(role=each["role"], content=each["content"], name=each.get("name"))
        stamp(message.time, each.get("timestamp"), times.moment, f"{path}.timestamp")
        result.append(message)
    return result


def condition(
    categories: Sequence[str] | str | None,
    metadata: Mapping[str, Any] | None,
    filters: Mapping[str, Any] | None,
    keywords: str | None = None,
) -> Filter | None:
    """All conditions in one filter; None without any."""
    parts = []
    if categories:
        parts.append(grammar.condition("categories", categories))
    if metadata:
        parts.append(grammar.metadata(metadata))
    if keywords is not None:
        parts.append(grammar.condition("keywords", {"icontains": keywords}))
    if filters:
        parts.append(grammar.parse(filters))
    return grammar.all_of(parts) if parts else None


def scope(user_id: str | None, agent_id: str | None, app_id: str | None, run_id: str | None) -> memory_pb2.Scope:
    """The ids that are given."""
    given = {"user_id": user_id, "agent_id": agent_id, "app_id": app_id, "run_id": run_id}
    for name, value in given.items():
        if value is not None and (not isinstance(value, str) or not value):
            raise invalid(name, "must be a string that is not empty, or None")
    return memory_pb2.Scope(**given)


def stamp(target: Any, value: Any, convert: Callable[[Any], datetime], path: str) -> None:
    """Writes a time into a protobuf Timestamp; None leaves it unset."""
    if value is None:
        return
    try:
        target.FromDatetime(convert(value))
    except ValueError as error:
        raise invalid(path, str(error)) from error


def check_version(version: str) -> None:
    """The guide knows two versions of its grammar; here both take everything."""
    if version not in ("v1", "v2"):
        raise invalid("version", "must be v1 or v2")


def known_keys(given: Iterable[str], known: Sequence[str], path: str) -> None:
    """A misspelt key must not be lost."""
    for key in given:
        if key not in known:
            raise invalid(f"{path}.{key}", f"is not known; there are {', '.join(known)}")


def new_request_id() -> str:
    """Makes the retries of one call safe."""
    return uuid.uuid4().hex
