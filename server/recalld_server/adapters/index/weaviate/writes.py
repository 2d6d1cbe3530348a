"""Writes to a tenant in requests of bounded size, and the check for objects left after a deletion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias
from uuid import UUID

import numpy as np
from weaviate.classes.config import ConsistencyLevel
from weaviate.classes.data import DataObject
from weaviate.classes.query import Filter as Where
from weaviate.collections import CollectionAsync

from recalld_server.adapters.index.weaviate.client import refuse
from recalld_server.adapters.index.weaviate.objects import key
from recalld_server.domain.errors import EntryInvalid, IndexUnavailable
from recalld_server.domain.revision import Generation, IndexEntry

PAGE = 1000  # objects per read request
PUTS = 100  # objects per put request
PUT_BYTES = 4 * 2**20  # approximate size of a put request; Weaviate refuses 100 MB
DELETES = 1000  # objects per delete request; Weaviate deletes at most 10,000

Tenant: TypeAlias = CollectionAsync[Any, Any]


def check(entry: IndexEntry, generation: Generation) -> None:
    """Raise EntryInvalid for a vector that Weaviate would accept but never find."""
    vector = entry.features.vector
    if vector.shape != (generation.dimension,):
        raise EntryInvalid.dimension(entry.memory.id, vector.shape, generation.dimension)
    if not np.isfinite(vector).all():
        text = "The vector of a memory has a value that is not finite."
        raise EntryInvalid(text, memory_id=entry.memory.id)


def batches(objects: Sequence[DataObject[Any, Any]]) -> list[list[DataObject[Any, Any]]]:
    """Split objects into requests of at most PUTS objects and about PUT_BYTES."""
    batches: list[list[DataObject[Any, Any]]] = []
    room = 0
    for one in objects:
        size = sum(len(value) for value in one.properties.values() if isinstance(value, str)) + 4096
        if not batches or size > room or len(batches[-1]) == PUTS:
            batches.append([])
            room = PUT_BYTES
        batches[-1].append(one)
        room -= size
    return batches


async def put(tenant: Tenant, objects: Sequence[DataObject[Any, Any]]) -> None:
    """Write objects with consistency level QUORUM.

    Raises IndexUnavailable if an object was refused, and Absent without a collection or tenant. The driver reports a
    refused object only in the result.
    """
    done = await tenant.with_consistency_level(ConsistencyLevel.QUORUM).data.insert_many(objects)
    if done.errors:
        refuse(error.message for error in done.errors.values())


async def delete(tenant: Tenant, ids: Sequence[UUID]) -> None:
    """Delete objects with consistency level QUORUM. Raises IndexUnavailable if an object could not be deleted."""
    written = tenant.with_consistency_level(ConsistencyLevel.QUORUM)
    done = await written.data.delete_many(where=Where.by_id().contains_any(ids))
    if done.failed:
        raise IndexUnavailable


async def remaining(tenant: Tenant, ids: Sequence[str]) -> int:
    """The number of these memories that still have an object."""
    left = 0
    for at in range(0, len(ids), PAGE):
        where = Where.by_id().contains_any([key(memory_id) for memory_id in ids[at : at + PAGE]])
        found = await tenant.query.fetch_objects(filters=where, limit=PAGE, return_properties=[])
        left += len(found.objects)
    return left
