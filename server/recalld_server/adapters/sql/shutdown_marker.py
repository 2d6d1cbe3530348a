"""Detects an unclean shutdown of the previous server on a SQLite file, after which the file must be checked."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress

from recalld_server.adapters.sql.engine import SqliteEngine
from recalld_server.adapters.sql.store_health import StoreFault
from recalld_server.domain.errors import RecalldError

log = logging.getLogger(__name__)

OPEN, CLOSED = 1, 0  # `user_version` in the header of the file


class ShutdownMarker:
    """Marks the file as open from `begin` to `end`.

    A file that is found marked comes from a crash, or is a copy of a file that was in use.
    """

    def __init__(self, engine: SqliteEngine) -> None:
        self._engine = engine
        self._checking: asyncio.Task[None] | None = None

    async def begin(self, seconds: float) -> None:
        """Mark the file as open. If it was not closed cleanly, check it first.

        Waits at most `seconds` for the check; a longer check continues in the background. Until it has passed, the
        engine's `ping` fails, so the server reports that it is not ready, but it answers requests. Raises the engine's
        error if the check finds damage within that time.
        """
        if await self._engine.read(lambda c: c.exec_driver_sql("PRAGMA user_version").scalar_one()) == OPEN:
            self._engine.file.unchecked = True
            self._checking = asyncio.create_task(self._check())
            await asyncio.wait([self._checking], timeout=seconds)
            self._engine.file.health.require(StoreFault.DAMAGED)
        await self._mark(OPEN)

    async def end(self) -> None:
        """Mark the file as closed, unless it was not checked or has a fault."""
        if self._checking:
            self._checking.cancel()
            with suppress(asyncio.CancelledError):
                await self._checking
        if not self._engine.file.unchecked and not self._engine.file.health.has(*StoreFault):
            with suppress(RecalldError):  # the mark stays, so the next start checks the file
                await self._mark(CLOSED)

    async def _mark(self, mark: int) -> None:
        await self._engine.write(lambda c: c.exec_driver_sql(f"PRAGMA user_version={mark}"))

    async def _check(self) -> None:
        file, begun = self._engine.file, time.monotonic()
        log.warning("%s was not closed cleanly: checking it", file.path)
        try:
            if not await self._engine.sound():
                file.health.found(StoreFault.DAMAGED, "found by PRAGMA quick_check")
        except RecalldError as error:
            log.error("%s could not be checked: %s", file.path, error)
            return
        file.unchecked = False
        log.info("%s checked", file.path, extra={"seconds": round(time.monotonic() - begun, 1)})
