"""Limits the concurrent requests of each priority to a model behind a network."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

from recalld_server.concurrency.fair_queue import FairQueue
from recalld_server.ports.embedder import Priority

AT_ONCE: Final = {Priority.SEARCH: 32, Priority.WRITE: 16, Priority.BACKGROUND: 4}


class PrioritySemaphore:
    """Each priority has its own slots, so that it never waits for another one. Within it, projects take turns."""

    def __init__(self, at_once: Mapping[Priority, int] = AT_ONCE) -> None:
        self._free = dict(at_once)
        self._waiting: dict[Priority, FairQueue[asyncio.Future[None]]] = {priority: FairQueue() for priority in at_once}

    @asynccontextmanager
    async def one(self, priority: Priority, project: str) -> AsyncIterator[None]:
        """Hold a slot for one request."""
        if self._free[priority]:
            self._free[priority] -= 1
        else:
            await self._turn(priority, project)
        try:
            yield
        finally:
            self._leave(priority)

    async def _turn(self, priority: Priority, project: str) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[priority].put(project, turn)
        try:
            await turn
        except asyncio.CancelledError:
            self._waiting[priority].remove(project, turn)
            if turn.done() and not turn.cancelled():
                self._leave(priority)  # cancelled after it got the slot: pass the slot on
            raise

    def _leave(self, priority: Priority) -> None:
        """Pass the slot to the request whose turn it is, or free it."""
        while (taken := self._waiting[priority].take()) is not None:
            _, turn = taken
            if not turn.done():  # a cancelled caller needs no slot
                turn.set_result(None)
                return
        self._free[priority] += 1
