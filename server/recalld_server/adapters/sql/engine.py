"""SQL engines with two methods, `read` and `write`. Each runs one function in one transaction, off the event loop.

SQLite: a single writer thread owns the only write connection (see `sqlite_writer`). Readers use their own connections
and see a snapshot (WAL mode).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol, TypeVar

import sqlean
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import QueuePool, StaticPool

from recalld_server.adapters.sql import page_gaps
from recalld_server.adapters.sql.database_file import DatabaseFile
from recalld_server.adapters.sql.faults import StatementRefused, refused_by_sqlite
from recalld_server.adapters.sql.readers import Read, ReadCancelled, Readers
from recalld_server.adapters.sql.sqlite_writer import SqliteWriter
from recalld_server.adapters.sql.store_health import StoreFault
from recalld_server.domain.errors import RecalldError

log = logging.getLogger(__name__)
T = TypeVar("T")
Work = Callable[[Connection], T]

WAITING = 4096  # changes that may queue, some seconds of work; further writes are refused at once
READERS = 8  # threads; a single project gets at most four of them
ATTEMPTS, AGAIN = 100, 0.05  # of a switch to the write-ahead log, and the seconds between two: 5 s in all
CACHE_KIB = 16 * 1024  # page cache of each connection


class SqlEngine(Protocol):
    """Runs transactions. Driver errors become the error type given to the constructor; the log has the details."""

    async def read(self, work: Work[T], line: str = "") -> T:
        """Run `work` on a snapshot; it must not write. `line` is the project it belongs to, if any.

        If the caller is cancelled, the work is stopped. Raises ReadTooCostly if it runs longer than 30 s.
        """
        ...

    async def write(self, work: Work[T], line: str = "") -> T:
        """Run `work` in a transaction that is durable on return. An exception in `work` rolls it back.

        `line` is the project whose row `work` locks first, if any. Changes of one line may share a transaction, and
        lines take turns.
        """
        ...

    @property
    def queued(self) -> int:
        """Number of changes that wait for the writer."""
        ...

    @property
    def version(self) -> int | None:
        """A number that changes with every commit: two equal values mean no commit happened in between.

        None if that is unknown. Never blocks.
        """
        ...

    async def migrate(self, work: Work[None]) -> None:
        """Like `write`, for work that changes the schema. Excludes all other processes and has no time limit."""
        ...

    async def ping(self, probe: Work[Any]) -> None:
        """Raise the engine's error if it is known that the engine cannot accept changes.

        `probe` writes a value that is already there. It runs after a write that failed for a reason that may have
        passed.
        """
        ...

    async def sound(self) -> bool | None:
        """Whether the files of the engine are intact; None if another program owns them."""
        ...

    @property
    def clears(self) -> bool:
        """Whether `compact` can reach the engine's files."""
        ...

    async def compact(self) -> bool | None:
        """Overwrite the remains of deleted rows in the engine's files. Reads and writes continue meanwhile.

        The duration grows with the size of the files. Returns False if it is not possible now and None if the files are
        out of reach.
        """
        ...

    async def close(self) -> None:
        """Wait for running work and close all connections."""
        ...


class SqliteEngine:
    """A SQLite database file; see SqlEngine.

    With `durable` False a power failure may lose the most recent transactions, but never one before another; a crash of
    the process loses none.
    """

    def __init__(self, path: Path, *, unavailable: type[RecalldError], durable: bool = True) -> None:
        self.path = path
        self._unavailable = unavailable
        synchronous = "FULL" if durable else "NORMAL"
        self.writer_engine = _sqlite(path, synchronous, "BEGIN IMMEDIATE", poolclass=StaticPool)
        self.reader_engine = _sqlite(
            path,
            synchronous,
            "BEGIN",
            poolclass=QueuePool,
            pool_size=READERS,
            max_overflow=0,
            paramstyle="named",  # binds a repeated parameter once; the writer binds rows, faster by position
        )
        self._readers = Readers(READERS, path.stem)
        self.file = DatabaseFile(path, unavailable)

        def connects(*_: object) -> None:
            self.file.require_there()  # without this a new connection would open or create another file

        event.listen(self.reader_engine, "do_connect", connects)
        self._writer = SqliteWriter(self.writer_engine, path.stem, self._translated, self._committed)
        self._closed = False
        # PRAGMA data_version only counts commits of other connections, so it needs a connection that never writes.
        self._onlooker: sqlean.Connection | None = None

    async def read(self, work: Work[T], line: str = "", *, limited: bool = True) -> T:
        if self._closed:
            raise self._unavailable()
        return await self._readers.run(partial(self._read, work), line, limited=limited)

    async def write(self, work: Work[T], line: str = "") -> T:
        if self._closed:
            raise self._unavailable()  # the writer thread has ended, so the future would never complete
        self.file.health.require(StoreFault.DAMAGED)
        if self.queued >= WAITING:
            raise self._unavailable("Too many changes are waiting to be written; try again shortly.")
        return await asyncio.wrap_future(self._writer.put(work, line))

    @property
    def queued(self) -> int:
        return self._writer.queued

    @property
    def version(self) -> int | None:
        if self._closed or self.file.health.has(StoreFault.GONE):
            return None
        try:
            if self._onlooker is None:
                self._onlooker = sqlean.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            return int(self._onlooker.execute("PRAGMA data_version").fetchone()[0])
        except sqlean.Error:
            return None  # the next read reports the error

    async def migrate(self, work: Work[None]) -> None:
        await self.write(work)  # BEGIN IMMEDIATE keeps every other writer out

    async def ping(self, probe: Work[Any]) -> None:
        if self._closed:
            raise self._unavailable()
        health = self.file.health
        self.file.require_there()
        if health.has(StoreFault.DAMAGED):
            raise health.error(StoreFault.DAMAGED)
        if self.file.unchecked:
            raise self._unavailable("This store is being checked because the last server did not shut down cleanly.")
        if health.has(StoreFault.UNWRITABLE):
            if not await asyncio.to_thread(self.file.has_room):
                raise health.error(StoreFault.UNWRITABLE)
            await self.write(probe)
            health.over(StoreFault.UNWRITABLE)

    async def sound(self) -> bool | None:
        check = "PRAGMA quick_check(1)"  # reads the whole file, hence no time limit
        try:
            return await self.read(lambda c: c.exec_driver_sql(check).scalar() == "ok", limited=False)
        except self._unavailable:
            if self.file.health.has(StoreFault.DAMAGED):
                return False
            raise

    @property
    def clears(self) -> bool:
        return True

    async def compact(self) -> bool | None:
        if self._closed:
            raise self._unavailable()
        self.file.require_there()  # otherwise `page_gaps` would work on another file
        return await page_gaps.clear(self.path, self)

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._readers.close)
        if self._onlooker is not None:
            self._onlooker.close()
        self.reader_engine.dispose()
        self.writer_engine.dispose()

    def _read(self, work: Work[T], read: Read[T]) -> T:
        self.file.require_there_lately()
        try:
            with self.reader_engine.connect() as connection, connection.begin():
                interrupt = connection.connection.driver_connection.interrupt  # type: ignore[union-attr]
                with read.using(interrupt):
                    return work(connection)
        except DBAPIError as error:
            if read.stopped:
                raise ReadCancelled from None
            raise self._translated(error) from None

    def _committed(self) -> None:
        self.file.opened()
        self.file.require_there()

    def _translated(self, error: BaseException) -> BaseException:
        if not isinstance(error, DBAPIError) or isinstance(error, IntegrityError):
            return error
        if error.orig and (trouble := self.file.translated(error.orig)):
            return trouble
        log.error(
            "sql failed", extra={"store": self.path.stem, "error": type(error.orig).__name__}, exc_info=error.orig
        )
        return StatementRefused() if refused_by_sqlite(error) else self._unavailable()


def _sqlite(path: Path, synchronous: str, begin: str, **pool: Any) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}",
        module=sqlean.dbapi2,
        connect_args={"isolation_level": None, "check_same_thread": False, "timeout": 30.0},
        hide_parameters=True,
        **pool,
    )

    @event.listens_for(engine, "connect")
    def configure(connection: sqlite3.Connection, _: object) -> None:
        _use_wal(connection)
        for pragma in (
            f"synchronous={synchronous}",
            "secure_delete=ON",
            "foreign_keys=ON",
            f"cache_size=-{CACHE_KIB}",
            "temp_store=MEMORY",
        ):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch the file to a write-ahead log, as others may be doing: this alone does not wait for SQLite's timeout."""
    for left in reversed(range(ATTEMPTS)):
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlean.dbapi2.OperationalError as error:
            if "locked" not in str(error) or not left:
                raise
            time.sleep(AGAIN)
