"""The port of the embedding model: texts to vectors of unit length, or of zeros where it can't tell the meaning."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

from recalld_server.domain.vectors import FloatMatrix


class Priority(IntEnum):
    """Which requests go first where requests queue: those with the lower number."""

    SEARCH = 0  # a question: somebody waits for the answer, and the text is short
    WRITE = 1  # an add or an update: somebody waits until it is stored
    BACKGROUND = 2  # imports and new indexes: as fast as there is room


class Embedder(Protocol):
    """One model. A text has the same vector in every call and every process, but for roundings: two of them have a
    cosine of .999 or more. A text of a search has the very same one in every call of a process.

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

    async def embed(
        self, texts: Sequence[str], *, priority: Priority = Priority.WRITE, project: str = ""
    ) -> FloatMatrix:
        """The vectors of `texts`, in their order: (n, dimension) float32, finite, rows of unit length; n may be 0.

        A row is all zeros where the model knows so few of the text's words that its vector would say nothing: the text
        is then found by its words alone.

        Where requests queue, those of a higher priority go first, yet some of the lowest are always let through.
        Within a priority the projects take turns, a batch each, and so do the requests of one project: one request
        of 20,000 texts delays others by no more than a batch. Texts of any length are taken.

        Raises EmbedderUnavailable if the model can't be reached, answers nonsense or has been closed; then no part of
        the request is given. Raises Overloaded if more than a bound waits already of that project or in all; requests
        of BACKGROUND wait for their turn instead, so their callers bound how many they make at once.
        """
        ...

    async def close(self) -> None:
        """Free what the model holds. Calls still waiting fail. May be called twice."""
        ...
