"""The calls of the load benchmark, and their measurement with concurrent callers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any
from uuid import uuid4

import numpy as np

from recalld import AsyncMemoryClient
from recalld.channel import Connection, stubs
from recalld.v1.memory_pb2 import Scope
from recalld.v1.memory_service_pb2 import AddRequest, GetMemoryRequest
from recalld.v1.search_service_pb2 import SearchRequest
from recalld_server.bench import BenchError
from recalld_server.bench.corpus import SEED, Corpus
from recalld_server.bench.filling import Population

TIMEOUT = 30.0  # of a call, in seconds
LIMIT = 10  # hits per search
WARM_UP = 3  # calls of each caller that are not measured

Operation = Callable[[int], Awaitable["Sample"]]


@dataclass(frozen=True, slots=True)
class Sample:
    """The times of one call in milliseconds: total, until the first hit of a stream, and by stage at the server."""

    total: float
    stages: Mapping[str, float]
    first: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result for one kind of call with `callers` concurrent callers. `throughput` is in calls per second.

    Times are in milliseconds. `stages` has the median of each stage, of the time `elsewhere` (gRPC, queues, this
    client) and, if there is an `embed` stage, of the time `outside the embedder`.
    """

    call: str
    callers: int
    count: int
    throughput: float
    p50: float
    p99: float
    first_p50: float | None
    first_p99: float | None
    stages: Mapping[str, float]

    @classmethod
    def of(cls, call: str, callers: int, samples: Sequence[Sample], seconds: float) -> Measurement:
        """Summarise samples; at least one is required."""
        totals = [sample.total for sample in samples]
        firsts = [sample.first for sample in samples if sample.first is not None]
        return cls(
            call,
            callers,
            len(samples),
            len(samples) / seconds,
            percentile(totals, 50),
            percentile(totals, 99),
            percentile(firsts, 50) if firsts else None,
            percentile(firsts, 99) if firsts else None,
            _stages(samples),
        )


def percentile(values: Sequence[float], share: float) -> float:
    """The percentile, with linear interpolation as in NumPy."""
    return float(np.percentile(values, share))


def _stages(samples: Sequence[Sample]) -> dict[str, float]:
    names = dict.fromkeys(name for sample in samples for name in sample.stages)
    split = {name: percentile([sample.stages.get(name, 0.0) for sample in samples], 50) for name in names}
    split["elsewhere"] = percentile([sample.total - sum(sample.stages.values()) for sample in samples], 50)
    if "embed" in names:
        outside = [sample.total - sample.stages.get("embed", 0.0) for sample in samples]
        split["outside the embedder"] = percentile(outside, 50)
    return split


class Calls:
    """The four kinds of call to one filled server. Use inside a running event loop.

    Failed unary calls raise BenchError, failed streams RecalldError.
    """

    def __init__(self, target: str, population: Population, corpus: Corpus) -> None:
        self._population = population
        self._corpus = corpus
        self._questions = corpus.questions()
        self._random = random.Random(SEED)  # noqa: S311 - chooses memories, not a secret
        self._channel: Any = Connection.of(target, "", TIMEOUT, False).aio_channel()
        self._client = AsyncMemoryClient(target, "", timeout=TIMEOUT)
        services = stubs(self._channel)
        self._memories, self._search = services["MemoryService"], services["SearchService"]

    def kinds(self) -> Mapping[str, Operation]:
        """The calls by name. `add` is last, since it changes the data of the others."""
        return {"get": self.get, "search": self.search, "stream": self.stream, "add": self.add}

    async def get(self, caller: int) -> Sample:
        """GetMemory of a random memory."""
        return await _timed(
            self._memories.GetMemory, GetMemoryRequest(memory_id=self._population.memory_id(self._any()))
        )

    async def search(self, caller: int) -> Sample:
        """Search with the user of a random memory as scope."""
        return await self.search_for(next(self._questions), self._population.user(self._any()))

    async def search_for(self, question: str, user: str) -> Sample:
        """Search with a user as scope."""
        return await _timed(self._search.Search, SearchRequest(query=question, scope=Scope(user_id=user), limit=LIMIT))

    async def stream(self, caller: int) -> Sample:
        """StreamSearch via the Python client, to the end, with the user of a random memory as scope."""
        query, user = next(self._questions), self._population.user(self._any())
        first = None
        start = perf_counter()
        async with self._client.stream_search(query, user_id=user, limit=LIMIT) as stream:
            async for _ in stream:
                first = first or _since(start)
        total = _since(start)
        if stream.done is None:
            raise BenchError("StreamSearch ended without `done`")
        return Sample(total, {name: 1000 * seconds for name, seconds in stream.done.stages.items()}, first)

    async def add(self, caller: int) -> Sample:
        """Add of one text with infer=false to the user of a random memory, in a conversation per caller."""
        scope = Scope(user_id=self._population.user(self._any()), run_id=f"caller-{caller}")
        text = self._corpus.texts(1)[0]
        return await _timed(self._memories.Add, AddRequest(scope=scope, text=text, infer=False, request_id=uuid4().hex))

    async def close(self) -> None:
        """Close both connections."""
        await self._client.close()
        await self._channel.close()

    def _any(self) -> int:
        return self._random.randrange(self._population.memories)


async def measure(name: str, operation: Operation, callers: int, seconds: float) -> Measurement:
    """Measure `callers` concurrent callers for `seconds`; each sends the next call after the last answer."""
    await together(callers, lambda caller: _repeat(operation, caller, WARM_UP))
    samples: list[Sample] = []
    start = perf_counter()

    async def until_over(caller: int) -> None:
        while perf_counter() - start < seconds:
            samples.append(await operation(caller))

    await together(callers, until_over)
    return Measurement.of(name, callers, samples, perf_counter() - start)


async def _repeat(operation: Operation, caller: int, times: int) -> None:
    for _ in range(times):
        await operation(caller)


async def together(callers: int, work: Callable[[int], Awaitable[None]]) -> None:
    """Run callers concurrently. If one fails, the others are cancelled."""
    tasks = [asyncio.ensure_future(work(caller)) for caller in range(callers)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


async def _timed(rpc: Any, request: Any) -> Sample:
    start = perf_counter()
    call = rpc(request, timeout=TIMEOUT)
    code = await call.code()  # returns at the end of the call, also if it failed
    if code.name != "OK":
        raise BenchError(f"{type(request).__name__} failed: {code.name}: {await call.details()}")
    await call  # decodes the answer, which is part of the time of a call
    total = _since(start)
    return Sample(total, server_timing((await call.trailing_metadata()).get("server-timing", "")))


def server_timing(header: str) -> dict[str, float]:
    """Milliseconds by stage of a Server-Timing header (W3C), such as `embed;dur=3.1`. Ignores entries without `dur`."""
    stages = {}
    for entry in filter(None, (part.strip() for part in header.split(","))):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for key, _, value in (parameter.partition("=") for parameter in parameters):
            if key == "dur":
                stages[name] = float(value)
    return stages


def _since(start: float) -> float:
    return 1000 * (perf_counter() - start)
