"""Reads the rows of a scope as blocks: first the cached blocks, then the rest from the file (cached if it fits)."""

from __future__ import annotations

import json
from collections.abc import Iterator

import numpy as np
from sqlalchemy import Connection, CursorResult

from recalld_server.adapters.index.embedded.blocks import BLOCK, NEVER, Block, Blocks, Key, columnwise
from recalld_server.adapters.index.embedded.postings import Postings
from recalld_server.adapters.index.embedded.scan_range import ScanRange, keyed
from recalld_server.domain.memory import SCOPE_FIELDS
from recalld_server.domain.vectors import Int64Array

FEW = 2000  # up to this many filtered rows are read by row number, at 4 µs each, instead of loading their whole scope
COLUMNS = f"row, expire_time, {', '.join(SCOPE_FIELDS)}, memory_id, terms, vector"


def scan(connection: Connection, blocks: Blocks, version: int, extent: ScanRange) -> Iterator[Block]:
    """Yield all rows of a range. The blocks may hold other rows too, so apply `extent.meant`.

    `version` is the value of `blocks.version` before the transaction began. A memory that changes during the scan may
    appear twice.
    """
    key = extent.key
    held, last = blocks.view(key)
    yield from held
    yield from _beyond(connection, blocks, version, key, last, extent.admitted)


def _beyond(
    connection: Connection, blocks: Blocks, version: int, key: Key, last: int, admitted: Int64Array | None
) -> Iterator[Block]:
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
    """The rows of a key above the row number `last`, in order."""
    condition, arguments = keyed(key)
    sql = f"SELECT {COLUMNS} FROM entries WHERE {condition} AND row > ? ORDER BY row"  # noqa: S608 - our own names
    yield from _blocks(connection.exec_driver_sql(sql, (*arguments, last)))


def _rows(connection: Connection, rows: Int64Array) -> Iterator[Block]:
    """The rows with these row numbers, in order."""
    sql = f"SELECT {COLUMNS} FROM entries WHERE row IN (SELECT value FROM json_each(?)) ORDER BY row"  # noqa: S608
    yield from _blocks(connection.exec_driver_sql(sql, (json.dumps(rows.tolist()),)))


def _blocks(found: CursorResult[tuple[object, ...]]) -> Iterator[Block]:
    try:
        while part := found.fetchmany(BLOCK):
            rows, expire, *owners, ids, terms, vectors = zip(*part, strict=True)
            yield Block(
                np.array(rows, np.int64),
                np.array([NEVER if time is None else time for time in expire], np.int64),
                np.array([[hash(value) for value in column] for column in owners], np.int64).T.copy(),
                ids,
                Postings.of([np.frombuffer(row, "<u4") for row in terms]),
                columnwise(np.frombuffer(b"".join(vectors), "<f2").reshape(len(part), -1).astype(np.float32)),
            )
    finally:
        found.close()
