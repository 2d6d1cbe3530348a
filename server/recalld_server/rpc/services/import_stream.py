"""ImportMemories: splits a stream of items into batches and embeds each batch while the previous one is stored."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from recalld.v1 import memory_service_pb2 as pb
from recalld_server.domain.bounds import values_of
from recalld_server.domain.errors import RecalldError
from recalld_server.domain.limits import WRITE_VALUES
from recalld_server.domain.memory import Access
from recalld_server.domain.page_tokens import Tokens
from recalld_server.rpc.interceptors.correlation import correlation_id
from recalld_server.rpc.parse.checks import check_request_id
from recalld_server.rpc.parse.commands import import_item
from recalld_server.rpc.parse.requests import parsed
from recalld_server.rpc.render import memory_protos
from recalld_server.rpc.render.errors import status_of
from recalld_server.usecases.imports import TRANSACTION, Imported, ImportItem, Imports, memories_of

BATCH_BYTES = 2 * 1024 * 1024
BATCH_VALUES = WRITE_VALUES // 2  # metadata values and categories; the last item of a batch may add some 8,000
HELD_BYTES = 128 * 1024 * 1024  # held by all imports of a server together, beyond one batch of each
AT_ONCE = 2  # batches in memory, not counting the one that is being read


@dataclass(slots=True)
class _Batch:
    """Valid items and the errors of invalid ones, each with its index in the stream; `last` is the last index."""

    items: list[tuple[int, ImportItem]] = field(default_factory=list)
    failed: list[tuple[int, RecalldError]] = field(default_factory=list)
    last: int = -1
    held: int = 0  # bytes
    revisions: int = 0
    values: int = 0

    async def take(self, at: int, request: pb.ImportItem) -> bool:
        """Add an item and return whether the batch is full."""
        try:
            item = await parsed(request, import_item(request))
            self.items.append((at, item))
            self.held += request.ByteSize()
            self.values += sum(map(values_of, memories_of(item)))
            self.revisions += max(1, len(request.history.revisions))
        except RecalldError as error:
            self.failed.append((at, error))
        self.last = at
        full = self.held >= BATCH_BYTES or self.values >= BATCH_VALUES
        return full or self.revisions + len(self.failed) >= TRANSACTION


class ImportStream:
    """One call of ImportMemories."""

    def __init__(self, importing: Imports, tokens: Tokens, who: Access) -> None:
        self._import = importing
        self._tokens = tokens
        self._who = who
        self._request_id = ""
        self._progress = pb.ImportProgress(through_index=-1)
        self._running: deque[tuple[_Batch, asyncio.Future[Imported]]] = deque()

    async def progress(self, requests: AsyncIterator[pb.ImportItem]) -> AsyncIterator[pb.ImportProgress]:
        """Yield one message for each batch, in order, when it is stored. A stream without items gets one message."""
        batches = self._batches(requests)
        reading: asyncio.Future[_Batch | None] | None = None
        ended = False
        try:
            while True:
                # Read ahead only while all imports of the server together hold less than HELD_BYTES.
                if not reading and not ended and (not self._running or self._import.held < HELD_BYTES):
                    reading = asyncio.ensure_future(anext(batches, None))
                if not reading and not self._running:
                    return
                waited: set[asyncio.Future[Any]] = set()
                if self._running:
                    waited.add(self._running[0][1])
                if reading and len(self._running) < AT_ONCE:
                    waited.add(reading)
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if self._running and self._running[0][1].done():
                    yield self._told(*self._running.popleft())
                elif reading and reading.done():
                    batch, reading = reading.result(), None
                    if batch:
                        self._begin(batch)
                    ended = batch is None
        finally:
            left: set[asyncio.Future[Any]] = {task for _, task in self._running} | ({reading} if reading else set())
            for task in left:
                task.cancel()
            # Later batches fail for the same reason as the one whose error was raised: report it to the caller once.
            await asyncio.gather(*left, return_exceptions=True)

    async def _batches(self, requests: AsyncIterator[pb.ImportItem]) -> AsyncIterator[_Batch]:
        batch, at = _Batch(), -1
        async for request in requests:
            at += 1
            if at == 0 and not any(check_request_id(request, "")):  # an invalid id is reported as that item's failure
                self._request_id = request.request_id
            if await batch.take(at, request):
                yield batch
                batch = _Batch()
        if batch.last >= 0 or at < 0:
            yield batch

    def _begin(self, batch: _Batch) -> None:
        before = self._running[-1][1] if self._running else None
        items = [item for _, item in batch.items]
        stored = asyncio.ensure_future(self._import.batch(self._who, items, self._request_id, before))
        self._import.held += batch.held
        stored.add_done_callback(lambda _: self._release(batch))
        self._running.append((batch, stored))

    def _release(self, batch: _Batch) -> None:
        self._import.held -= batch.held

    def _told(self, batch: _Batch, task: asyncio.Future[Imported]) -> pb.ImportProgress:
        done, progress = task.result(), self._progress
        failed = [*batch.failed, *((batch.items[at][0], error) for at, error in done.failed)]
        if batch.items:
            progress.stored += done.stored
            progress.unchanged += done.unchanged
            progress.consistency_token = self._tokens.consistency(self._who.project, done.seq)
            progress.index_state = memory_protos.index_state(done.applied)
        progress.through_index = batch.last
        del progress.failed[:]
        progress.failed.extend(
            pb.ImportFailure(index=index, status=status_of(error, correlation_id()))
            for index, error in sorted(failed, key=lambda pair: pair[0])
        )
        answer = pb.ImportProgress()
        answer.CopyFrom(progress)
        return answer
