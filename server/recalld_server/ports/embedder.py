"""The port of the embedding model, which turns texts into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntEnum
from typing import Protocol

from recalld_server.domain.vectors import FloatMatrix


class Priority(IntEnum):
    """The priority of a request in the queue; the lowest number goes first."""

    SEARCH = 0  # a search: a caller waits for it, and its text is short
    WRITE = 1  # an add or an update: a caller waits for it
    BACKGROUND = 2  # imports and reindexes: they use the remaining capacity


class Embedder(Protocol):
    """One embedding model.

    A text has the same vector in every call and every process, apart from rounding: two vectors of it have a cosine of
    .999 or more. With Priority.SEARCH all calls of a process return identical vectors for a text.

    Safe for concurrent calls on one event loop. After a cancellation only the batch that is already running completes.
    """

    @property
    def model(self) -> str:
        """The name of the model. Vectors of two embedders are comparable only if their models are equal."""
        ...

    @property
    def dimension(self) -> int:
        """The number of components of each vector; constant."""
        ...

    async def embed(
        self, texts: Sequence[str], *, priority: Priority = Priority.WRITE, project: str = ""
    ) -> FloatMatrix:
        """Return the vectors of `texts` in their order: (n, dimension) float32, finite, rows of unit length; n >= 0.

        A row is all zeros if the model knows too few words of the text for a meaningful vector; the text is then found
        only by the keyword leg. Texts may have any length.

        Requests of a higher priority go first, but some of the lowest priority are always let through. Within a
        priority, projects take turns batch by batch, and so do the requests of one project: a request of 20,000 texts
        delays other requests by at most one batch.

        Raises EmbedderUnavailable if the model cannot be reached, returns an invalid answer or is closed; no vector is
        returned then. Raises Overloaded if the queue of the project or of the server is full. BACKGROUND requests wait
        instead, so their callers must limit how many they make at once.
        """
        ...

    async def close(self) -> None:
        """Release the resources of the model. Waiting calls fail. Idempotent."""
        ...
