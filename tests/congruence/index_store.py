"""An index as a store for the filter tests."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np

from recalld_server.adapters.index.weaviate.client import Address
from recalld_server.adapters.index.weaviate.store import WeaviateIndex
from recalld_server.domain.filters import FIRST_MICROS, Filter
from recalld_server.domain.memory import Access, Memory, Scope
from recalld_server.domain.revision import Features, Generation, IndexEntry
from recalld_server.ports.index import IndexQuery

T = TypeVar("T")
GENERATION = Generation(number=1, model="congruence", dimension=2, analyser=1)
VECTOR, TERMS = np.array([1, 0], np.float32), np.array([1], np.uint32)
EVERYTHING = 50


class IndexStore:
    """Weaviate at a URL, in a project of its own. Both legs must agree."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.Runner()
        self._access = Access(f"p{uuid4().hex}")
        self._index = self._run(self._opened(url))

    def select(self, memories: Sequence[Memory], conditions: Sequence[Filter]) -> list[set[str]]:
        """The ids each condition selects, expired ones too."""
        return self._run(self._select(memories, conditions))

    def close(self) -> None:
        self._run(self._index.drop(self._access.project, GENERATION))
        self._run(self._index.close())
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._loop.run(work)

    async def _opened(self, url: str) -> WeaviateIndex:
        return WeaviateIndex(Address.parse(url))

    async def _select(self, memories: Sequence[Memory], conditions: Sequence[Filter]) -> list[set[str]]:
        project, ids = self._access.project, [memory.id for memory in memories]
        puts = [IndexEntry(memory, Features(TERMS, VECTOR), 1) for memory in memories]
        await self._index.apply(project, GENERATION, puts, [], 1)
        selected = []
        for condition in conditions:
            query = IndexQuery(Scope(), condition, TERMS, VECTOR, now=FIRST_MICROS - 1)
            found = await self._index.nominate(self._access, GENERATION, query, EVERYTHING)
            legs = [{memory_id for memory_id, _ in leg} for leg in (found.keyword, found.vector)]
            assert legs[0] == legs[1]
            selected.append(legs[0])
        await self._index.apply(project, GENERATION, [], ids, 2)
        return selected
