"""Streams across broken connections: what a search and a watch have in common.

A call that breaks is opened again with the last token. Leaving a loop early does not end a call by itself: use the
stream in a `with` block, call its `close()`, or keep no reference to it, and the server stops at once.
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
LASTED = 10.0  # seconds after which a call that breaks has worked: a quiet watch gets no further and is well

Open = Callable[[str], Any]  # starts a call that goes on after a resume token; "" starts anew


class Progress(ABC):
    """How far a stream is, over all its calls. Holds no call, so that a stream no one refers to ends by itself."""

    complete = False  # True: everything came

    def __init__(self, token: str, correlation_id: str) -> None:
        self.token = token
        self._failures = 0
        self._opened = 0.0
        self._correlation_id = correlation_id

    def opened(self) -> None:
        """A call begins."""
        self._opened = time.monotonic()

    def take(self, message: Any) -> Item | None:
        """What a message brings; None when it brings nothing, or what was seen before.

        Only a call that gets further, or that lasts, ends a row of failures: a server that sends the first checkpoint
        and dies each time must not be asked for ever.
        """
        item = self._read(message)
        further = bool(message.resume_token) and message.resume_token != self.token
        if item is not None or further or time.monotonic() - self._opened >= LASTED:
            self._failures = 0
        self.token = message.resume_token or self.token
        return item

    def broken(self, error: grpc.RpcError | None) -> float:
        """Seconds to wait before resuming a call that ended before it was complete. Raises when that would not help."""
        problem = (
            from_rpc(error, self._correlation_id)
            if error
            else Unavailable("The stream ended early.", correlation_id=self._correlation_id)
        )
        self._failures += 1
        if not self._resumable(problem) or self._failures >= self._most_failures():
            raise problem from error
        return self.pause(problem)

    def pause(self, problem: RecalldError) -> float:
        """Seconds before the next attempt: what the server asks for, or more after each failure."""
        if problem.retry_delay is not None:  # not before it, and not all clients at once
            return problem.retry_delay * random.uniform(1.0, 1.5)  # noqa: S311  spreads clients, hides nothing
        longest: float = min(LAST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures - 1, 10))
        return longest * random.uniform(0.8, 1.2)  # noqa: S311  as above

    @abstractmethod
    def _read(self, message: Any) -> Item | None: ...

    @abstractmethod
    def _most_failures(self) -> int:
        """In a row without a message: then the stream gives up."""

    def _resumable(self, problem: RecalldError) -> bool:
        return isinstance(problem, Unavailable)


P = TypeVar("P", bound=Progress)


class Stream(Iterator[Item], Generic[P]):
    """Items in order. Nothing is sent before the first is asked for. Not for several threads."""

    def __init__(self, open_call: Open, progress: P) -> None:
        self._progress = progress
        self._items = _items(open_call, progress)

    def __next__(self) -> Item:
        return next(self._items)

    def close(self) -> None:
        """Cancels what is under way. Nothing more comes."""
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
        """Cancels what is under way. Nothing more comes."""
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
