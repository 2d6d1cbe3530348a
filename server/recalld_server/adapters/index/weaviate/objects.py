"""Entries as Weaviate's objects.

property                   holds
user_id … run_id           the id as "=id=": the engine trims white space, and would take " a" for "a"
tags                       a digest for each thing a filter may ask (`filters.py`)
create_time, update_time   moments, held within the years the engine's index can order (`moment`)
expire_time, said_time,     the same, of what has one: all others have none, nor its tag
event_time
terms                      opaque tokens (`tokens.py`)
memory                     what filters are about, as JSON: for the ones the engine can't decide
revision, name             of the memory; `name` is its id where that is not the object's
mark                       on one object of each tenant, which has nothing else and no vector
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
# The engine orders moments by nanoseconds in 64 bits: the years 1677 to 2262.
FIRST = (datetime(1678, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND
LAST = (datetime(2262, 1, 1, tzinfo=UTC) - EPOCH) // MICROSECOND

NAMES = uuid5(NAMESPACE_URL, "recalld:memory")
MARK = uuid5(NAMESPACE_URL, "recalld:mark")


def key(memory_id: str) -> UUID:
    """The object of a memory: its id if that is a UUID in the usual form, else one derived from it.

    Whatever is derived here, the mark's too, is a UUID of version 5. So an id that is one is not taken as it stands: no
    caller can name the object of the mark, or of another memory.
    """
    try:
        found = UUID(memory_id)
    except ValueError:
        return uuid5(NAMES, memory_id)
    return found if str(found) == memory_id and found.version != 5 else uuid5(NAMES, memory_id)


def named(uuid: UUID | str, properties: Any) -> str:
    """The memory of an object whose property `name` was read."""
    return str(properties.get("name") or uuid)


def wrapped(value: str) -> str:
    """A text the engine leaves as it is."""
    return f"={value}="


def moment(micros: int) -> datetime:
    """A time in µs, held within what the engine can order."""
    return EPOCH + timedelta(microseconds=min(max(micros, FIRST), LAST))


def orderly(micros: int) -> bool:
    """Whether comparing held moments with this time gives what comparing the times themselves gives."""
    return FIRST < micros < LAST


def element(value: str | float | bool) -> tuple[str, str]:
    """A value by kind, equal for two values only if filters take them for equal."""
    kind = kind_of(value)
    return kind, repr(float(value) + 0.0) if kind == "number" else str(value)  # + 0.0: there is no minus zero


def tags(memory: Memory) -> list[str]:
    """Digests of what is so: (field) is there, (field, kind) has such an element, (field, kind, value) has this one."""
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
    """The object of an entry, without a vector if that of the entry is zeros: the engine knows no cosine of these.

    A vector has another length each time, which cosine does not see.

    The engine stores an object first and indexes its vector then. Between the two it may be killed, or see that nobody
    waits for the answer any more, and it never indexes a vector that is equal to the one it has stored.
    """
    length = random.uniform(1.0, 2.0)  # noqa: S311 - another one each time is all it takes
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
    """The object that keeps the mark; without a vector and terms no search finds it."""
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
    """What filters see of a memory."""
    text, scope, metadata, categories, *times = json.loads(written)
    named = dict(zip(TIME_FIELDS, times, strict=True))
    return Memory(memory_id, text, Scope(**scope), metadata, tuple(categories), **named)
