"""Clears what deleted rows leave in a SQLite file, while readers and writers go on.

`secure_delete` overwrites deleted rows and freed pages at once. What it leaves are copies in the gap of a page, between
its list of rows and the rows, of rows that moved to another page when the tree was balanced; and the old pages in the
write-ahead log. Here the gaps are overwritten, some pages to a transaction, and the log is emptied. A VACUUM would do
the same, but would keep every writer waiting while it writes the whole file anew.

Pages are read and written through SQLite (`sqlite_dbpage`), so that transactions and the log hold for them as well.
Their form: https://sqlite.org/fileformat2.html, sections 1.3 (header), 1.5 and 1.6 (pages).
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
PAGES = 256  # in one transaction
# A page of a tree begins with one of these. All other pages begin with the number of a page, in four bytes: as long as
# there are fewer pages than this it can't be mistaken.
TREE = {2: 12, 5: 12, 10: 8, 13: 8}  # kind of page: length of its header
MOST = 2 << 24
ROUNDS = 2  # a page may take the number of one behind it that was not looked at yet
SHARE = 0.5  # of the time; the rest is for others
BLOCKED = 0.05  # seconds that writers may be kept waiting for readers of old pages
TRIES = 40  # at emptying the log
AGAIN = 0.25  # seconds between them


class Transactions(Protocol):
    """An engine; see adapters.sql.engine.SqlEngine."""

    async def read(self, work: Callable[[Connection], T]) -> T: ...

    async def write(self, work: Callable[[Connection], T]) -> T: ...


async def clear(path: Path, engine: Transactions) -> bool:
    """Overwrite the gaps of all pages and empty the log. False if that can't be done, or not now."""
    for _ in range(ROUNDS):
        first, count = 1, await engine.read(_count)
        if count is None:
            log.warning("file not cleared: its form or size is not known", extra={"store": path.stem})
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
    """How many pages there are; None for files that this module knows nothing of."""
    header = _page(connection, 1)
    size = int.from_bytes(header[16:18])
    plain = len(header) == (65536 if size == 1 else size) and not any(header[20:21] + header[52:56])
    count: int = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
    return count if plain and count < MOST else None


def _filled(connection: Connection, numbers: Iterable[int]) -> list[int]:
    """Pages with something in their gap."""
    return [number for number in numbers if _cleared(number, _page(connection, number)) is not None]


def _overwrite(connection: Connection, numbers: Iterable[int]) -> None:
    for number in numbers:
        cleared = _cleared(number, _page(connection, number))
        if cleared is not None:
            connection.exec_driver_sql(OVERWRITE, {"data": cleared, "number": number})


def _cleared(number: int, page: bytes) -> bytes | None:
    """The page with nothing in its gap; None if that is how it is, or if it is no page of a tree."""
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
    return page or b""  # the file may have become shorter


def _empty_log(path: Path) -> bool:
    """First what needs no lock, then the rest: writers wait for the rest only."""
    connection = sqlean.connect(f"{path.resolve().as_uri()}?mode=rw", uri=True, timeout=BLOCKED, isolation_level=None)
    try:
        connection.execute("PRAGMA wal_checkpoint(PASSIVE)")
        busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        return not busy
    except sqlean.OperationalError as error:
        log.debug("log not emptied", extra={"store": path.stem, "error": str(error)})
        return False
    finally:
        connection.close()
