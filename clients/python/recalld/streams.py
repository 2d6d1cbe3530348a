"""Streamed searches, which resume after connection errors.

A stream resumes with its last token. If the project changed in between, the server says so and continues, or starts
again if the hits already sent are no longer the first; this module then drops hits that were seen before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from recalld import responses
from recalld.responses import Item
from recalld.resuming import AsyncStream, Open, Progress, Stream
from recalld.v1 import search_service_pb2

BEGIN_FAILURES = 4  # in a row before the first message: as many attempts as other calls have
RESUME_FAILURES = 8  # in a row after it: about 12 seconds, enough for a restart of the server


@dataclass(frozen=True, slots=True)
class Summary:
    """The summary of a complete stream, from SearchDone.

    `changed`: the project changed while the stream was interrupted. `stages` maps stages of the last call to seconds.
    """

    hit_count: int
    truncated: bool
    changed: bool
    sequence: int
    candidate_count: int
    stages: Mapping[str, float]


class SearchProgress(Progress):
    """The position of a streamed search."""

    def __init__(self, correlation_id: str) -> None:
        super().__init__("", correlation_id)
        self.changed = False
        self.done: Summary | None = None
        self._seen: set[str] = set()

    def _read(self, message: search_service_pb2.StreamSearchResponse) -> Item | None:
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
                self.complete = True
        return None

    def _most_failures(self) -> int:
        return RESUME_FAILURES if self.token else BEGIN_FAILURES


class SearchStream(Stream[SearchProgress]):
    """The hits of a search, best first. It sends the request when the first hit is requested. Not thread-safe."""

    def __init__(self, open_call: Open, correlation_id: str) -> None:
        super().__init__(open_call, SearchProgress(correlation_id))

    @property
    def done(self) -> Summary | None:
        """The summary once the stream is complete; None before, and for a stream that was closed early."""
        return self._progress.done


class AsyncSearchStream(AsyncStream[SearchProgress]):
    """As SearchStream, for `async for` and `async with`."""

    def __init__(self, open_call: Open, correlation_id: str) -> None:
        super().__init__(open_call, SearchProgress(correlation_id))

    @property
    def done(self) -> Summary | None:
        """The summary once the stream is complete; None before, and for a stream that was closed early."""
        return self._progress.done
