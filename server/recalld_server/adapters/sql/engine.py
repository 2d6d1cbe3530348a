"""SQL engines behind two verbs: `read` and `write`. Each runs one function in one transaction, off the event loop.

SQLite: one writer thread owns the only write connection (`sqlite_writer`); readers have connections of their own and
see a snapshot (WAL).
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
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

WAITING = 4096  # changes that may wait: seconds of work; beyond, callers learn at once that it is too much
READERS = 8  # threads, of which one project gets four
CACHE_KIB = 16 * 1024  # page cache of each connection


class SqlEngine(Protocol):
    """Where statements run. Errors of the driver become the error type given at start, with the detail in the log."""

    async def read(self, work: Work[T], line: str = "") -> T:
        """Run `work` on a snapshot. It must not write. `line` is the project it is for, if it is for one.

        When the caller is cancelled the work is stopped. Raises ReadTooCostly when it takes longer than 30 s.
        """
        ...

    async def write(self, work: Work[T], line: str = "") -> T:
        """Run `work` in a transaction that is durable on return; whatever it raises undoes it.

        `line` is the project whose row it will lock first, if any: those of one line may share a transaction, and lines
        take turns.
        """
        ...

    @property
    def queued(self) -> int:
        """Changes that wait for the writer."""
        ...

    @property
    def version(self) -> int | None:
        """Equal numbers: nobody has committed anything in between. None: who knows. Asked in place, without waiting."""
        ...

    async def migrate(self, work: Work[None]) -> None:
        """As `write`, for work that may change the schema: no other process is at it, and it may take its time."""
        ...

    async def ping(self, probe: Work[Any]) -> None:
        """Raises the engine's error where it can't take changes as far as it knows.

        `probe` writes what is there already. It is run when a write failed for a reason that may be gone.
        """
        ...

    async def sound(self) -> bool | None:
        """Whether the engine finds its files intact; None where they are not its own to check."""
        ...

    @property
    def clears(self) -> bool:
        """Whether `compact` can reach the engine's files."""
        ...

    async def compact(self) -> bool | None:
        """Clear what deleted rows left in the engine's files, while others go on reading and writing.

        It takes as long as the files are large. False if it can't be done now; None where the files are out of reach.
        """
        ...

    async def close(self) -> None:
        """Finish what runs and close every connection."""
        ...


class SqliteEngine:
    """A SQLite file (or `:memory:`-like folder-less tests through a temporary path).

    `durable` False lets the last transactions be lost on a power failure (never on a crash of the process), in order.
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
            paramstyle="named",  # one that is named a dozen times is bound once; rows to write bind faster by place
        )
        self._readers = Readers(READERS, path.stem)
        self.file = DatabaseFile(path, unavailable)

        def connects(*_: object) -> None:
            self.file.require_there()  # or a new connection would open, or make, another file

        event.listen(self.reader_engine, "do_connect", connects)
        self._writer = SqliteWriter(self.writer_engine, path.stem, self._translated, self._committed)
        self._closed = False
        self._onlooker: sqlean.Connection | None = None  # it never writes, so it sees every commit as another's

    async def read(self, work: Work[T], line: str = "", *, limited: bool = True) -> T:
        if self._closed:
            raise self._unavailable()
        return await self._readers.run(partial(self._read, work), line, limited=limited)

    async def write(self, work: Work[T], line: str = "") -> T:
        if self._closed:
            raise self._unavailable()  # nobody would ever answer
        self.file.health.require(StoreFault.DAMAGED)
        if self.queued >= WAITING:
            raise self._unavailable("Too many changes wait to be written; try again shortly.")
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
            return None  # whoever reads next is told what is wrong

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
            raise self._unavailable("This store is being checked, as its last server ended uncleanly.")
        if health.has(StoreFault.UNWRITABLE):
            if not await asyncio.to_thread(self.file.has_room):
                raise health.error(StoreFault.UNWRITABLE)
            await self.write(probe)
            health.over(StoreFault.UNWRITABLE)

    async def sound(self) -> bool | None:
        check = "PRAGMA quick_check(1)"  # takes as long as the file is large
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
        self.file.require_there()  # or clearing would make a file there
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
        for pragma in (
            "journal_mode=WAL",
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
