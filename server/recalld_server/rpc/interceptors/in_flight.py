"""Which calls are under way, so that a server that stops waits for them and for nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

from recalld_server.rpc.interceptors.base import Details, Interceptor, after_each_answer
from recalld_server.rpc.render.errors import ShuttingDown

LASTING = ("/grpc.health.", "/grpc.reflection.")  # streams that only their caller ends
QUEUED = 0.2  # seconds for calls that arrived and were not seen yet: the library would end them as CANCELLED


class InFlight(Interceptor):
    """Counts calls until their status has left, and refuses new ones once the server stops.

    Streams end with ShuttingDown after the answer they are at, whose token or index says where to go on. One that waits
    for something to tell must look at `stopping` itself.
    """

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cut = False
        self.stopping = asyncio.Event()

    async def drain(self) -> None:
        """Take no more calls; return when those under way have their answers and those queued were refused."""
        self.stopping.set()
        await self._idle.wait()
        await asyncio.sleep(QUEUED)

    def cut(self) -> None:
        """End the calls that are still under way with ShuttingDown."""
        self._cut = True
        for task in self._tasks:
            task.cancel()

    @asynccontextmanager
    async def around(self, details: Details, context: Any) -> AsyncIterator[None]:
        if not details.method.startswith(LASTING):
            self._refuse_when_stopping()
            self._count += 1
            self._idle.clear()
            context.add_done_callback(self._ended)
        with self._cuttable(), after_each_answer(self._refuse_when_stopping):
            yield

    @contextmanager
    def _cuttable(self) -> Iterator[None]:
        task = cast("asyncio.Task[Any]", asyncio.current_task())  # each call is one
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._cut:
                raise  # its caller has gone
            task.uncancel()
            raise ShuttingDown from None
        finally:
            self._tasks.discard(task)

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
