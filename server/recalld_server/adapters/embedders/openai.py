"""Embeddings from any server with OpenAI's API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import numpy as np

from recalld_server.adapters.embedders.priority_semaphore import PrioritySemaphore
from recalld_server.domain.errors import EmbedderUnavailable
from recalld_server.domain.vectors import FloatMatrix
from recalld_server.ports.embedder import Priority

if TYPE_CHECKING:
    from openai import AsyncOpenAI

BATCH_TEXTS: Final = 128
BATCH_CHARACTERS: Final = 250_000  # a character has about one token at most; OpenAI accepts 300,000 tokens per request
LONGEST: Final = 90.0  # seconds for a request with all its attempts
# Limits for a request with all its attempts: a waiting caller gets an error before its default deadline (30 s).
SECONDS: Final = {Priority.SEARCH: 10.0, Priority.WRITE: 20.0, Priority.BACKGROUND: LONGEST}
SHORTEST: Final = 1e-6  # a shorter vector has no usable direction


class OpenAiEmbedder:
    """Implements ports.embedder.Embedder over HTTP. Create it with `start`.

    Texts are sent whole; the server truncates what exceeds the model's window.
    """

    def __init__(self, client: AsyncOpenAI, model: str, dimension: int) -> None:
        self._client = client
        self.model = model
        self.dimension = dimension
        self._slots = PrioritySemaphore()

    @classmethod
    async def start(
        cls, *, model: str, base_url: str, api_key: str, dimension: int | None = None, attempt_seconds: float = 30.0
    ) -> OpenAiEmbedder:
        """Create an embedder. Without `dimension` it embeds a short text to learn it, so the server must be reachable.

        An attempt ends after `attempt_seconds`; a transient failure is retried twice. Raises EmbedderUnavailable.
        """
        from openai import AsyncOpenAI

        client = AsyncOpenAI(base_url=base_url, api_key=api_key, timeout=attempt_seconds, max_retries=2)
        embedder = cls(client, model, dimension or 0)
        if dimension is None:
            try:
                embedder.dimension = (await embedder._request(["dimension"])).shape[1]
            except BaseException:
                await client.close()
                raise
        return embedder

    async def embed(
        self, texts: Sequence[str], *, priority: Priority = Priority.WRITE, project: str = ""
    ) -> FloatMatrix:
        """See Embedder.embed. Sends batches one after another, each in a slot of its priority. Never raises Overloaded.

        Each batch has the SECONDS of its priority for all its attempts. A cancelled caller cancels its request.
        """
        parts = []
        for batch in _batches(texts):
            async with self._slots.one(priority, project):
                parts.append(await self._request(batch, SECONDS[priority]))
        return np.concatenate([np.empty((0, self.dimension), dtype=np.float32), *parts])

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _request(self, texts: list[str], seconds: float = LONGEST) -> FloatMatrix:
        from openai import APIStatusError, OpenAIError

        try:
            async with asyncio.timeout(seconds):
                answer = await self._client.embeddings.create(model=self.model, input=texts)
            data = sorted(answer.data, key=lambda item: item.index)
            places = [item.index for item in data]
            vectors = np.array([item.embedding for item in data], dtype=np.float32)
        except APIStatusError as error:  # the message may quote our texts, so only the status is reported
            raise self._unavailable("The embedding endpoint refused the request.", f"{error.status_code}") from None
        except TimeoutError:
            late = f"The embedding endpoint did not answer within {seconds:g} s."
            raise self._unavailable(late, "TimeoutError") from None
        except OpenAIError as error:
            raise self._unavailable("The embedding endpoint can't be reached.", type(error).__name__) from None
        except (AttributeError, TypeError, ValueError) as error:  # the client does not validate the response
            raise self._unavailable("The embedding endpoint sent no valid vectors.", type(error).__name__) from None
        if places != list(range(len(texts))):
            raise self._unavailable("The embedding endpoint did not return one vector per text.", f"{len(places)}")
        return self._checked(vectors)

    def _checked(self, vectors: FloatMatrix) -> FloatMatrix:
        """The vectors at unit length. Raises EmbedderUnavailable if any of them is invalid."""
        if vectors.ndim != 2 or not vectors.shape[1] or (self.dimension and vectors.shape[1] != self.dimension):
            raise self._unavailable("The embedding endpoint sent vectors of another dimension.", f"{vectors.shape[1:]}")
        lengths = np.linalg.norm(vectors.astype(np.float64), axis=1, keepdims=True)
        if not np.isfinite(lengths).all() or lengths.min() < SHORTEST:
            raise self._unavailable("The embedding endpoint sent a vector that is zero or not finite.", "vector")
        unit: FloatMatrix = (vectors / lengths).astype(np.float32)
        return unit

    def _unavailable(self, message: str, detail: str) -> EmbedderUnavailable:
        return EmbedderUnavailable(message, model=self.model, detail=detail)


def _batches(texts: Sequence[str]) -> Iterator[list[str]]:
    """Split the texts, in order, into batches within both limits. A single longer text forms its own batch."""
    batch: list[str] = []
    characters = 0
    for text in texts:
        if batch and (len(batch) == BATCH_TEXTS or characters + len(text) > BATCH_CHARACTERS):
            yield batch
            batch, characters = [], 0
        batch.append(text)
        characters += len(text)
    if batch:
        yield batch
