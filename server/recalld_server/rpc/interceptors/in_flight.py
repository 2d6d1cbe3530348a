"""Counts the running calls, so that a stopping server waits for exactly these."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast

from recalld_server.rpc.interceptors.base import Details, Interceptor, after_each_answer
from recalld_server.rpc.render.errors import ShuttingDown

LASTING = ("/grpc.health.", "/grpc.reflection.")  # not waited for: only the caller ends these streams
QUEUED = 0.2  # seconds to refuse calls that are still queued in gRPC, which would end them as CANCELLED


class InFlight(Interceptor):
    """Counts calls until their status is sent, and refuses new calls when the server stops.

    A stream then ends with ShuttingDown after its next message, whose token or index tells the caller where to resume.
    A stream that waits for events must check `stopping` itself.
    """

    def __init__(self) -> None:
        self._count = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._cut = False
        self.stopping = asyncio.Event()

    async def drain(self) -> None:
        """Refuse new calls; return when the running calls have ended and the queued ones were refused."""
        self.stopping.set()
        await self._idle.wait()
        await asyncio.sleep(QUEUED)

    def cut(self) -> None:
        """End the calls that still run with ShuttingDown."""
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
        task = cast("asyncio.Task[Any]", asyncio.current_task())  # each call has a task of its own
        self._tasks.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if not self._cut:
                raise  # the caller is gone
            task.uncancel()
            raise ShuttingDown from None
        finally:
            self._tasks.discard(task)

    @property
    def count(self) -> int:
        """The number of running calls."""
        return self._count

    def _refuse_when_stopping(self) -> None:
        if self.stopping.is_set():
            raise ShuttingDown

    def _ended(self, _: Any) -> None:
        self._count -= 1
        if not self._count:
            self._idle.set()
