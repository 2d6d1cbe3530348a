"""The port of the embedding model: texts to vectors of unit length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from recalld_server.domain.vectors import FloatMatrix


class Embedder(Protocol):
    """One model. A text has the same vector in every call and every process, but for roundings: two of them have a
    cosine of .999 or more. What is urgent has the very same one in every call of a process.

    Safe to call from many tasks of one event loop. A cancelled call costs no more than what already runs.
    """

    @property
    def model(self) -> str:
        """Names the vectors: those of two embedders may be compared only if their models are equal."""
        ...

    @property
    def dimension(self) -> int:
        """Length of each vector; never changes."""
        ...

    async def embed(self, texts: Sequence[str], *, urgent: bool = False) -> FloatMatrix:
        """The vectors of `texts`, in their order: (n, dimension) float32, finite, rows of unit length; n may be 0.

        `urgent` is for searches: where requests queue, these go before all others. Texts of any length are taken.
        Raises EmbedderUnavailable if the model can't be reached, answers nonsense or has been closed; then no part of
        the request is given.
        """
        ...

    async def close(self) -> None:
        """Free what the model holds. Calls still waiting fail. May be called twice."""
        ...
