"""Comparison of searches over Weaviate with Weaviate's two legs alone.

The same questions, filters and limits are sent to the same objects via Weaviate's own client, in the same period.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count, islice
from pathlib import Path
from time import perf_counter
from typing import Any

from weaviate import WeaviateAsyncClient
from weaviate.classes.query import MetadataQuery
from weaviate.exceptions import WeaviateBaseError

from recalld_server.adapters.index.weaviate import schema, tokens
from recalld_server.adapters.index.weaviate.client import Address, Client
from recalld_server.adapters.index.weaviate.filters import compiled
from recalld_server.bench import BenchError
from recalld_server.bench.calls import Calls, percentile, together
from recalld_server.bench.corpus import SEED, Corpus
from recalld_server.bench.filling import Population
from recalld_server.domain.analysis import Analyser
from recalld_server.domain.errors import IndexUnavailable
from recalld_server.domain.memory import Scope
from recalld_server.domain.query import ask
from recalld_server.domain.ranking import DEPTH
from recalld_server.domain.revision import DEFAULT_LANGUAGE
from recalld_server.domain.vectors import UInt32Array
from recalld_server.wiring.composition import build
from recalld_server.wiring.settings import Settings

TENANT = schema.tenant("default")  # the project of every new server
QUESTIONS = 250  # created beforehand and repeated: repeats only avoid the embedder, whose time is subtracted
PATIENCE = 10.0  # timeout of calls that are not measured, in seconds
WARM_UP = 3  # pairs of each caller that are not measured


@dataclass(frozen=True, slots=True)
class Asked:
    """A question, and the terms and vector for the legs."""

    text: str
    terms: UInt32Array
    vector: Sequence[float]


@dataclass(frozen=True, slots=True)
class Beside:
    """Times of searches without the embedder, and of the legs alone, with `callers` callers. In milliseconds."""

    callers: int
    count: int
    limit: int
    search_p50: float
    search_p99: float
    legs_p50: float
    legs_p99: float
    ratio: float


class Engine:
    """Access to Weaviate for benchmarks. Its methods raise IndexUnavailable."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def holding(self) -> list[str]:
        """The collections of recalld that have a tenant of the project `default`."""

        async def work(driver: WeaviateAsyncClient) -> list[str]:
            names = [name for name in await driver.collections.list_all() if name.startswith(schema.PREFIX)]
            return [name for name in names if await driver.collections.use(name).tenants.exists(TENANT)]

        return await self._client.call(work, PATIENCE)

    async def clear(self) -> None:
        """Remove that tenant from all collections."""
        for name in await self.holding():
            await self._client.call(lambda driver: driver.collections.use(name).tenants.remove([TENANT]), PATIENCE)  # noqa: B023

    async def beside(
        self, target: str, population: Population, asked: Sequence[Asked], callers: int, seconds: float
    ) -> Beside:
        """Measure both ways for `seconds`; they take turns at going first. Raises BenchError."""
        [name] = await self.holding()
        tenant = await self._client.call(lambda driver: _tenant(driver, name), PATIENCE)
        calls, turns = Calls(target, population, Corpus()), count()
        chosen = random.Random(SEED)  # noqa: S311 - chooses users, not a secret
        pairs: list[tuple[float, float]] = []

        async def pair() -> tuple[float, float]:
            turn = next(turns)
            question, user = asked[turn % len(asked)], population.user(chosen.randrange(population.memories))
            before = await _legs(tenant, question, user) if turn % 2 else None
            found = await calls.search_for(question.text, user)
            legs = before if before is not None else await _legs(tenant, question, user)
            return found.total - found.stages.get("embed", 0.0), legs

        async def warm_up(caller: int) -> None:
            for _ in range(WARM_UP):
                await pair()

        async def until_over(caller: int) -> None:
            while perf_counter() - start < seconds:
                pairs.append(await pair())

        try:
            await together(callers, warm_up)
            start = perf_counter()
            await together(callers, until_over)
        except (WeaviateBaseError, OSError) as error:
            raise BenchError(f"Weaviate failed: {type(error).__name__}") from None
        finally:
            await calls.close()
        searches, legs = zip(*pairs, strict=True)
        p50, of_legs = percentile(searches, 50), percentile(legs, 50)
        return Beside(
            callers, len(pairs), DEPTH, p50, percentile(searches, 99), of_legs, percentile(legs, 99), p50 / of_legs
        )


@asynccontextmanager
async def empty(settings: Settings) -> AsyncIterator[Engine]:
    """Yield the engine at `settings.index` and clear it at the end. Raises BenchError, SettingMissing."""
    client = Client(Address.parse(settings.index, settings.index_key, tls=settings.index_tls))
    try:
        engine = Engine(client)
        try:
            taken = await engine.holding()
        except IndexUnavailable:
            raise BenchError(f"cannot reach Weaviate at {client.address}") from None
        if taken:
            raise BenchError(f"Weaviate at {client.address} has entries of a project `default`; use one without")
        try:
            yield engine
        finally:
            await engine.clear()
    finally:
        await client.close()


async def prepared() -> list[Asked]:
    """Questions, analysed and embedded as by a server with default settings."""
    texts = list(islice(Corpus(SEED + 2).questions(), QUESTIONS))
    analyser = Analyser(DEFAULT_LANGUAGE)
    questions = [ask(text, frozenset(), analyser) for text in texts]
    with tempfile.TemporaryDirectory(prefix="recalld-bench-") as folder:
        recalld = await build(Settings(data_dir=Path(folder)))
        try:
            vectors = await recalld.embedder.embed([question.embed_text for question in questions])
        finally:
            await recalld.close()
    return [
        Asked(text, question.terms, vector)
        for text, question, vector in zip(texts, questions, vectors.tolist(), strict=True)
    ]


async def _tenant(driver: WeaviateAsyncClient, name: str) -> Any:
    """The client's own tenant object, so that the measurement does not include our code."""
    return driver.collections.use(name).with_tenant(TENANT)


async def _legs(tenant: Any, asked: Asked, user: str) -> float:
    """Milliseconds of both legs in parallel, which return only ids and scores."""
    start = perf_counter()
    scope = Scope(user_id=user)
    inside: Any = compiled(None, scope, time.time_ns() // 1000).condition
    await asyncio.gather(
        tenant.query.bm25(
            query=" ".join(tokens.question(scope, asked.terms)),
            query_properties=["terms"],
            filters=inside,
            limit=DEPTH,
            return_properties=[],
            return_metadata=MetadataQuery(score=True),
        ),
        tenant.query.near_vector(
            near_vector=asked.vector,
            filters=inside,
            limit=DEPTH,
            return_properties=[],
            return_metadata=MetadataQuery(distance=True),
        ),
    )
    return 1000 * (perf_counter() - start)
