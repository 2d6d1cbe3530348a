"""Parts of requests: conditions, scopes, times and request ids. Invalid arguments raise InvalidRequest, naming them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from recalld import filters as grammar
from recalld import times, validation
from recalld.errors import invalid
from recalld.options import UNSET, Id
from recalld.v1 import memory_pb2
from recalld.v1.filter_pb2 import Filter


def condition(
    categories: Sequence[str] | str | None,
    metadata: Mapping[str, Any] | None,
    filters: Mapping[str, Any] | None,
    keywords: str | None = None,
) -> Filter | None:
    """Combine all conditions in one filter, all of which must hold. Returns None if there are none."""
    parts = []
    if categories is not None:
        if not (named := validation.texts(categories, "categories")):
            raise invalid("categories", "must name at least one category; omit it to match all memories")
        parts.append(grammar.condition("categories", named))
    if metadata:
        parts.append(grammar.metadata(metadata))
    if keywords is not None:
        validation.text(keywords, "keywords", empty=False)
        parts.append(grammar.condition("keywords", {"icontains": keywords}))
    if filters:
        parts.append(grammar.parse(filters))
    return grammar.all_of(parts) if parts else None


def scope(
    user_id: Id = UNSET, agent_id: Id = UNSET, app_id: Id = UNSET, run_id: Id = UNSET, *, path: str = ""
) -> memory_pb2.Scope:
    """A Scope of the ids given. Raises InvalidRequest for None and "", which would widen the request to everyone."""
    named = {"user_id": user_id, "agent_id": agent_id, "app_id": app_id, "run_id": run_id}
    given = {name: value for name, value in named.items() if value is not UNSET}
    for name, value in given.items():
        if value is None or value == "":
            raise invalid(f"{path}{name}", f"must be an id, not {value!r}; omit the argument to leave it unset")
        validation.text(value, f"{path}{name}")
    return memory_pb2.Scope(**given)


def everything() -> Filter:
    """A filter that matches every memory, for RPCs that require a scope or a filter."""
    return grammar.condition("created_at", {"gte": "0001-01-01"})


def set_as_of(target: Any, value: times.Time | int | None) -> None:
    """Set `target` to a sequence number or a time in the past. None leaves it unset."""
    if isinstance(value, int):
        target.sequence = validation.whole(value, "as_of", 0, validation.MAX_INT64)
    elif value is not None:
        stamp(target.time, value, times.moment, "as_of")


def stamp(target: Any, value: Any, convert: Callable[[Any], datetime], path: str) -> None:
    """Set a protobuf Timestamp. None leaves it unset. Raises InvalidRequest if `convert` raises ValueError."""
    if value is None:
        return
    try:
        target.FromDatetime(convert(value))
    except (ValueError, OverflowError) as error:
        raise invalid(path, str(error)) from error


def check_version(version: str) -> None:
    """Accept both versions of the guide's filter grammar, "v1" and "v2"; they are treated alike."""
    validation.choice(version, "version", ("v1", "v2"))


def known_keys(given: Iterable[str], known: Sequence[str], path: str) -> None:
    """Raise InvalidRequest for an unknown key: a misspelt key must not be ignored."""
    for key in given:
        if key not in known:
            raise invalid(f"{path}.{key}", f"is unknown; allowed: {', '.join(known)}")


def new_request_id() -> str:
    """A new request id (idempotency key), which makes retries of a call safe."""
    return uuid.uuid4().hex


def request_id_of(given: str | None) -> str:
    """The caller's request id, or a new one."""
    return validation.text(given, "request_id", empty=False) if given is not None else new_request_id()
