"""Streams that resume after connection errors: the common part of streamed searches and watches.

If a call fails, the stream opens it again with the last resume token. Breaking out of a loop does not end the call: use
the stream in a `with` block, call `close()`, or drop all references to it, and the server stops at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import grpc

from recalld.errors import RecalldError, Unavailable, from_rpc
from recalld.responses import Item

FIRST_PAUSE, LAST_PAUSE = 0.2, 3.0  # seconds
LASTED = 10.0  # seconds after which a call counts as working, since a quiet watch receives nothing new

Open = Callable[[str], Any]  # opens a call that resumes after a token; "" starts from the beginning


class Progress(ABC):
    """The position of a stream across calls. It holds no call, so that a stream without references ends by itself."""

    complete = False  # True once everything was received

    def __init__(self, token: str, correlation_id: str) -> None:
        self.token = token
        self._failures = 0
        self._opened = 0.0
        self._correlation_id = correlation_id

    def opened(self) -> None:
        """Record the start of a call."""
        self._opened = time.monotonic()

    def take(self, message: Any) -> Item | None:
        """The item in a message; None if it has none or the item was seen before.

        Only a call that advances the token, or lasts LASTED seconds, resets the count of failures: the stream must give
        up on a server that sends the first checkpoint and then dies each time.
        """
        item = self._read(message)
        further = bool(message.resume_token) and message.resume_token != self.token
        if item is not None or further or time.monotonic() - self._opened >= LASTED:
            self._failures = 0
        self.token = message.resume_token or self.token
        return item

    def broken(self, error: grpc.RpcError | None) -> float:
        """Seconds to wait before resuming a call that ended early. Raises RecalldError if a retry would not help."""
        problem = (
            from_rpc(error, self._correlation_id)
            if error
            else Unavailable("The server ended the stream early.", correlation_id=self._correlation_id)
        )
        self._failures += 1
        if not self._resumable(problem) or self._failures >= self._most_failures():
            raise problem from error
        return self.pause(problem)

    def pause(self, problem: RecalldError) -> float:
        """Seconds before the next attempt: the server's retry delay, otherwise exponential back-off, with jitter."""
        if problem.retry_delay is not None:  # not earlier, and spread over clients
            return problem.retry_delay * random.uniform(1.0, 1.5)  # noqa: S311  spreads clients, hides nothing
        longest: float = min(LAST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures - 1, 10))
        return longest * random.uniform(0.8, 1.2)  # noqa: S311  as above

    @abstractmethod
    def _read(self, message: Any) -> Item | None: ...

    @abstractmethod
    def _most_failures(self) -> int:
        """The number of consecutive failures after which the stream gives up."""

    def _resumable(self, problem: RecalldError) -> bool:
        return isinstance(problem, Unavailable)


P = TypeVar("P", bound=Progress)


class Stream(Iterator[Item], Generic[P]):
    """An iterator of items. It sends the request when the first item is requested. Not thread-safe."""

    def __init__(self, open_call: Open, progress: P) -> None:
        self._progress = progress
        self._items = _items(open_call, progress)

    def __next__(self) -> Item:
        return next(self._items)

    def close(self) -> None:
        """Cancel the running call and end the iteration."""
        self._items.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncStream(AsyncIterator[Item], Generic[P]):
    """As Stream, for `async for` and `async with`."""

    def __init__(self, open_call: Open, progress: P) -> None:
        self._progress = progress
        self._items = _items_async(open_call, progress)

    async def __anext__(self) -> Item:
        return await anext(self._items)

    async def aclose(self) -> None:
        """Cancel the running call and end the iteration."""
        await self._items.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _items(open_call: Open, progress: Progress) -> Generator[Item, None, None]:
    while True:
        call, failure = open_call(progress.token), None
        progress.opened()
        try:
            for message in call:
                if (item := progress.take(message)) is not None:
                    yield item
        except grpc.RpcError as error:
            failure = error
        finally:
            call.cancel()  # no effect on a call that has ended
        if progress.complete:
            return
        time.sleep(progress.broken(failure))


async def _items_async(open_call: Open, progress: Progress) -> AsyncGenerator[Item, None]:
    while True:
        call, failure = open_call(progress.token), None
        progress.opened()
        try:
            async for message in call:
                if (item := progress.take(message)) is not None:
                    yield item
        except grpc.RpcError as error:
            failure = error
        finally:
            call.cancel()  # no effect on a call that has ended
        if progress.complete:
            return
        await asyncio.sleep(progress.broken(failure))
