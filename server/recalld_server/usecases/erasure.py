"""Background erasure: removes the remains of erased rows from the files of the ledger and the index."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from typing import Generic, TypeVar

from recalld_server.ports.erasure import ErasureLog
from recalld_server.ports.index import Index

log = logging.getLogger(__name__)
T = TypeVar("T")

AGAIN = 30.0  # seconds before the next attempt


@dataclass(frozen=True, slots=True)
class PerEngine(Generic[T]):
    """A value for the files of the ledger and one for the files of the index."""

    ledger: T
    index: T


class Erasure:
    """Compacts the files in the background. One run serves all requests made before it began.

    The ledger counts the erasures that no run has cleared, so a restarted server resumes them.
    """

    def __init__(self, ledger: ErasureLog, index: Index) -> None:
        self._ledger = ledger
        self._index = index
        self._asked = 0
        self._cleared = PerEngine(0, 0)
        self._moved = asyncio.Event()  # set and replaced when `_cleared` changes
        self._running: asyncio.Task[None] | None = None

    async def resume(self) -> None:
        """Start a run if rows were erased before this server started and are not cleared."""
        if await self._ledger.erasures() > 0:
            self.request()

    def request(self) -> None:
        """Clear the files of all rows erased until now, in the background."""
        self._asked += 1
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())

    async def cleared(self, seconds: float) -> PerEngine[bool]:
        """Wait up to `seconds` for the requests made until now; return which engines have cleared their files.

        Does not wait for an engine whose files recalld cannot clear (`clears` is False).
        """
        asked = self._asked
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while (self._ledger.clears and self._cleared.ledger < asked) or (
                    self._index.clears and self._cleared.index < asked
                ):
                    await self._moved.wait()
        return PerEngine(self._cleared.ledger >= asked, self._cleared.index >= asked)

    async def close(self) -> None:
        """Stop. The next start clears the rest."""
        if self._running is not None:
            self._running.cancel()
            with suppress(asyncio.CancelledError):
                await self._running

    async def _run(self) -> None:
        while self._cleared.ledger < self._asked:
            if not await self._once(self._asked):
                await asyncio.sleep(AGAIN)

    async def _once(self, asked: int) -> bool:
        try:
            erasures = await self._ledger.erasures()
            if await self._index.compact() is False:
                return False
            self._move(PerEngine(self._cleared.ledger, asked))
            if await self._ledger.compact() is False:
                return False
            await self._ledger.cleared(erasures)
            self._move(PerEngine(asked, asked))
        except Exception as error:
            log.warning("files not cleared", extra={"error": type(error).__name__}, exc_info=error)
            return False
        return True

    def _move(self, cleared: PerEngine[int]) -> None:
        self._cleared = cleared
        self._moved.set()
        self._moved = asyncio.Event()
