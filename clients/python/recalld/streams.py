"""Streamed searches: hits as they come, across broken connections.

A stream that breaks is resumed by its last token. When the project changed in between, the server says so and goes on
there, or starts again if the hits sent are no longer the first; those already seen are dropped here.

Leaving a loop early does not end a call by itself: use the stream in a `with` block, call `close()`, or keep no
reference to it, and the server stops working at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import grpc

from recalld import responses
from recalld.errors import Unavailable, from_rpc
from recalld.responses import Item
from recalld.v1 import search_service_pb2

BEGIN_FAILURES = 4  # in a row before the first message: as often as other calls are tried
RESUME_FAILURES = 8  # in a row after it: about 12 seconds, which a server needs to start again
FIRST_PAUSE, LAST_PAUSE = 0.2, 3.0  # seconds

Open = Callable[[str], Any]  # starts a call that goes on after a resume token; "" starts anew


@dataclass(frozen=True, slots=True)
class Summary:
    """The end of a complete stream. `stages` maps the name of each stage of the last call to seconds."""

    hit_count: int
    truncated: bool
    changed: bool
    sequence: int
    candidate_count: int
    stages: Mapping[str, float]


class Progress:
    """How far a stream is, over all its calls. Holds no call, so that a stream no one refers to ends by itself."""

    def __init__(self, correlation_id: str) -> None:
        self.token = ""
        self.changed = False
        self.done: Summary | None = None
        self._seen: set[str] = set()
        self._failures = 0
        self._correlation_id = correlation_id

    def take(self, message: search_service_pb2.StreamSearchResponse) -> Item | None:
        """The hit a message brings; None when it brings none or one that was seen before."""
        self._failures = 0
        self.token = message.resume_token or self.token
        match message.WhichOneof("event"):
            case "hit" if message.hit.memory.id not in self._seen:
                self._seen.add(message.hit.memory.id)
                return responses.hit(message.hit)
            case "checkpoint":
                self.changed = self.changed or message.checkpoint.changed
            case "done":
                end = message.done
                stages = {each.name: each.duration.seconds + each.duration.nanos / 1e9 for each in end.stages}
                changed = self.changed or end.changed
                self.done = Summary(len(self._seen), end.truncated, changed, end.sequence, end.candidate_count, stages)
        return None

    def broken(self, error: grpc.RpcError | None) -> float:
        """Seconds to wait before resuming a call that ended without `done`. Raises when that would not help."""
        problem = (
            from_rpc(error, self._correlation_id)
            if error
            else Unavailable("The stream ended early.", correlation_id=self._correlation_id)
        )
        self._failures += 1
        most = RESUME_FAILURES if self.token else BEGIN_FAILURES
        if not isinstance(problem, Unavailable) or self._failures >= most:
            raise problem from error
        if problem.retry_delay is not None:
            return problem.retry_delay
        longest: float = min(LAST_PAUSE, FIRST_PAUSE * 2 ** (self._failures - 1))
        return longest * random.uniform(0.8, 1.2)  # noqa: S311  spreads clients, hides nothing


class SearchStream(Iterator[Item]):
    """Hits of one search, best first. Nothing is sent before the first is asked for. Not for several threads."""

    def __init__(self, open_call: Open, correlation_id: str) -> None:
        self._progress = Progress(correlation_id)
        self._hits = _hits(open_call, self._progress)

    @property
    def done(self) -> Summary | None:
        """The summary, once the stream has ended. A stream left early has none."""
        return self._progress.done

    def __next__(self) -> Item:
        return next(self._hits)

    def close(self) -> None:
        """Cancels what is under way. Nothing more comes."""
        self._hits.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncSearchStream(AsyncIterator[Item]):
    """As SearchStream, for `async for` and `async with`."""

    def __init__(self, open_call: Open, correlation_id: str) -> None:
        self._progress = Progress(correlation_id)
        self._hits = _hits_async(open_call, self._progress)

    @property
    def done(self) -> Summary | None:
        """The summary, once the stream has ended. A stream left early has none."""
        return self._progress.done

    async def __anext__(self) -> Item:
        return await anext(self._hits)

    async def aclose(self) -> None:
        """Cancels what is under way. Nothing more comes."""
        await self._hits.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _hits(open_call: Open, progress: Progress) -> Generator[Item, None, None]:
    while True:
        call, failure = open_call(progress.token), None
        try:
            for message in call:
                if (hit := progress.take(message)) is not None:
                    yield hit
        except grpc.RpcError as error:
            failure = error
        finally:
            call.cancel()  # no effect on a call that has ended
        if progress.done:
            return
        time.sleep(progress.broken(failure))


async def _hits_async(open_call: Open, progress: Progress) -> AsyncGenerator[Item, None]:
    while True:
        call, failure = open_call(progress.token), None
        try:
            async for message in call:
                if (hit := progress.take(message)) is not None:
                    yield hit
        except grpc.RpcError as error:
            failure = error
        finally:
            call.cancel()  # no effect on a call that has ended
        if progress.done:
            return
        await asyncio.sleep(progress.broken(failure))
