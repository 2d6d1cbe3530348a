"""Fills a server with memories, via ImportMemories."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from time import perf_counter

import numpy as np

from recalld import MemoryClient
from recalld.imports import Importable
from recalld.v1.memory_pb2 import Memory, Message
from recalld.v1.memory_service_pb2 import ImportItem
from recalld_server.bench import BenchError
from recalld_server.bench.corpus import SEED, Corpus

IN_ONE_USER = 10_000  # up to this size all memories belong to one user, above it each user has PER_USER
PER_USER = 100
PER_RUN = 20  # messages per conversation, so that searches have neighbours to rank
CHUNK = 1_000  # memories created at a time
FIRST_TIME = 1_750_000_000  # seconds since the Unix epoch; memories are a minute apart


@dataclass(frozen=True, slots=True)
class Stored:
    """The result of an import: counts, seconds from the first item to the last answer, and consistency token."""

    stored: int
    unchanged: int
    seconds: float
    token: str

    @property
    def per_second(self) -> float:
        """Items stored per second."""
        return self.stored / self.seconds


def store(client: MemoryClient, items: Iterable[Importable]) -> Stored:
    """Import the items and wait until searches see them. Raises BenchError if an item is refused."""
    start = perf_counter()
    last = None
    for last in client.import_memories(items):
        for failure in last.failed:
            raise BenchError(f"item {failure.index} was not stored: {failure.error}")
    seconds = perf_counter() - start
    if last is None or not last.consistency_token:
        raise BenchError("nothing was imported")
    client.search("anything", limit=1, user_id="nobody", at_least_as_fresh=last.consistency_token)
    return Stored(last.stored, last.unchanged, seconds, last.consistency_token)


@dataclass(frozen=True, slots=True)
class Population:
    """Synthetic memories, numbered from 0. The number determines the user and the id."""

    memories: int

    @property
    def users(self) -> int:
        """The number of users."""
        return 1 if self.memories <= IN_ONE_USER else self.memories // PER_USER

    def user(self, number: int) -> str:
        """The user of a memory. Consecutive conversations belong to different users, as in real traffic."""
        return f"user-{number // PER_RUN % self.users}"

    def memory_id(self, number: int) -> str:
        """A UUID of version 7 (RFC 9562) that is ascending with the number, like the server's ids with time."""
        milliseconds = FIRST_TIME * 1000 + number
        scattered = number * 0x9E3779B97F4A7C15 % (1 << 62)
        return str(uuid.UUID(int=milliseconds << 80 | 7 << 76 | 2 << 62 | scattered))

    def items(self, corpus: Corpus, model: str, dimension: int) -> Iterator[ImportItem]:
        """All memories, with random unit vectors that are labelled as the model's."""
        generator = np.random.default_rng(SEED)
        for start in range(0, self.memories, CHUNK):
            count = min(CHUNK, self.memories - start)
            vectors = generator.standard_normal((count, dimension), dtype=np.float32)
            vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
            texts = corpus.texts(count)
            for number, text, vector in zip(range(start, start + count), texts, vectors.tolist(), strict=True):
                memory = self._memory(number, text)
                yield ImportItem(memory=memory, vector=vector, vector_model=model)

    def _memory(self, number: int, text: str) -> Memory:
        round_number = number // PER_RUN // self.users
        said = Message(role="user", content=text, position=number % PER_RUN)
        said.time.seconds = FIRST_TIME + 60 * number
        return Memory(
            id=self.memory_id(number),
            text=text,
            user_id=self.user(number),
            run_id=f"run-{round_number}",
            speaker="user",
            sources=[said],
        )
