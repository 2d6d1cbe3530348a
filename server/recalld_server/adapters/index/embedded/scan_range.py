"""The rows that a search of the embedded index covers: those of a space inside a scope."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from recalld_server.adapters.index.embedded.blocks import Block, Key
from recalld_server.domain.memory import SCOPE_FIELDS, Scope
from recalld_server.domain.vectors import BoolArray, Int64Array

NARROWEST = ("run_id", "user_id", "agent_id", "app_id")  # in the order of preference: typically fewest memories first


@dataclass(frozen=True, slots=True)
class ScanRange:
    """The rows of a scope that have not expired at `now`, µs.

    `admitted` limits them to the rows that match the filter: their row numbers, ascending; None without a filter.
    """

    space: int
    scope: Scope
    now: int
    admitted: Int64Array | None = None

    @property
    def key(self) -> Key:
        """The space, field and value of the narrowest scope id; empty strings if the scope has no id."""
        ids = ((name, value) for name in NARROWEST if (value := getattr(self.scope, name)))
        return (self.space, *next(ids, ("", "")))

    def meant(self, block: Block) -> BoolArray:
        """A mask (n,) of the block's n rows that belong to this range."""
        fits = block.until > self.now
        for column, name in enumerate(SCOPE_FIELDS):
            if value := getattr(self.scope, name):
                fits &= block.owners[:, column] == hash(value)
        if self.admitted is not None:
            first, end = np.searchsorted(self.admitted, (block.rows[0], block.rows[-1] + 1))
            fits &= np.isin(block.rows, self.admitted[first:end], assume_unique=True)
        return fits


def keyed(key: Key) -> tuple[str, tuple[str | int, ...]]:
    """The SQL condition that a row belongs to a key, and its arguments."""
    space, field, value = key
    if not field:
        return "space = ?", (space,)
    # SQLite uses the partial index only if the statement repeats its condition.
    return f"space = ? AND {field} = ? AND {field} <> ''", (space, value)
