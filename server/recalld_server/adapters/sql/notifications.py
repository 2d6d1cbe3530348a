"""The line a server keeps open to a PostgreSQL ledger: its place there, and word of commits from server to server.

Word goes by LISTEN and NOTIFY. It is a hint that saves waiting: it may be lost with a connection, and everybody who
follows a project looks for himself as well. NOTIFY has a connection of its own, after the commit, as a transaction that
notifies holds up the commits of all others; what is said within `PAUSE` goes in one.
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
AGAIN = 0.5  # seconds between tries to get the line back
# Advisory locks are pairs of numbers that all users of a database share: what for, and which schema's ledger.
PLACE = "SELECT {lock}(1919247201, hashtext(current_schema()))"
NOTIFY = "SELECT pg_notify(%s, project) FROM unnest(%s::text[]) AS project"

Line = psycopg.AsyncConnection[Any]


class LedgerTaken(SettingMissing):
    """Another server uses this ledger in a way that leaves no room for this one."""


class CommitBus:
    """Holds this server's place at the ledger and carries word of commits.

    `alone`: the place is for one server, as one must have whose index is its own file: an index hears of no change that
    another server made. Other servers share the ledger with each other, and with none that is alone.
    `address` is what psycopg.connect takes.
    """

    def __init__(self, address: Mapping[str, Any], *, alone: bool) -> None:
        self._address = address
        self._alone = alone
        self._said: set[str] = set()
        self._rung = asyncio.Event()
        self._line: Line | None = None  # on which this server holds its place and listens
        self._voice: Line | None = None  # on which it notifies
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self, heard: Callable[[str], None], missed: Callable[[], None]) -> None:
        """Take the place and listen. `heard` gets a project; `missed`: any of them may have changed.

        Raises LedgerTaken, LedgerUnavailable.
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
        """Returns when another server has taken the place meanwhile: this one must stop."""
        await asyncio.wait(self._tasks[:1])

    async def close(self) -> None:
        """Give up the place."""
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
                log.warning("line to the ledger lost", extra={"error": type(error).__name__})
            await line.close()
            self._line = line = await self._reopened()
            missed()

    async def _reopened(self) -> Line:
        while True:
            try:
                return await self._open()
            except psycopg.Error as error:
                log.debug("no line to the ledger", extra={"error": type(error).__name__})
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
            except psycopg.Error as error:  # the others look for themselves within a second
                log.debug("commits not announced", extra={"error": type(error).__name__})
            await asyncio.sleep(PAUSE)


TAKEN_ALONE = (
    "Another server uses this ledger. A server whose index is embedded must be the only one: stop the other, or give "
    "both the same --index, which servers can share."
)
TAKEN = (
    "A server whose index is embedded uses this ledger, and it must be the only one: stop it, or give it the --index "
    "of this one."
)
