"""Watches: changes as they are committed, across broken connections.

A watch that breaks is resumed by its last token, and what was seen before is dropped, so each change comes once. It
ends only when it is left: use it in a `with` block or call `close()`, and the server stops at once.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

import grpc

from recalld import responses, times
from recalld.arguments import check_version, condition, scope, stamp
from recalld.errors import Overloaded, Unavailable, from_rpc, invalid
from recalld.responses import Item
from recalld.streams import FIRST_PAUSE, LAST_PAUSE, Open
from recalld.v1 import memory_service_pb2

FAILURES = 40  # in a row without a message: about two minutes, for a server that is being replaced
RESUMABLE = ("WATCH_TOO_SLOW", "STREAM_LIMIT")


def request(
    *,
    beginning: bool = False,
    resume_token: str = "",
    as_of: times.Time | int | None = None,
    user_id: str | None = None,
    agent_id: str | None = None,
    app_id: str | None = None,
    run_id: str | None = None,
    categories: Sequence[str] | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    filters: Mapping[str, Any] | None = None,
    version: str = "v1",
) -> memory_service_pb2.WatchRequest:
    """Arguments as in `ConditionOptions`, and at most one of the three that say where to start."""
    check_version(version)
    if (beginning is True) + bool(resume_token) + (as_of is not None) > 1:
        raise invalid("as_of", "beginning and resume_token exclude each other")
    asked = memory_service_pb2.WatchRequest(
        scope=scope(user_id, agent_id, app_id, run_id), filter=condition(categories, metadata, filters)
    )
    if resume_token:
        asked.resume_token = resume_token
    elif beginning:
        asked.beginning = True
    elif isinstance(as_of, int):
        asked.as_of.sequence = as_of
    elif as_of is not None:
        stamp(asked.as_of.time, as_of, times.moment, "as_of")
    return asked


class Progress:
    """How far a watch is, over all its calls."""

    def __init__(self, token: str, correlation_id: str) -> None:
        self.token = token
        self.sequence = 0
        self._failures = 0
        self._correlation_id = correlation_id

    def take(self, message: memory_service_pb2.WatchResponse) -> Item | None:
        """The change a message brings; None for a checkpoint and for what came before."""
        self._failures = 0
        self.token = message.resume_token or self.token
        if message.WhichOneof("item") == "checkpoint":
            self.sequence = max(self.sequence, message.checkpoint.sequence)
            return None
        if message.event.sequence <= self.sequence:
            return None
        self.sequence = message.event.sequence
        return responses.change(message.event)

    def broken(self, error: grpc.RpcError | None) -> float:
        """Seconds to wait before resuming. Raises when that would not help."""
        problem = (
            from_rpc(error, self._correlation_id)
            if error
            else Unavailable("The stream ended early.", correlation_id=self._correlation_id)
        )
        slow = isinstance(problem, Overloaded) and problem.reason in RESUMABLE
        self._failures += 1
        if not (slow or isinstance(problem, Unavailable)) or self._failures >= FAILURES:
            raise problem from error
        pause: float = min(LAST_PAUSE, FIRST_PAUSE * 2 ** min(self._failures - 1, 10))
        return pause * random.uniform(0.8, 1.2)  # noqa: S311  spreads clients, hides nothing


class WatchStream(Iterator[Item]):
    """Changes in order, each once. Nothing is sent before the first is asked for. Not for several threads."""

    def __init__(self, open_call: Open, token: str, correlation_id: str) -> None:
        self._progress = Progress(token, correlation_id)
        self._changes = _changes(open_call, self._progress)

    @property
    def resume_token(self) -> str:
        """Goes on after the last change given, also in another process. Empty before the server has answered."""
        return self._progress.token

    @property
    def sequence(self) -> int:
        """Every matching change up to this sequence number was given."""
        return self._progress.sequence

    def __next__(self) -> Item:
        return next(self._changes)

    def close(self) -> None:
        """Cancels what is under way. Nothing more comes."""
        self._changes.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class AsyncWatchStream(AsyncIterator[Item]):
    """As WatchStream, for `async for` and `async with`."""

    def __init__(self, open_call: Open, token: str, correlation_id: str) -> None:
        self._progress = Progress(token, correlation_id)
        self._changes = _changes_async(open_call, self._progress)

    @property
    def resume_token(self) -> str:
        """As WatchStream.resume_token."""
        return self._progress.token

    @property
    def sequence(self) -> int:
        """As WatchStream.sequence."""
        return self._progress.sequence

    async def __anext__(self) -> Item:
        return await anext(self._changes)

    async def aclose(self) -> None:
        """Cancels what is under way. Nothing more comes."""
        await self._changes.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()


def _changes(open_call: Open, progress: Progress) -> Generator[Item, None, None]:
    while True:
        call, failure = open_call(progress.token), None
        try:
            for message in call:
                if (change := progress.take(message)) is not None:
                    yield change
        except grpc.RpcError as error:
            failure = error
        finally:
            call.cancel()  # no effect on a call that has ended
        time.sleep(progress.broken(failure))


async def _changes_async(open_call: Open, progress: Progress) -> AsyncGenerator[Item, None]:
    while True:
        call, failure = open_call(progress.token), None
        try:
            async for message in call:
                if (change := progress.take(message)) is not None:
                    yield change
        except grpc.RpcError as error:
            failure = error
        finally:
            call.cancel()  # no effect on a call that has ended
        await asyncio.sleep(progress.broken(failure))
