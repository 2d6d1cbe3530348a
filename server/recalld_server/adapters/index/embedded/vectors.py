"""The vector leg: exact cosine by matrix products, over blocks in memory and, beyond their bound, over the file."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from sqlalchemy import Connection, CursorResult

from recalld_server.adapters.index.embedded.blocks import BLOCK, NEVER, Block, Blocks, Key
from recalld_server.adapters.index.embedded.extent import Extent, keyed
from recalld_server.domain.memory import SCOPE_FIELDS
from recalld_server.domain.vectors import FloatVector, Int64Array

FEW = 2000  # admissible rows that are read by their numbers, 4 µs each, rather than by loading their scope
COLUMNS = f"row, expire_time, {', '.join(SCOPE_FIELDS)}, memory_id, vector"


class Best:
    """The `depth` best of many rows, with a floor that rises so that few are looked at twice."""

    def __init__(self, depth: int) -> None:
        self._depth = depth
        self._floor = -np.inf
        self._scores: list[FloatVector] = []
        self._ids: list[str] = []

    def offer(self, block: Block, vector: FloatVector, extent: Extent) -> None:
        """Take the rows of a block that are inside and among the best so far."""
        scores = block.vectors @ vector
        above = np.flatnonzero(scores > self._floor)
        above = above[extent.holds(block, above)]
        if len(above) > self._depth:
            above = above[np.argpartition(scores[above], -self._depth)[-self._depth :]]
        if len(above):
            self._scores.append(scores[above])
            self._ids.extend(block.ids[i] for i in above.tolist())
            if len(self._ids) >= 2 * self._depth:
                self._cut()

    def best_first(self) -> list[tuple[str, float]]:
        """(memory id, score) of what was kept."""
        if not self._ids:
            return []
        self._cut()
        scores = self._scores[0]
        return [(self._ids[i], float(scores[i])) for i in np.argsort(-scores, kind="stable").tolist()]

    def _cut(self) -> None:
        scores = np.concatenate(self._scores)
        if len(scores) > self._depth:
            kept = np.argpartition(scores, -self._depth)[-self._depth :]
            scores, self._ids = scores[kept], [self._ids[i] for i in kept.tolist()]
        if len(scores) == self._depth:
            self._floor = float(scores.min())
        self._scores = [scores]


def search(
    connection: Connection, blocks: Blocks, version: int, extent: Extent, vector: FloatVector, depth: int
) -> list[tuple[str, float]]:
    """The best `depth` rows by cosine, as (memory id, cosine), best first.

    `version` is that of the blocks before the transaction began. A memory that is being changed may be there twice.
    """
    key = extent.key
    best = Best(depth)
    held, last = blocks.view(key)
    for block in held:
        best.offer(block, vector, extent)
    for block in _beyond(connection, blocks, version, key, last, extent.admitted):
        best.offer(block, vector, extent)
    return best.best_first()


def _beyond(
    connection: Connection, blocks: Blocks, version: int, key: Key, last: int, admitted: Int64Array | None
) -> Iterator[Block]:
    """The rows after those in memory, which are kept there as far as the bound allows."""
    if admitted is None or len(_after(admitted, last)) > FEW:
        for block in _rows_after(connection, key, last):
            kept = blocks.extend(key, last, block, version)
            yield block
            last = int(block.rows[-1])
            if admitted is not None and not kept:
                break
    if admitted is not None and len(rest := _after(admitted, last)):
        yield from _rows(connection, rest)


def _after(rows: Int64Array, last: int) -> Int64Array:
    return rows[np.searchsorted(rows, last, "right") :]


def _rows_after(connection: Connection, key: Key, last: int) -> Iterator[Block]:
    """The rows of a scope above a row number, in order."""
    condition, arguments = keyed(key)
    sql = f"SELECT {COLUMNS} FROM entries WHERE {condition} AND row > ? ORDER BY row"  # noqa: S608 - our own names
    yield from _blocks(connection.exec_driver_sql(sql, (*arguments, last)))


def _rows(connection: Connection, rows: Int64Array) -> Iterator[Block]:
    """Rows by their numbers."""
    sql = f"SELECT {COLUMNS} FROM entries WHERE row IN (SELECT value FROM json_each(?)) ORDER BY row"  # noqa: S608
    yield from _blocks(connection.exec_driver_sql(sql, (json.dumps(rows.tolist()),)))


def _blocks(found: CursorResult[tuple[object, ...]]) -> Iterator[Block]:
    try:
        while part := found.fetchmany(BLOCK):
            rows, expire, *owners, ids, vectors = zip(*part, strict=True)
            yield Block(
                np.array(rows, np.int64),
                np.array([NEVER if time is None else time for time in expire], np.int64),
                np.array([[hash(value) for value in column] for column in owners], np.int64).T.copy(),
                ids,
                np.frombuffer(b"".join(vectors), "<f2").reshape(len(part), -1).astype(np.float32),
            )
    finally:
        found.close()
