"""Watches: streams of committed changes, which resume after connection errors.

A watch resumes with its last token and drops changes that were seen before, so that each change is delivered once. It
only ends when you close it: use it in a `with` block or call `close()`, and the server stops at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from recalld import responses, times, validation
from recalld.arguments import check_version, condition, scope, set_as_of
from recalld.errors import Overloaded, RecalldError, invalid
from recalld.options import UNSET, Id
from recalld.responses import Item
from recalld.resuming import AsyncStream, Open, Progress, Stream
from recalld.v1 import memory_service_pb2

FAILURES = 40  # in a row without a message: about two minutes, enough to replace a server
RESUMABLE = ("WATCH_TOO_SLOW", "STREAM_LIMIT")


def request(
    *,
    beginning: bool = False,
    resume_token: str = "",
    as_of: times.Time | int | None = None,
    user_id: Id = UNSET,
    agent_id: Id = UNSET,
    app_id: Id = UNSET,
    run_id: Id = UNSET,
    categories: Sequence[str] | str | None = None,
    metadata: Mapping[str, Any] | None = None,
    filters: Mapping[str, Any] | None = None,
    version: str = "v1",
) -> memory_service_pb2.WatchRequest:
    """Arguments as in `ConditionOptions`, and at most one of `beginning`, `resume_token` and `as_of`."""
    check_version(version)
    validation.flag(beginning, "beginning")
    validation.text(resume_token, "resume_token")
    if beginning + bool(resume_token) + (as_of is not None) > 1:
        raise invalid("as_of", "beginning, resume_token and as_of exclude each other: give at most one")
    asked = memory_service_pb2.WatchRequest(
        scope=scope(user_id, agent_id, app_id, run_id), filter=condition(categories, metadata, filters)
    )
    if resume_token:
        asked.resume_token = resume_token
    elif beginning:
        asked.beginning = True
    else:
        set_as_of(asked.as_of, as_of)
    return asked


class WatchProgress(Progress):
    """The position of a watch."""

    def __init__(self, token: str, correlation_id: str) -> None:
        super().__init__(token, correlation_id)
        self.sequence = 0

    def _read(self, message: memory_service_pb2.WatchResponse) -> Item | None:
        if message.WhichOneof("item") == "checkpoint":
            self.sequence = max(self.sequence, message.checkpoint.sequence)
            return None
        if message.event.sequence <= self.sequence:
            return None
        self.sequence = message.event.sequence
        return responses.change(message.event)

    def _most_failures(self) -> int:
        return FAILURES

    def _resumable(self, problem: RecalldError) -> bool:
        slow = isinstance(problem, Overloaded) and problem.reason in RESUMABLE
        return slow or super()._resumable(problem)


class WatchStream(Stream[WatchProgress]):
    """Changes in order, each once. It sends the request when the first change is requested. Not thread-safe."""

    def __init__(self, open_call: Open, token: str, correlation_id: str) -> None:
        super().__init__(open_call, WatchProgress(token, correlation_id))

    @property
    def resume_token(self) -> str:
        """The token to resume after the last change, also in another process. Empty before the first answer."""
        return self._progress.token

    @property
    def sequence(self) -> int:
        """The watch has delivered every matching change up to this sequence number."""
        return self._progress.sequence


class AsyncWatchStream(AsyncStream[WatchProgress]):
    """As WatchStream, for `async for` and `async with`."""

    def __init__(self, open_call: Open, token: str, correlation_id: str) -> None:
        super().__init__(open_call, WatchProgress(token, correlation_id))

    @property
    def resume_token(self) -> str:
        """As WatchStream.resume_token."""
        return self._progress.token

    @property
    def sequence(self) -> int:
        """As WatchStream.sequence."""
        return self._progress.sequence
