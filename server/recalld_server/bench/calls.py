"""The calls of a load measurement, and what many callers make of them."""

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

TIMEOUT = 30.0  # seconds of a call
LIMIT = 10  # hits asked for
WARM_UP = 3  # calls of each caller that do not count

Operation = Callable[[int], Awaitable["Sample"]]


@dataclass(frozen=True, slots=True)
class Sample:
    """One call in milliseconds: to its end, to its first hit if it is a stream, and by stage at the server."""

    total: float
    stages: Mapping[str, float]
    first: float | None = None


@dataclass(frozen=True, slots=True)
class Measurement:
    """What `callers` at a time got from one kind of call. `throughput` is calls a second, times are milliseconds.

    `stages` has the median of each stage, of what was spent `elsewhere` (gRPC, queues, this client) and, where there is
    an `embed` stage, of all `outside the embedder`.
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
        """Summarise at least one sample."""
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
    """Linear between the two nearest values, as numpy has it."""
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
    """The four kinds of call against one filled server, over one connection. Use inside a running event loop.

    Any failure ends the measurement: unary calls raise BenchError, streams a RecalldError.
    """

    def __init__(self, target: str, population: Population, corpus: Corpus) -> None:
        self._population = population
        self._corpus = corpus
        self._questions = corpus.questions()
        self._random = random.Random(SEED)  # noqa: S311 - chooses what to read, hides nothing
        self._channel: Any = Connection.of(target, "", TIMEOUT, False).aio_channel()
        self._client = AsyncMemoryClient(target, "", timeout=TIMEOUT)
        services = stubs(self._channel)
        self._memories, self._search = services["MemoryService"], services["SearchService"]

    def kinds(self) -> Mapping[str, Operation]:
        """The calls by name; add is last, since it alone changes what the others read."""
        return {"get": self.get, "search": self.search, "stream": self.stream, "add": self.add}

    async def get(self, caller: int) -> Sample:
        """GetMemory of any memory of the fill."""
        return await _timed(
            self._memories.GetMemory, GetMemoryRequest(memory_id=self._population.memory_id(self._any()))
        )

    async def search(self, caller: int) -> Sample:
        """Search inside the user of any memory."""
        return await self.search_for(next(self._questions), self._population.user(self._any()))

    async def search_for(self, question: str, user: str) -> Sample:
        """Search inside a user."""
        return await _timed(self._search.Search, SearchRequest(query=question, scope=Scope(user_id=user), limit=LIMIT))

    async def stream(self, caller: int) -> Sample:
        """StreamSearch inside the user of any memory, by the Python client, to the end."""
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
        """Add of one text as it stands (infer=false) to a user of the fill, in a conversation of the caller's own."""
        scope = Scope(user_id=self._population.user(self._any()), run_id=f"caller-{caller}")
        text = self._corpus.texts(1)[0]
        return await _timed(self._memories.Add, AddRequest(scope=scope, text=text, infer=False, request_id=uuid4().hex))

    async def close(self) -> None:
        """End both connections."""
        await self._client.close()
        await self._channel.close()

    def _any(self) -> int:
        return self._random.randrange(self._population.memories)


async def measure(name: str, operation: Operation, callers: int, seconds: float) -> Measurement:
    """Let `callers` call, each as soon as its last call is answered, until `seconds` are over."""
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
    """Let callers work side by side; the failure of one ends the others."""
    tasks = [asyncio.ensure_future(work(caller)) for caller in range(callers)]
    try:
        await asyncio.gather(*tasks)
    finally:
        for task in tasks:  # the others have nothing to do once one has failed
            task.cancel()


async def _timed(rpc: Any, request: Any) -> Sample:
    start = perf_counter()
    call = rpc(request, timeout=TIMEOUT)
    code = await call.code()  # returns at the end of the call, also of one that failed
    if code.name != "OK":
        raise BenchError(f"{type(request).__name__} failed: {code.name}: {await call.details()}")
    await call  # decodes the answer, which a caller waits for as well
    total = _since(start)
    return Sample(total, server_timing((await call.trailing_metadata()).get("server-timing", "")))


def server_timing(header: str) -> dict[str, float]:
    """Milliseconds by stage from `embed;dur=3.1, index;dur=1.2` (W3C Server-Timing); ignores what has no `dur`."""
    stages = {}
    for entry in filter(None, (part.strip() for part in header.split(","))):
        name, *parameters = (part.strip() for part in entry.split(";"))
        for key, _, value in (parameter.partition("=") for parameter in parameters):
            if key == "dur":
                stages[name] = float(value)
    return stages


def _since(start: float) -> float:
    return 1000 * (perf_counter() - start)
