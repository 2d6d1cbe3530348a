"""Limits on the size of one transaction, so that other writers do not wait too long for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from recalld_server.domain.errors import LimitExceeded
from recalld_server.domain.limits import CATEGORIES, ID_BYTES, METADATA_BYTES, TEXT_BYTES, WRITE_BYTES, WRITE_VALUES
from recalld_server.domain.memory import Memory
from recalld_server.domain.steps import Steps

_LARGEST = TEXT_BYTES + METADATA_BYTES + CATEGORIES * ID_BYTES  # bytes of one memory
_MOST_VALUES = METADATA_BYTES // 2 + CATEGORIES  # of one memory: a value takes at least a digit and a comma


def check_written(memories: Sequence[Memory], field: str, remedy: str) -> Steps[None]:
    """Raise LimitExceeded for `field` if the memories are too large for one transaction.

    `remedy` is the last part of the error text and tells the caller what to do.
    """
    if len(memories) * max(_LARGEST / WRITE_BYTES, _MOST_VALUES / WRITE_VALUES) <= 1:
        return
    sizes: dict[int, int] = {}  # by id() of the metadata, because many memories share one object
    values = size = 0
    for memory in memories:
        yield
        values += values_of(memory)
        key = id(memory.metadata)
        sizes[key] = sizes.get(key) or metadata_size(memory.metadata)
        size += sizes[key] + len(memory.text.encode()) + sum(len(name.encode()) for name in memory.categories)
    for what, actual, most in (
        ("bytes", size, WRITE_BYTES),
        ("values of metadata and categories", values, WRITE_VALUES),
    ):
        if actual > most:
            text = f"must write at most {most} {what} in all {len(memories)} memories, not {actual}; {remedy}"
            raise LimitExceeded.at(field, text, limit=most, actual=actual)


def values_of(memory: Memory) -> int:
    """Count the filterable values of a memory: its categories, and its metadata values, where each list item counts."""
    return len(memory.categories) + sum(len(v) if isinstance(v, list | tuple) else 1 for v in memory.metadata.values())


def metadata_size(metadata: Mapping[str, Any]) -> int:
    """Return the size of metadata as compact JSON, in bytes of UTF-8."""
    return len(json.dumps(metadata, ensure_ascii=False, separators=(",", ":")).encode())
