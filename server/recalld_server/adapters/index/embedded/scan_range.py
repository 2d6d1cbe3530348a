"""Where a search looks, in the terms of the embedded index: rows of a space inside a scope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recalld_server.adapters.index.embedded.blocks import Block, Key
from recalld_server.domain.memory import SCOPE_FIELDS, Scope
from recalld_server.domain.vectors import BoolArray, Int64Array

NARROWEST = ("run_id", "user_id", "agent_id", "app_id")  # the id with the fewest memories is asked first


@dataclass(frozen=True, slots=True)
class ScanRange:
    """The rows of a scope that are usable at `now`, µs.

    `admitted`: ascending numbers of those a filter leaves, which are then all that is meant; None without a filter.
    """

    space: int
    scope: Scope
    now: int
    admitted: Int64Array | None = None

    @property
    def key(self) -> Key:
        """The space and the id that leaves the least to search, as (field, id); two empty strings without one."""
        ids = ((name, value) for name in NARROWEST if (value := getattr(self.scope, name)))
        return (self.space, *next(ids, ("", "")))

    def meant(self, block: Block) -> BoolArray:
        """Which of the n rows of a block are inside, (n,)."""
        fits = block.until > self.now
        for column, name in enumerate(SCOPE_FIELDS):
            if value := getattr(self.scope, name):
                fits &= block.owners[:, column] == hash(value)
        if self.admitted is not None:
            first, end = np.searchsorted(self.admitted, (block.rows[0], block.rows[-1] + 1))
            fits &= np.isin(block.rows, self.admitted[first:end], assume_unique=True)
        return fits


def keyed(key: Key) -> tuple[str, tuple[str | int, ...]]:
    """The condition that a row belongs to a key, as SQL and its arguments."""
    space, field, value = key
    if not field:
        return "space = ?", (space,)
    # A partial index is used only where its own condition is repeated.
    return f"space = ? AND {field} = ? AND {field} <> ''", (space, value)
