"""Overwrites the remains of deleted rows in a SQLite file while reads and writes continue.

`secure_delete` overwrites deleted rows and freed pages at once, but two kinds of copies remain. When SQLite balances a
tree, rows that move to another page leave copies in the gap of the old page, between its cell pointer array and its
rows. The write-ahead log holds old versions of pages. This module overwrites the gaps, some pages per transaction, and
then truncates the log. VACUUM would have the same effect, but it blocks all writers while it rewrites the whole file.

Pages are read and written through SQLite (`sqlite_dbpage`), so transactions and the log apply to them.
Page format: https://sqlite.org/fileformat2.html, sections 1.3 (header), 1.5 and 1.6 (pages).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import sqlean
from sqlalchemy import Connection

log = logging.getLogger(__name__)
T = TypeVar("T")

READ = "SELECT data FROM sqlite_dbpage WHERE pgno = :number"
OVERWRITE = "UPDATE sqlite_dbpage SET data = :data WHERE pgno = :number"
PAGES = 256  # pages per transaction
TREE = {2: 12, 5: 12, 10: 8, 13: 8}  # first byte of a b-tree page: length of the page's header
# All other pages begin with a page number of four bytes. Below this number of pages its first byte is at most 1, so it
# cannot be mistaken for the type of a b-tree page.
MOST = 2 << 24
ROUNDS = 2  # content of a page that was not visited yet may move to one that was
SHARE = 0.5  # share of the time this work may take; it sleeps for the rest
BLOCKED = 0.05  # seconds for which the truncation of the log may block writers while it waits for readers
TRIES = 40  # attempts to truncate the log
AGAIN = 0.25  # seconds between two attempts


class Transactions(Protocol):
    """The part of adapters.sql.engine.SqlEngine that this module uses."""

    async def read(self, work: Callable[[Connection], T]) -> T: ...

    async def write(self, work: Callable[[Connection], T]) -> T: ...


async def clear(path: Path, engine: Transactions) -> bool:
    """Overwrite the gaps of all pages and truncate the log.

    Returns False if the file has an unknown format, is too large (MOST pages), or readers kept the log in use.
    """
    for _ in range(ROUNDS):
        first, count = 1, await engine.read(_count)
        if count is None:
            log.warning("file not cleared: unsupported page format or too many pages", extra={"store": path.stem})
            return False
        while first <= count:
            begun = time.monotonic()
            numbers = range(first, min(first + PAGES, count + 1))
            if found := await engine.read(partial(_filled, numbers=numbers)):
                await engine.write(partial(_overwrite, numbers=found))
            first += PAGES
            await asyncio.sleep((time.monotonic() - begun) * (1 / SHARE - 1))
    for _ in range(TRIES):
        if await asyncio.to_thread(_empty_log, path):
            return True
        await asyncio.sleep(AGAIN)
    return False


def _count(connection: Connection) -> int | None:
    """The number of pages; None for a file with reserved bytes, auto-vacuum or too many pages."""
    header = _page(connection, 1)
    size = int.from_bytes(header[16:18])
    plain = len(header) == (65536 if size == 1 else size) and not any(header[20:21] + header[52:56])
    count: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    return count if plain and count < MOST else None


def _filled(connection: Connection, numbers: Iterable[int]) -> list[int]:
    """The pages whose gap holds anything but zeros."""
    return [number for number in numbers if _cleared(number, _page(connection, number)) is not None]


def _overwrite(connection: Connection, numbers: Iterable[int]) -> None:
    for number in numbers:
        cleared = _cleared(number, _page(connection, number))
        if cleared is not None:
            connection.exec_driver_sql(OVERWRITE, {"data": cleared, "number": number})


def _cleared(number: int, page: bytes) -> bytes | None:
    """The page with zeros in its gap; None if the gap has only zeros already or the page is not a b-tree page."""
    header = 100 if number == 1 else 0
    length = TREE.get(page[header]) if page else None
    if length is None:
        return None
    rows, begin = int.from_bytes(page[header + 3 : header + 5]), int.from_bytes(page[header + 5 : header + 7]) or 65536
    end = header + length + 2 * rows
    if not end < begin <= len(page) or page.count(0, end, begin) == begin - end:
        return None
    return page[:end] + bytes(begin - end) + page[begin:]


def _page(connection: Connection, number: int) -> bytes:
    page: bytes | None = connection.exec_driver_sql(READ, {"number": number}).scalar()
    return page or b""  # the file may have shrunk meanwhile


def _empty_log(path: Path) -> bool:
    """Checkpoint without a lock first, so that the truncation, which blocks writers, has little left to do."""
    connection = sqlean.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=BLOCKED, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy
    except sqlean.OperationalError as error:
        log.debug("write-ahead log not truncated", extra={"store": path.stem, "error": str(error)})
        return False
    finally:
        connection.close()
