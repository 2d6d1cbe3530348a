"""Admission control: admits as many calls as can be answered in time and refuses the others before any work is done.

Each call belongs to a class (search, write, read, control), because a search costs twenty times as much as a get.
Projects share each class (see concurrency_limiter.py). The calls of operators and the calls that revoke a key form the
class `control`, whose capacity is independent of the load of the other classes.

A refusal costs processor time too, and all calls of a server compete for it. So refusals beyond a rate are delayed.
This slows down callers that retry at once or call without a key, and only these.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from random import uniform
from typing import Any

import grpc
from grpc_status import rpc_status

from recalld_server.domain.errors import Overloaded
from recalld_server.rpc.interceptors.auth import OPEN, caller
from recalld_server.rpc.interceptors.base import Continuation, Details, Handler, after_each_answer, metadata
from recalld_server.rpc.interceptors.call_status import refuse
from recalld_server.rpc.interceptors.concurrency_limiter import MOST, ConcurrencyLimiter, Contention
from recalld_server.rpc.interceptors.correlation import HEADER, usable
from recalld_server.rpc.interceptors.rate_limiter import RateLimiter, count_down
from recalld_server.rpc.render.errors import status_of
from recalld_server.telemetry import metric_names
from recalld_server.telemetry.instruments import Instruments

CALLS = 1024  # concurrent calls, including streams; gRPC's own limit is higher, because its refusals carry no reason
CROWD = 16  # concurrent writes or reads while not overloaded; concurrent writes share an fsync
MOST_SHORT = 256  # running and waiting writes or reads; each takes a tenth of a search: 200 adds wait at most 2 s
REFUSALS = 50.0  # refusals per second and project that are sent at once; all callers without a key count as one project
HOLD = (0.5, 5.0)  # shortest and longest delay of further refusals, in seconds
HELD_RATE = 100  # delayed refusals that a project gets per second: the more are waiting, the longer the delay
HELD = 2048  # delayed refusals at once, of all projects; beyond it, refusals are sent at once
HELD_OF_CONNECTION = 100  # delayed refusals of one connection: each occupies one of its 256 streams
HELD_BYTES = 64 * 1024  # largest request whose refusal is delayed, because the request stays in memory meanwhile
OPEN_STREAMS = 64  # concurrent health and reflection streams, which need no key

SEARCHES = frozenset({"Search", "StreamSearch"})
WRITES = frozenset(
    {
        "Add",
        "UpdateMemory",
        "DeleteMemory",
        "BatchUpdateMemories",
        "BatchDeleteMemories",
        "DeleteMemories",
        "RestoreMemory",
        "ForgetMemories",
        "DeleteByInstruction",
        "DeleteEntity",
        "SetFeedback",
        "CancelOperation",
        "DeleteOperation",
    }
)
LASTING = frozenset({"ImportMemories", "Watch", "ReadExport", "WaitOperation"})  # of any duration; see quota.py
CONTROLS = frozenset({"RevokeApiKey", "ListApiKeys"})  # an admin needs these to stop a flood of calls


class Admission(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Admits or refuses each call before its request is deserialized."""

    def __init__(self, instruments: Instruments, processors: int, calls: int = CALLS) -> None:
        self._instruments = instruments
        self._limit = calls
        self.open = 0
        self._open_streams = 0
        self._refusals = RateLimiter(REFUSALS)
        self._held: Counter[str] = Counter()  # delayed refusals by project and by connection
        self._held_in_all = 0
        tight = min(max(2, processors), MOST // 4)
        alone = tight // 2  # a search keeps a second processor busy with its model, and refusals need time as well
        contention = Contention()
        self.gates = {
            "search": ConcurrencyLimiter(
                "search", alone, 2 * alone, contention=contention
            ),  # more concurrent searches gave no higher throughput and a longer wait for each
            "write": ConcurrencyLimiter("write", tight, CROWD, MOST_SHORT, contention),
            "read": ConcurrencyLimiter("read", 2 * tight, CROWD, MOST_SHORT, contention),
            "control": ConcurrencyLimiter("control", 2 * tight, CROWD),
        }

    async def intercept_service(self, continuation: Continuation, details: Details) -> Handler | None:
        """See grpc.aio.ServerInterceptor."""
        handler = await continuation(details)
        if handler is None:
            return None
        key = caller()
        if key is None:  # calls without a valid key use none of the capacity of the others
            if not details.method.startswith(OPEN):
                await self._hold("")
                return handler
            return self._guarded(handler, None, "", "open", details) if handler.response_streaming else handler
        name = details.method.rpartition("/")[2]
        kind = "search" if name in SEARCHES else "write" if name in WRITES else "read"
        if name in CONTROLS or not key.project:
            kind = "control"
        return self._guarded(handler, None if name in LASTING else self.gates[kind], key.project, kind, details)

    def _guarded(
        self, handler: Any, gate: ConcurrencyLimiter | None, project: str, kind: str, details: Details
    ) -> Handler:
        inner = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream
        parse = handler.request_deserializer or bytes

        async def guarded(raw: Any, context: Any) -> Any:
            try:
                await self._enter(gate, project, kind)
            except Overloaded as refusal:
                self._instruments.count(metric_names.REFUSED, "OVERLOADED", kind)
                if handler.request_streaming or len(raw) <= HELD_BYTES:
                    await self._hold(project, context.peer())
                return _refuse(refusal, details, context)
            if kind == "open":
                self._open_streams += 1
                context.add_done_callback(self._closed_open)
            else:
                self.open += 1
                context.add_done_callback(self._closed)
            place = _Place(gate, project)
            try:
                if handler.request_streaming:
                    return await inner(raw, context)
                with after_each_answer(place.free):
                    return await inner(parse(raw), context)
            finally:
                place.free()

        slot = ("stream_" if handler.request_streaming else "unary_") + (
            "stream" if handler.response_streaming else "unary"
        )
        changes: dict[str, Callable[[Any, Any], Awaitable[Any]] | None] = {slot: guarded}
        if not handler.request_streaming:
            changes["request_deserializer"] = None
        replaced: Handler = handler._replace(**changes)
        return replaced

    async def _enter(self, gate: ConcurrencyLimiter | None, project: str, kind: str) -> None:
        if kind == "open":
            if self._open_streams >= OPEN_STREAMS:
                text = "The server has the maximum number of open health and reflection streams; try again later."
                raise Overloaded(text, subject=kind)
            return
        if self.open >= self._limit and kind != "control":
            text = "The server has the maximum number of concurrent calls; try again later."
            raise Overloaded(text, limit=self._limit, subject="server")
        if gate is not None:
            await gate.enter(project)

    async def _hold(self, project: str, peer: str = "") -> None:
        """Delay a refusal if the project gets more than REFUSALS per second. `peer` is the connection, if known."""
        holders = [project, *([peer] if peer else [])]
        full = self._held_in_all >= HELD or (peer and self._held[peer] >= HELD_OF_CONNECTION)
        if full or self._refusals.take(project):
            return
        self._held_in_all += 1
        self._held.update(holders)
        least, most = HOLD
        seconds = min(most, max(least, self._held[project] / HELD_RATE))
        try:
            await asyncio.sleep(seconds * uniform(0.75, 1.25))  # noqa: S311 - jitter, no secret
        finally:
            self._held_in_all -= 1
            for holder in holders:
                count_down(self._held, holder)

    def _closed(self, _: Any) -> None:
        self.open -= 1

    def _closed_open(self, _: Any) -> None:
        self._open_streams -= 1


class _Place:
    """The slot of a call in its class. It is released once: when the call ends or when a stream has sent an answer.

    The work of a stream is done when its first answer is sent, so a slow reader does not block other calls.
    """

    def __init__(self, gate: ConcurrencyLimiter | None, project: str) -> None:
        self._gate = gate
        self._project = project

    def free(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.leave(self._project)


def _refuse(refusal: Overloaded, details: Details, context: Any) -> None:
    given = metadata(details).get(HEADER, "")
    status = rpc_status.to_status(status_of(refusal, ""))
    echoed = ((HEADER, given),) if usable(given) else ()
    refuse(context, status.code, status.details, (*status.trailing_metadata, *echoed))
