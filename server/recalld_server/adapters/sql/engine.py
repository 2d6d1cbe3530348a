"""SQL engines behind two verbs: `read` and `write`. Each runs one function in one transaction, off the event loop.

SQLite: one writer thread owns the only write connection and takes all changes that wait, up to 64, into one fsync, each
under its own savepoint; readers have connections of their own and see a snapshot (WAL).
"""

from __future__ import annotations

import asyncio
import logging
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Protocol, TypeVar

import sqlean
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.pool import QueuePool, StaticPool

from recalld_server.domain.errors import RecalldError
from recalld_server.domain.forgetting import Leg, LegState

log = logging.getLogger(__name__)
T = TypeVar("T")
Work = Callable[[Connection], T]

GROUP = 64  # changes in one fsync: beyond this the wait of the first outweighs the gain
WAITING = 4096  # changes that may wait: seconds of work; beyond, callers learn at once that it is too much
READERS = 4
REWRITE_WAIT = 5.0  # seconds for the writer, and then for readers, to end
LATER = "It could not be rewritten now, being read or the disk full; the next ForgetMemories of anything does it."
CACHE_KIB = 16 * 1024  # page cache of each connection


class SqlEngine(Protocol):
    """Where statements run. Errors of the driver become the error type given at start, with the detail in the log."""

    async def read(self, work: Work[T]) -> T:
        """Run `work` on a snapshot. It must not write."""
        ...

    async def write(self, work: Work[T], line: str = "") -> T:
        """Run `work` in a transaction that is durable on return; whatever it raises undoes it.

        `line` names what it will lock first, if anything: those of one line may share a transaction.
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

    async def sound(self) -> bool | None:
        """Whether the engine finds its files intact; None where they are not its own to check."""
        ...

    async def scrub(self) -> Sequence[Leg]:
        """Clear what deleted rows left in the engine's files, as far as can be, and say of each place how it is."""
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
        self._queue: queue.SimpleQueue[tuple[Work[Any], Future[Any]] | None] = queue.SimpleQueue()
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix=f"read-{path.stem}")
        self._closed = False
        self._onlooker: sqlean.Connection | None = None  # it never writes, so it sees every commit as another's
        self._thread = threading.Thread(target=self._serve, name=f"write-{path.stem}", daemon=True)
        self._thread.start()

    async def read(self, work: Work[T]) -> T:
        if self._closed:
            raise self._unavailable()
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, work)

    async def write(self, work: Work[T], line: str = "") -> T:
        if self._closed:
            raise self._unavailable()  # nobody would ever answer
        if self._queue.qsize() >= WAITING:
            raise self._unavailable("Too many changes wait to be written; try again shortly.")
        future: Future[T] = Future()
        self._queue.put((work, future))
        return await asyncio.wrap_future(future)

    @property
    def queued(self) -> int:
        return self._queue.qsize()

    @property
    def version(self) -> int | None:
        if self._closed:
            return None
        try:
            if self._onlooker is None:
                self._onlooker = sqlean.connect(self.path, timeout=0, isolation_level=None, check_same_thread=False)
            return int(self._onlooker.execute("PRAGMA data_version").fetchone()[0])
        except sqlean.Error:
            return None  # whoever reads next is told what is wrong

    async def migrate(self, work: Work[None]) -> None:
        await self.write(work)  # BEGIN IMMEDIATE keeps every other writer out

    async def sound(self) -> bool | None:
        return await self.read(lambda c: c.exec_driver_sql("PRAGMA quick_check").scalar_one() == "ok")

    async def scrub(self) -> Sequence[Leg]:
        if await self.rewrite():
            return [Leg("ledger_file", LegState.EMPTY)]
        return [Leg("ledger_file", LegState.PENDING, LATER)]

    async def rewrite(self) -> bool:
        """Leave nothing of deleted rows in the file and its log; False if that could not be done now."""
        if self._closed:
            raise self._unavailable()
        return await asyncio.to_thread(self._rewrite)

    def _rewrite(self) -> bool:
        """Writers wait meanwhile; readers go on.

        `secure_delete` clears deleted rows, but not the copies that stay in the gap of a page whose rows moved to
        another when the tree was balanced. A vacuum writes every page anew; the log then goes, with the old pages.
        """
        connection = sqlean.connect(self.path, timeout=REWRITE_WAIT, isolation_level=None)
        try:
            connection.execute("PRAGMA secure_delete=ON")
            connection.execute("VACUUM")
            busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
            return not busy
        except sqlean.OperationalError as error:
            log.warning("file not rewritten", extra={"store": self.path.stem, "error": str(error)})
            return False
        finally:
            connection.close()

    async def close(self) -> None:
        self._closed = True
        self._queue.put(None)
        await asyncio.to_thread(self._thread.join)
        self._readers.shutdown()
        if self._onlooker is not None:
            self._onlooker.close()
        self.reader_engine.dispose()
        self.writer_engine.dispose()

    def _read(self, work: Work[T]) -> T:
        try:
            with self.reader_engine.connect() as connection, connection.begin():
                return work(connection)
        except DBAPIError as error:
            raise self._translated(error) from None

    def _serve(self) -> None:
        closing = False
        while not closing:
            group = [self._queue.get()]
            while len(group) < GROUP and not self._queue.empty():
                group.append(self._queue.get())
            closing = None in group
            waiting = [item for item in group if item and item[1].set_running_or_notify_cancel()]
            if waiting:
                self._transact(waiting)

    def _transact(self, group: list[tuple[Work[Any], Future[Any]]]) -> None:
        """One transaction for the group. Answers go out after the commit; a failed commit fails every one of them."""
        answers: list[Any] = []
        failures: dict[int, BaseException] = {}  # by place in the group
        try:
            with self.writer_engine.connect() as connection, connection.begin():
                for place, (work, _) in enumerate(group):
                    try:
                        with connection.begin_nested() if len(group) > 1 else nullcontext():
                            answer = work(connection)
                        answers.append(answer)
                    except Exception as error:  # goes to the caller it belongs to
                        answers.append(None)
                        failures[place] = error
                        if len(group) == 1 or not _in_transaction(connection):
                            raise  # a full disk, for one, undoes the whole transaction and not just this change
        except Exception as error:  # noqa: BLE001 - nobody's change is stored
            failures = {place: failures.get(place, error) for place in range(len(group))}
        for place, (_, future) in enumerate(group):
            if failure := failures.get(place):
                future.set_exception(self._translated(failure) if isinstance(failure, DBAPIError) else failure)
            else:
                future.set_result(answers[place])

    def _translated(self, error: DBAPIError) -> BaseException:
        if isinstance(error, IntegrityError):
            return error
        log.error(
            "sql failed", extra={"store": self.path.stem, "error": type(error.orig).__name__}, exc_info=error.orig
        )
        return self._unavailable()


def _in_transaction(connection: Connection) -> bool:
    return bool(connection.connection.driver_connection.in_transaction)  # type: ignore[union-attr]


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
