"""Where a search looks, in the terms of the embedded index: rows of a space inside a scope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recalld_server.adapters.index.embedded.blocks import Block, Key
from recalld_server.domain.memory import SCOPE_FIELDS, Scope
from recalld_server.domain.vectors import BoolArray, Int64Array

NARROWEST = ("run_id", "user_id", "agent_id", "app_id")  # the id with the fewest memories is asked first


@dataclass(frozen=True, slots=True)
class Extent:
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

    def holds(self, block: Block, at: Int64Array) -> BoolArray:
        """Which of the rows at these places of a block are meant."""
        fits = block.until[at] > self.now
        for column, name in enumerate(SCOPE_FIELDS):
            if value := getattr(self.scope, name):
                fits &= block.owners[at, column] == hash(value)
        if self.admitted is not None:
            first, end = np.searchsorted(self.admitted, (block.rows[0], block.rows[-1] + 1))
            fits &= np.isin(block.rows[at], self.admitted[first:end], assume_unique=True)
        return fits

    def usable(self) -> tuple[str, tuple[str | int, ...]]:
        """The condition on a row of the key that it is meant, as SQL and its arguments."""
        if self.admitted is not None:
            return "TRUE", ()
        ids = self.scope.items()
        tests = [f"{name} = ?" for name, _ in ids]
        return " AND ".join(["(expire_time IS NULL OR expire_time > ?)", *tests]), (self.now, *(v for _, v in ids))


def keyed(key: Key) -> tuple[str, tuple[str | int, ...]]:
    """The condition that a row belongs to a key, as SQL and its arguments."""
    space, field, value = key
    if not field:
        return "space = ?", (space,)
    # A partial index is used only where its own condition is repeated.
    return f"space = ? AND {field} = ? AND {field} <> ''", (space, value)
