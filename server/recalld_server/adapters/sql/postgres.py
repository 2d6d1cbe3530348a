"""The engine for PostgreSQL: a connection pool with one thread per connection.

Writes run in parallel, except for writes that lock the same row, as `adapters.ledger.commits.commit` locks the row of
its project. Within one server such writes queue by line and share transactions, each under its own savepoint. Between
servers the row lock orders them. Reads see one snapshot (REPEATABLE READ, read only).
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError

from recalld_server.adapters.sql.engine import T, Work
from recalld_server.adapters.sql.faults import StatementRefused, canceled, refused_by_postgres
from recalld_server.adapters.sql.readers import Read, ReadCancelled, Readers
from recalld_server.adapters.sql.statistics import Statistics
from recalld_server.adapters.sql.store_health import StoreFault, StoreHealth
from recalld_server.domain.errors import ReadTooCostly, RecalldError

log = logging.getLogger(__name__)
Waiting = tuple[Work[Any], Future[Any]]

READERS = 8
WRITERS = 8  # with the readers 16 pooled connections; five servers stay below PostgreSQL's default limit of 100
WAITING = 4096  # changes that may queue, some seconds of work; further writes are refused at once
GROUP = 16  # changes per transaction; the other servers wait for the row lock meanwhile
STATEMENT = 30.0  # statement_timeout, seconds
LOCK = 4.0  # lock_timeout, seconds: below the 5 s after which callers of a write get an answer
# All users of a database share its advisory locks. The key is a pair of numbers: the purpose (ours: 1919247202) and the
# hash of the schema that holds the ledger.
MIGRATING = "SELECT pg_advisory_xact_lock(1919247202, hashtext(current_schema()))"

# Connection parameters that detect a lost host, both while connecting and while waiting for an answer. Seconds.
ADDRESS = {
    "connect_timeout": 3,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # ms
    "application_name": "recalld",
}
CANCEL = 3.0  # seconds for a cancel request to PostgreSQL
AGAIN = 0.05  # seconds before a retry, so that the conflicting transaction can finish
PASSING = frozenset({"40001", "40P01"})  # SQLSTATE: serialization failure, deadlock
AWAY = ("08", "28", "57P")  # SQLSTATE classes: connection failed, authorization, operator intervention (shutdown)
UNWRITABLE = frozenset({"25006", "53100", "58030"})  # SQLSTATE: read-only (a standby), disk full, I/O error

TABLES = "SELECT quote_ident(tablename) FROM pg_tables WHERE schemaname = current_schema() ORDER BY 1"


class PostgresEngine:
    """A PostgreSQL database; see SqlEngine.

    `url` is postgresql://user:password@host:port/database. Its query may hold any libpq parameter; those override ours,
    `options` included. Raises ModuleNotFoundError if psycopg is not installed.
    """

    def __init__(self, url: str, *, unavailable: type[RecalldError]) -> None:
        self._unavailable = unavailable
        self._health = StoreHealth("PostgreSQL", unavailable)
        self.engine = _engine(url)
        self._snapshots = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        self._statistics = Statistics(self.engine)
        self._readers = Readers(READERS, "postgres")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="write-postgres")
        self._vacuums = ThreadPoolExecutor(1, thread_name_prefix="vacuum-postgres")
        self._vacuuming: Any = None  # the connection of the last VACUUM, for `close` to cancel
        self._accepted: set[Future[Any]] = set()
        self._lines: dict[str, deque[Waiting]] = {}  # queued changes; each line has one worker at a time
        self._lock = threading.Lock()
        self._closed = False

    async def read(self, work: Work[T], line: str = "") -> T:
        if self._closed:
            raise self._unavailable()
        return await self._readers.run(partial(self._run, self._snapshots, work), line)

    async def write(self, work: Work[T], line: str = "") -> T:
        if self._closed:
            raise self._unavailable()
        if self.queued >= WAITING:
            raise self._unavailable("Too many changes are waiting to be written; try again shortly.")
        future: Future[T] = Future()
        self._accepted.add(future)
        future.add_done_callback(self._accepted.discard)
        if not line:
            self._writers.submit(self._transact, [(work, future)])
        elif self._join(line, work, future):
            self._writers.submit(self._serve, line)
        return await asyncio.wrap_future(future)

    def _join(self, line: str, work: Work[Any], future: Future[Any]) -> bool:
        """Queue a change; True if the line had none and so needs a worker."""
        with self._lock:
            first = line not in self._lines
            self._lines.setdefault(line, deque()).append((work, future))
            return first

    def _serve(self, line: str) -> None:
        with self._lock:
            waiting = self._lines[line]
            group = [waiting.popleft() for _ in range(min(GROUP, len(waiting)))]
        try:
            self._transact(group)
        finally:  # the rest of the line must be served even if this group failed
            with self._lock:
                ended = not waiting
                if ended:
                    del self._lines[line]
            if not ended:
                self._writers.submit(self._serve, line)  # queued behind the other lines, so that they take turns

    def _transact(self, group: Sequence[Waiting]) -> None:
        """Run a group of changes and complete every future, even after an unexpected error."""
        try:
            self._write(group)
        except Exception as error:
            log.exception("changes failed", extra={"store": "ledger"})
            for _, future in group:
                if not future.done():
                    future.set_exception(error)

    def _write(self, group: Sequence[Waiting]) -> None:
        wanted = [(work, future) for work, future in group if future.set_running_or_notify_cancel()]
        if not (len(wanted) > 1 and self._together(wanted)):
            for work, future in wanted:
                try:
                    future.set_result(self._run(self.engine, work))
                except BaseException as error:  # noqa: BLE001 - goes to the caller
                    future.set_exception(error)
        self._statistics.look()

    def _together(self, group: Sequence[Waiting]) -> bool:
        """Run all changes in one transaction.

        Returns False if it was rolled back before the commit: each change may then run in its own transaction. A failed
        commit fails all of them, because its result is unknown.
        """
        committing = False
        try:
            with self.engine.connect() as connection, connection.begin():
                answers = [_tried(connection, work) for work, _ in group]
                committing = True
        except Exception as error:  # noqa: BLE001 - goes to the callers
            if not committing:
                return False
            answers = [(None, self._translated(error))] * len(group)
        for (_, future), (answer, failure) in zip(group, answers, strict=True):
            if failure:
                future.set_exception(failure)
            else:
                future.set_result(answer)
        return True

    @property
    def address(self) -> Mapping[str, Any]:
        """Arguments of psycopg.connect for a connection like those of the pool. May contain a password."""
        _, given = self.engine.dialect.create_connect_args(self.engine.url)
        return {**given, **_limits(self.engine.url)}

    @property
    def version(self) -> int | None:
        return None

    @property
    def queued(self) -> int:
        return max(0, len(self._accepted) - WRITERS)

    async def migrate(self, work: Work[None]) -> None:
        """See SqlEngine. Holds an advisory lock. Afterwards all text columns compare by code point, as in SQLite."""

        def alone(connection: Connection) -> None:
            for limit in ("lock_timeout", "statement_timeout"):
                connection.exec_driver_sql(f"SET LOCAL {limit} = 0")
            connection.exec_driver_sql(MIGRATING)
            work(connection)
            _collate(connection)

        await self.write(alone)

    async def ping(self, probe: Work[Any]) -> None:
        if self._health.has(StoreFault.UNWRITABLE):
            await self.write(probe)
            self._health.over(StoreFault.UNWRITABLE)

    async def sound(self) -> bool | None:
        await self.read(lambda c: c.exec_driver_sql("SELECT 1"))
        return None

    @property
    def clears(self) -> bool:
        return False

    async def compact(self) -> bool | None:
        if self._closed:
            raise self._unavailable()
        await asyncio.get_running_loop().run_in_executor(self._vacuums, self._vacuum)
        return None

    def _vacuum(self) -> None:
        """Remove dead rows and their index entries; reads and writes continue.

        It may take long, so it has its own thread and connection.
        """
        import psycopg  # part of the optional extra for PostgreSQL

        try:
            with psycopg.connect(**self.address, autocommit=True) as connection:
                self._vacuuming = connection
                connection.execute("SET statement_timeout = 0")
                names = [row[0] for row in connection.execute(TABLES)]
                connection.execute(f"VACUUM (INDEX_CLEANUP ON, SKIP_LOCKED) {', '.join(names)}".encode())
        except psycopg.Error as error:
            log.warning(
                "tables not vacuumed; autovacuum will do it", extra={"store": "ledger", "error": type(error).__name__}
            )

    async def close(self) -> None:
        self._closed = True
        await asyncio.to_thread(wait, list(self._accepted))
        if self._vacuuming is not None:
            self._vacuuming.cancel()
        for end in (self._writers.shutdown, self._readers.close, self._vacuums.shutdown):
            await asyncio.to_thread(end)
        self.engine.dispose()

    def _run(self, engine: Engine, work: Work[T], read: Read[T] | None = None) -> T:
        """Run one transaction, with one retry if it failed before its commit for a transient reason.

        If the connection breaks during the commit, the result is unknown, so it is not retried.
        """
        for retry in (True, False):
            committing = False
            try:
                with engine.connect() as connection, connection.begin():
                    with self._stoppable(connection, read) if read else nullcontext():
                        answer = work(connection)
                    committing = True
                self._health.over(StoreFault.UNREACHABLE)
                return answer
            except DBAPIError as error:
                if read and read.stopped:
                    raise ReadCancelled from None
                if not retry or committing or not _passing(error):
                    raise self._translated(error) from None
                log.info("sql retried", extra={"store": "ledger", "error": type(error.orig).__name__})
            time.sleep(AGAIN)
        raise AssertionError("the second try answers or raises")

    @contextmanager
    def _stoppable(self, connection: Connection, read: Read[Any]) -> Iterator[None]:
        driver = connection.connection.driver_connection

        def cancel() -> None:
            with suppress(self.engine.dialect.dbapi.Error):  # type: ignore[union-attr]  # Readers retries it
                driver.cancel_safe(timeout=CANCEL)  # type: ignore[union-attr]

        try:
            with read.using(cancel):
                yield
        finally:
            if read.stopped:
                connection.invalidate()  # a late cancel request would hit the next user of the pooled connection

    def _translated(self, error: Exception) -> Exception:
        if isinstance(error, IntegrityError) or not isinstance(error, DBAPIError):
            return error
        if canceled(error):
            _note(error)
            return ReadTooCostly(limit_seconds=f"{STATEMENT:.0f}")
        if refused_by_postgres(error):
            _note(error)
            return StatementRefused()
        state = getattr(error.orig, "sqlstate", None) or ""
        if error.connection_invalidated or (
            isinstance(error, OperationalError) and (not state or state.startswith(AWAY))
        ):
            return self._health.found(StoreFault.UNREACHABLE, _cause(error))
        if state in UNWRITABLE:
            return self._health.found(StoreFault.UNWRITABLE, _cause(error))
        _note(error)
        return self._unavailable()


def _tried(connection: Connection, work: Work[Any]) -> tuple[Any, Exception | None]:
    """Run `work` under a savepoint and return its result, or its error after a rollback to the savepoint.

    Raises database errors other than IntegrityError: they fail the whole transaction.
    """
    try:
        with connection.begin_nested():
            return work(connection), None
    except DBAPIError as error:
        if isinstance(error, IntegrityError):
            return None, error
        raise
    except Exception as error:  # noqa: BLE001 - goes to the caller
        return None, error


def _passing(error: DBAPIError) -> bool:
    """Whether a retry may succeed: broken connection (as after a restart of PostgreSQL), deadlock, serialization."""
    return error.connection_invalidated or getattr(error.orig, "sqlstate", None) in PASSING


def _note(error: DBAPIError) -> None:
    extra = {"store": "ledger", "error": type(error.orig).__name__, "sqlstate": getattr(error.orig, "sqlstate", None)}
    log.error("sql failed: %s", _cause(error), extra=extra)


def _cause(error: DBAPIError) -> str:
    """The primary message only: PostgreSQL's details may quote rows."""
    diagnostics = getattr(error.orig, "diag", None)
    return getattr(diagnostics, "message_primary", None) or str(error.orig).partition("\n")[0]


def _engine(url: str) -> Engine:
    return create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        connect_args=_limits(make_url(url)),
        isolation_level="READ COMMITTED",
        pool_size=READERS + WRITERS,
        max_overflow=0,
        hide_parameters=True,
    )


def _limits(url: URL) -> dict[str, Any]:
    """Our parameters that the URL does not set. The URL's `options` follow ours, and PostgreSQL uses the last one."""
    times = f"-c statement_timeout={STATEMENT:.0f}s -c lock_timeout={LOCK:.0f}s {url.query.get('options', '')}"
    return {name: value for name, value in ADDRESS.items() if name not in url.query} | {"options": times.strip()}


def _collate(connection: Connection) -> None:
    """Change text columns with another collation to "C". Migrations create columns with the database's collation."""
    columns = connection.exec_driver_sql(
        "SELECT quote_ident(table_name), string_agg('ALTER ' || quote_ident(column_name) || ' TYPE text COLLATE \"C\"',"
        " ', ') FROM information_schema.columns WHERE table_schema = current_schema() AND data_type = 'text'"
        " AND collation_name IS DISTINCT FROM 'C' GROUP BY table_name ORDER BY table_name"
    )
    for table, changes in columns.all():
        connection.exec_driver_sql(f"ALTER TABLE {table} {changes}")
