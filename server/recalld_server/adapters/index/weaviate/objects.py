"""Converts index entries to Weaviate objects.

property                   content
user_id … run_id           the id as "=id=": Weaviate trims white space and would treat " a" as "a"
tags                       a digest for each fact that a filter may test (`filters.py`)
create_time, update_time   times, clamped to the range that Weaviate's index can order (`moment`)
expire_time, said_time,    the same; an entry without such a time has neither the property nor its tag
event_time
terms                      opaque tokens (`tokens.py`)
memory                     the filterable fields as JSON, for filters that Weaviate cannot decide
revision, name             the memory's revision; its id, if that differs from the object's id
mark                       only on one object per tenant, which has no other property and no vector
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from weaviate.classes.data import DataObject

from recalld_server.adapters.index.weaviate.tokens import document
from recalld_server.domain.filters import METADATA, OPTIONAL_TIMES, TIME_FIELDS, kind_of, scalars
from recalld_server.domain.memory import Memory, Scope, digest
from recalld_server.domain.revision import IndexEntry

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
# Weaviate orders times as nanoseconds in 64 bits: the years 1677 to 2262.
FIRST = (datetime(1678, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND
LAST = (datetime(2262, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND

NAMES = uuid5(NAMESPACE_URL, "recalld:memory")
MARK = uuid5(NAMESPACE_URL, "recalld:mark")


def key(memory_id: str) -> UUID:
    """The object id of a memory: the memory id if it is a canonical UUID, else a UUID derived from it.

    All derived ids, including that of the mark, are UUIDs of version 5. A memory id of version 5 is never used as it
    is, so no caller can choose the object of the mark or of another memory.
    """
    try:
        found = UUID(memory_id)
    except ValueError:
        return uuid5(NAMES, memory_id)
    return found if str(found) == memory_id and found.version != 5 else uuid5(NAMES, memory_id)


def named(uuid: UUID | str, properties: Any) -> str:
    """The memory id of an object whose property `name` was read."""
    return str(properties.get("name") or uuid)


def wrapped(value: str) -> str:
    """A text in a form that Weaviate does not trim."""
    return f"={value}="


def moment(micros: int) -> datetime:
    """A time in µs as a datetime, clamped to the range that Weaviate can order."""
    return EPOCH + timedelta(microseconds=min(max(micros, FIRST), LAST))


def orderly(micros: int) -> bool:
    """Whether comparisons of clamped times with this time (µs) give the same results as with the exact times."""
    return FIRST < micros < LAST


def element(value: str | float | bool) -> tuple[str, str]:
    """The kind and the text form of a value. Two values have the same form only if filters treat them as equal."""
    kind = kind_of(value)
    return kind, repr(float(value) + 0.0) if kind == "number" else str(value)  # + 0.0 turns -0.0 into 0.0


def tags(memory: Memory) -> list[str]:
    """The digests of a memory's facts.

    (field): the field is set. (field, kind): it has an element of the kind. (field, kind, value): it has this element.
    """
    found = {digest("text", *element(memory.text)): None}
    found |= {digest(name): None for name in OPTIONAL_TIMES if getattr(memory, name) is not None}
    found |= {digest(name): None for name, _ in memory.scope.items()}
    fields: Iterable[tuple[str, Any]] = [(METADATA + name, value) for name, value in memory.metadata.items()]
    for field, value in [*fields, *([("categories", list(memory.categories))] if memory.categories else [])]:
        if value is None:
            continue
        found[digest(field)] = None
        for one in scalars(value):
            kind, form = element(one)
            found[digest(field, kind)] = None
            found[digest(field, kind, form)] = None
    return list(found)


def data_object(entry: IndexEntry) -> DataObject[Any, Any]:
    """The object of an entry. A vector of zeros is left out, because it has no cosine.

    Each call scales the vector by a new random length, which does not change cosines. Weaviate first stores an object
    and then indexes its vector; a kill or a cancelled request in between leaves the vector out of the index. It never
    indexes a vector that equals the stored one, so without the new length a repeated put would not repair the loss.
    """
    length = random.uniform(1.0, 2.0)  # noqa: S311 - it only has to differ each time
    memory = entry.memory
    uuid = key(memory.id)
    properties: dict[str, Any] = {
        **{name: wrapped(value) for name, value in memory.scope.items()},
        "tags": tags(memory),
        "create_time": moment(memory.create_time or 0),
        "update_time": moment(memory.update_time or 0),
        "terms": document(memory.scope, entry.features.terms),
        "memory": _written(memory),
        "revision": memory.revision,
    }
    for name in OPTIONAL_TIMES:
        if (time := getattr(memory, name)) is not None:
            properties[name] = moment(time)
    if str(uuid) != memory.id:
        properties["name"] = memory.id
    vector = (length * entry.features.vector).tolist() if entry.features.meant else None
    return DataObject(properties=properties, uuid=uuid, vector=vector)


def mark_object(mark: int) -> DataObject[Any, Any]:
    """The object that stores the mark. It has neither vector nor terms, so no search finds it."""
    return DataObject(properties={"mark": mark}, uuid=MARK)


def _written(memory: Memory) -> str:
    return json.dumps(
        [
            memory.text,
            dict(memory.scope.items()),
            dict(memory.metadata),
            memory.categories,
            *(getattr(memory, name) for name in TIME_FIELDS),
        ]
    )


def read(memory_id: str, written: str) -> Memory:
    """Rebuild a memory, with the fields that filters use, from its property `memory`."""
    text, scope, metadata, categories, *times = json.loads(written)
    named = dict(zip(TIME_FIELDS, times, strict=True))
    return Memory(memory_id, text, Scope(**scope), metadata, tuple(categories), **named)
