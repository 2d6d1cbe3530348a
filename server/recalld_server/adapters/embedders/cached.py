"""Vectors of recent searches, kept in front of an embedder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from recalld_server.domain.vectors import FloatMatrix, FloatVector
from recalld_server.ports.embedder import Embedder, Priority

SIZE: Final = 2048  # questions; at 384 dimensions 3 MB of vectors and at most 16 MB of text


class CachedEmbedder:
    """The embedder port over another embedder.

    Texts of searches are kept, the least lately asked going first: pages and resumed streams ask the same question
    again. Texts to be stored are not: they seldom return.
    """

    def __init__(self, embedder: Embedder, size: int = SIZE) -> None:
        self._embedder = embedder
        self._size = size
        self._vectors: OrderedDict[str, FloatVector] = OrderedDict()

    @property
    def model(self) -> str:
        """The model of the embedder behind."""
        return self._embedder.model

    @property
    def dimension(self) -> int:
        """The dimension of the embedder behind."""
        return self._embedder.dimension

    @property
    def cached(self) -> int:
        """Questions whose vectors are held."""
        return len(self._vectors)

    async def embed(
        self, texts: Sequence[str], *, priority: Priority = Priority.WRITE, project: str = ""
    ) -> FloatMatrix:
        """See the port. What fails is not kept."""
        if priority is not Priority.SEARCH:
            return await self._embedder.embed(texts, priority=priority, project=project)
        found = {text: self._vectors[text] for text in texts if text in self._vectors}
        missing = [text for text in dict.fromkeys(texts) if text not in found]
        if missing:
            made = await self._embedder.embed(missing, priority=priority, project=project)
            found.update(zip(missing, made, strict=True))
        for text, vector in found.items():
            self._vectors[text] = vector
            self._vectors.move_to_end(text)
        while len(self._vectors) > self._size:
            self._vectors.popitem(last=False)
        return np.array([found[text] for text in texts], dtype=np.float32).reshape(len(texts), self.dimension)

    async def close(self) -> None:
        """Forget all vectors and close the embedder behind."""
        self._vectors.clear()
        await self._embedder.close()
