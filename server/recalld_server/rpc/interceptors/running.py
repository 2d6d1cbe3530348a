"""Which calls are under way, so that a server that stops waits for them and for nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from recalld_server.rpc.errors import ShuttingDown
from recalld_server.rpc.interceptors.around import Details, Interceptor, after_each_answer

LASTING = ("/grpc.health.", "/grpc.reflection.")  # streams that only their caller ends
QUEUED = 0.2  # seconds for calls that arrived and were not seen yet: the library would end them as CANCELLED


class Running(Interceptor):
    """Counts calls until their status has left, and refuses new ones once the server stops.

    Streams end with ShuttingDown after the answer they are at, whose token or index says where to go on. One that waits
    for something to tell must look at `stopping` itself.
    """

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self.stopping = asyncio.Event()

    async def drain(self) -> None:
        """Take no more calls; return when those under way have their answers and those queued were refused."""
        self.stopping.set()
        await self._idle.wait()
        await asyncio.sleep(QUEUED)

    @asynccontextmanager
    async def around(self, details: Details, context: Any) -> AsyncIterator[None]:
        if not details.method.startswith(LASTING):
            self._refuse_when_stopping()
            self._count += 1
            self._idle.clear()
            context.add_done_callback(self._ended)
        with after_each_answer(self._refuse_when_stopping):
            yield

    @property
    def count(self) -> int:
        """Calls under way."""
        return self._count

    def _refuse_when_stopping(self) -> None:
        if self.stopping.is_set():
            raise ShuttingDown

    def _ended(self, _: Any) -> None:
        self._count -= 1
        if not self._count:
            self._idle.set()
