"""Clearing the engines' files of what erased rows left in them, in the background."""

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

AGAIN = 30.0  # seconds until another try


@dataclass(frozen=True, slots=True)
class PerEngine(Generic[T]):
    """Of the files of either engine."""

    ledger: T
    index: T


class Erasure:
    """One run clears for all who asked before it began; who asks meanwhile is served by the next.

    Erasures that no run has cleared yet are known to the ledger, so a server that stopped goes on after its start.
    """

    def __init__(self, ledger: ErasureLog, index: Index) -> None:
        self._ledger = ledger
        self._index = index
        self._asked = 0
        self._cleared = PerEngine(0, 0)
        self._moved = asyncio.Event()  # when `_cleared` changes
        self._running: asyncio.Task[None] | None = None

    async def resume(self) -> None:
        """Clear what was erased before this server started, if need be."""
        if await self._ledger.erasures() > 0:
            self.request()

    def request(self) -> None:
        """Clear what is erased by now."""
        self._asked += 1
        if self._running is None or self._running.done():
            self._running = asyncio.create_task(self._run())

    async def cleared(self, seconds: float) -> PerEngine[bool]:
        """Which engines' files are clear of all that was asked for until now, at the latest after so many seconds.

        Of files out of reach nobody knows; nothing is waited for.
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
        """Stop; what is not cleared is cleared after the next start."""
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
