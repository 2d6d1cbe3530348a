"""Benchmark of a server under overload, by default with ten times the load that it can answer.

Four phases of searches on a filled server: one caller; CROWD callers, which measure the capacity; an open-loop load of
`times` the capacity, which does not wait for answers; and one caller again. Server and client share the machine, so the
client does as little as possible: it creates requests beforehand and does not decode answers.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from time import perf_counter
from typing import Any

import grpc
from google.rpc import error_details_pb2, status_pb2

from recalld.testing import LocalServer, start_local
from recalld.v1.memory_pb2 import Scope
from recalld.v1.search_service_pb2 import SearchRequest
from recalld_server.bench import BenchError
from recalld_server.bench.calls import LIMIT, TIMEOUT, percentile
from recalld_server.bench.corpus import Corpus
from recalld_server.bench.filling import Population, store
from recalld_server.bench.load import embedder_alone, resident

MEMORIES = 1_000
CROWD = 8  # callers that saturate the server: more only add waiting time
ALONE = 200  # searches of one caller, before and after the overload
SETTLE = 2.0  # seconds between the overload and the last phase: twice the retry delay of refused calls
TICK = 0.005  # seconds between batches of new searches
DETAILS = "grpc-status-details-bin"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Alone:
    """One caller's times in milliseconds."""

    p50: float
    p99: float


@dataclass(slots=True)
class Flood:
    """Results of a phase: times in milliseconds of admitted and refused searches, and resident memory in MiB."""

    admitted: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    others: Counter[str] = field(default_factory=Counter)
    without_retry_info: int = 0
    resident: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class OverloadReport:
    """The results. Rates are per second, times in milliseconds; `resident` in MiB, None if unknown."""

    seconds: float
    capacity: float
    asked: float
    admitted: float
    before: Alone
    during: Alone
    refusal: Alone
    after: Alone
    refusals: int
    without_retry_info: int
    other_errors: dict[str, int]
    resident: tuple[float | None, float | None]

    @property
    def slowdown(self) -> float:
        """The p99 of admitted searches relative to that of one caller."""
        return self.during.p99 / self.before.p99

    def as_json(self) -> dict[str, Any]:
        """For --json."""
        return {**asdict(self), "slowdown": self.slowdown}


async def run(seconds: float, times: float, say: Say) -> OverloadReport:
    """Run all phases on a temporary server. Raises BenchError, ServerError."""
    model, dimension, _ = await embedder_alone((), say)
    population = Population(MEMORIES)
    async with start_local() as server:
        say(f"{MEMORIES} memories: filling")
        await asyncio.to_thread(store, server.client(), population.items(Corpus(), model, dimension))
        async with grpc.aio.insecure_channel(server.target) as channel:
            searches = _Searches(channel, population)
            await searches.alone(ALONE // 4)
            say("one caller")
            before = await searches.alone(ALONE)
            say(f"{CROWD} callers")
            capacity = await searches.crowd(min(seconds, 5.0))
            say(f"{times:g} times the {capacity:.0f} searches a second of {CROWD} callers")
            filled = await asyncio.to_thread(resident, server)
            flood, lasted = await searches.flood(server, capacity * times, seconds)
            await asyncio.sleep(SETTLE)
            say("one caller again")
            after = await searches.alone(ALONE)
    if not flood.admitted or not flood.refused:
        raise BenchError(
            f"no valid overload: {len(flood.admitted)} searches were admitted, {len(flood.refused)} refused"
        )
    total = len(flood.admitted) + len(flood.refused) + flood.others.total()
    return OverloadReport(
        seconds=lasted,
        capacity=capacity,
        asked=total / lasted,
        admitted=len(flood.admitted) / lasted,
        before=before,
        during=_alone(flood.admitted),
        refusal=_alone(flood.refused),
        after=after,
        refusals=len(flood.refused),
        without_retry_info=flood.without_retry_info,
        other_errors=dict(flood.others),
        resident=(filled, max(flood.resident, default=None)),
    )


class _Searches:
    def __init__(self, channel: grpc.aio.Channel, population: Population) -> None:
        self._call = channel.unary_unary("/recalld.v1.SearchService/Search")  # bytes in, bytes out
        self._questions = Corpus().questions()
        self._population = population
        self._next = 0

    def request(self) -> bytes:
        """A new search, whose question was not asked before."""
        self._next += 1
        scope = Scope(user_id=self._population.user(self._next % self._population.memories))
        made: bytes = SearchRequest(query=next(self._questions), scope=scope, limit=LIMIT).SerializeToString()
        return made

    async def alone(self, count: int) -> Alone:
        """Measure `count` searches of one caller."""
        flood = Flood()
        for _ in range(count):
            await self._one(self.request(), flood)
        _must_all(flood)
        return _alone(flood.admitted)

    async def crowd(self, seconds: float) -> float:
        """The searches per second of CROWD callers, each of which waits for its answers."""
        flood = Flood()
        start = perf_counter()

        async def caller() -> None:
            while perf_counter() - start < seconds:
                await self._one(self.request(), flood)

        await asyncio.gather(*(caller() for _ in range(CROWD)))
        _must_all(flood)
        return len(flood.admitted) / (perf_counter() - start)

    async def flood(self, server: LocalServer, rate: float, seconds: float) -> tuple[Flood, float]:
        """Start `rate` searches per second for `seconds`, and wait for all answers."""
        requests = [self.request() for _ in range(int(rate * seconds))]
        flood, tasks = Flood(), set[asyncio.Task[None]]()
        watch = asyncio.create_task(_watch(server, flood))
        start, begun = perf_counter(), 0
        while begun < len(requests) and (passed := perf_counter() - start) < seconds:
            due = min(len(requests), int(passed * rate))
            for request in requests[begun:due]:
                task = asyncio.create_task(self._one(request, flood))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            begun = max(begun, due)
            await asyncio.sleep(TICK)
        while tasks:
            await asyncio.wait(tasks)
        watch.cancel()
        return flood, perf_counter() - start

    async def _one(self, request: bytes, flood: Flood) -> None:
        start = perf_counter()
        call = self._call(request, timeout=TIMEOUT)
        code = await call.code()
        took = 1000 * (perf_counter() - start)
        if code is grpc.StatusCode.OK:
            flood.admitted.append(took)
        elif code is grpc.StatusCode.RESOURCE_EXHAUSTED:
            flood.refused.append(took)
            flood.without_retry_info += not _complete(await call.trailing_metadata())
        else:
            flood.others[code.name] += 1


def _complete(trailing: Any) -> bool:
    """Whether a refusal has the reason OVERLOADED and a retry delay."""
    status = status_pb2.Status.FromString(trailing.get(DETAILS, b""))
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    found = [detail.Unpack(info) for detail in status.details] + [detail.Unpack(retry) for detail in status.details]
    return any(found) and info.reason == "OVERLOADED" and retry.retry_delay.ToMilliseconds() > 0


async def _watch(server: LocalServer, flood: Flood) -> None:
    while True:
        found = await asyncio.to_thread(resident, server)
        if found is not None:
            flood.resident.append(found)
        await asyncio.sleep(0.5)


def _alone(times: Sequence[float]) -> Alone:
    return Alone(percentile(times, 50), percentile(times, 99))


def _must_all(flood: Flood) -> None:
    if flood.refused or flood.others:
        raise BenchError(f"without overload {len(flood.refused)} searches were refused, {dict(flood.others)} failed")
