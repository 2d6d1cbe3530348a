"""A cache of query vectors in front of an embedder."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

import numpy as np

from recalld_server.domain.vectors import FloatMatrix, FloatVector
from recalld_server.ports.embedder import Embedder, Priority

SIZE: Final = 2048  # queries; 3 MB of vectors with 384 dimensions, and at most 16 MB of text


class CachedEmbedder:
    """Implements ports.embedder.Embedder with an LRU cache of `size` query vectors over another embedder.

    Pages and resumed streams repeat the same query, so vectors of searches are cached. Texts to be stored seldom
    repeat, so their vectors are not.
    """

    def __init__(self, embedder: Embedder, size: int = SIZE) -> None:
        self._embedder = embedder
        self._size = size
        self._vectors: OrderedDict[str, FloatVector] = OrderedDict()

    @property
    def model(self) -> str:
        """The model of the wrapped embedder."""
        return self._embedder.model

    @property
    def dimension(self) -> int:
        """The dimension of the wrapped embedder."""
        return self._embedder.dimension

    @property
    def cached(self) -> int:
        """Number of cached queries."""
        return len(self._vectors)

    async def embed(
        self, texts: Sequence[str], *, priority: Priority = Priority.WRITE, project: str = ""
    ) -> FloatMatrix:
        """See Embedder.embed. Failures are not cached."""
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
        """Clear the cache and close the wrapped embedder."""
        self._vectors.clear()
        await self._embedder.close()
