"""The instance lock of a server on a PostgreSQL ledger, and commit notifications between servers.

Notifications use LISTEN and NOTIFY. They only shorten the wait: they may be lost with a connection, and every follower
of a project polls as well. NOTIFY runs on its own connection after the commit, because a transaction that notifies
delays the commits of all others. Notifications within `PAUSE` seconds are sent together.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import psycopg

from recalld_server.domain.errors import LedgerUnavailable, SettingMissing

log = logging.getLogger(__name__)

CHANNEL = "recalld_commits"
PAUSE = 0.02  # seconds between two notifications
AGAIN = 0.5  # seconds between two attempts to reconnect
# All users of a database share its advisory locks. The key is a pair of numbers: the purpose (ours: 1919247201) and the
# hash of the schema that holds the ledger.
PLACE = "SELECT {lock}(1919247201, hashtext(current_schema()))"
NOTIFY = "SELECT pg_notify(%s, project) FROM unnest(%s::text[]) AS project"

Line = psycopg.AsyncConnection[Any]


class LedgerTaken(SettingMissing):
    """Another server holds the ledger in a mode that excludes this server."""


class CommitBus:
    """Holds the instance lock of this server and carries commit notifications.

    With `alone` the lock is exclusive. A server with an embedded index needs that, because its index does not learn of
    changes that another server commits. All other servers share the lock.
    `address` holds the arguments of psycopg.connect.
    """

    def __init__(self, address: Mapping[str, Any], *, alone: bool) -> None:
        self._address = address
        self._alone = alone
        self._said: set[str] = set()
        self._rung = asyncio.Event()
        self._line: Line | None = None  # holds the advisory lock and listens
        self._voice: Line | None = None  # sends notifications
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        """Acquire the lock and listen. Raises LedgerTaken, LedgerUnavailable.

        `heard` is called with each project that another server changed. `missed` is called after a reconnect, when any
        project may have changed.
        """
        try:
            self._line = await self._open()
        except psycopg.Error as error:
            raise LedgerUnavailable from error
        listening, telling = self._listen(self._line, heard, missed), self._tell()
        self._tasks = [asyncio.create_task(listening), asyncio.create_task(telling)]

    def announce(self, project: str) -> None:
        """Tell the other servers that a project has changed."""
        self._said.add(project)
        self._rung.set()

    async def lost(self) -> None:
        """Return when another server acquired the lock while the connection was lost: this server must stop."""
        await asyncio.wait(self._tasks[:1])

    async def close(self) -> None:
        """Stop listening and release the lock."""
        for task in self._tasks:
            task.cancel()
        for task in self._tasks:
            with suppress(asyncio.CancelledError, LedgerTaken):
                await task
        for line in (self._line, self._voice):
            if line is not None:
                await line.close()

    async def _open(self) -> Line:
        line = await psycopg.AsyncConnection.connect(**self._address, autocommit=True)
        try:
            lock = "pg_try_advisory_lock" if self._alone else "pg_try_advisory_lock_shared"
            row = await (await line.execute(PLACE.format(lock=lock).encode())).fetchone()
            if not (row and row[0]):
                raise LedgerTaken(TAKEN_ALONE if self._alone else TAKEN)
            await line.execute(f"LISTEN {CHANNEL}".encode())
        except BaseException:
            await line.close()
            raise
        return line

    async def _listen(self, line: Line, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        while True:
            try:
                async for notice in line.notifies():
                    if self._voice is None or notice.pid != self._voice.info.backend_pid:
                        heard(notice.payload)
            except psycopg.Error as error:
                log.warning("connection for lock and notifications lost", extra={"error": type(error).__name__})
            await line.close()
            self._line = line = await self._reopened()
            missed()

    async def _reopened(self) -> Line:
        while True:
            try:
                return await self._open()
            except psycopg.Error as error:
                log.debug("connection for lock and notifications not restored", extra={"error": type(error).__name__})
                await asyncio.sleep(AGAIN)
            except LedgerTaken:
                log.error("another server has taken this ledger while it could not be reached; stopping")
                raise

    async def _tell(self) -> None:
        while True:
            await self._rung.wait()
            self._rung.clear()
            said, self._said = self._said, set()
            try:
                if self._voice is None or self._voice.closed:
                    self._voice = await psycopg.AsyncConnection.connect(**self._address, autocommit=True)
                await self._voice.execute(NOTIFY, (CHANNEL, sorted(said)))
            except psycopg.Error as error:  # the other servers poll within a second
                log.debug("commits not announced", extra={"error": type(error).__name__})
            await asyncio.sleep(PAUSE)


TAKEN_ALONE = (
    "Another server uses this ledger. A server with an embedded index must be the only server of its ledger: stop the "
    "other server, or start both with the same --index weaviate://HOST, which servers can share."
)
TAKEN = (
    "A server with an embedded index uses this ledger, and it must be the only server of its ledger: stop that server, "
    "or start it with the --index of this one."
)
