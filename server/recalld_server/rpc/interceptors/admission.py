"""Which calls are taken: as many as can be answered in good time, the others are refused before any work.

Calls fall into classes, for a search costs twenty times a get, and projects share each class (see shares.py). What an
operator calls, and what ends a key, has a class of its own: it gets through whatever else is asked.

A refusal costs processor time too, and all calls of a server wait in one line for it. So refusals beyond a rate are
held for a while before they are answered: who asks again at once, or without a key, is slowed, and others are not.
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

CALLS = 1024  # at once, streams among them; the library's own limit lies above, for its refusals carry no reason
CROWD = 16  # taken at once in calm, of writes and reads: writes that wait together share an fsync
MOST_SHORT = 256  # of writes and reads, which take a tenth of a search: a burst of 200 adds waits 2 s at most
REFUSALS = 50.0  # a second of one project, and of all callers without a key, are answered at once
HOLD = (0.5, 5.0)  # seconds at least and at most before a further one is answered
HELD_RATE = 100  # a second that are answered of those a project has waiting: the more there are, the longer each waits
HELD = 2048  # at once, in all
HELD_OF_CONNECTION = 100  # at once: they count among its streams, of which it has 256
HELD_BYTES = 64 * 1024  # of one request, which stays in memory meanwhile
OPEN_STREAMS = 64  # of callers without a key, who may follow the server's health and ask for its services

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
LASTING = frozenset({"ImportMemories", "Watch", "ReadExport", "WaitOperation"})  # as their caller likes; see quota.py
CONTROLS = frozenset({"RevokeApiKey", "ListApiKeys"})  # what stops a flood


class Admission(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses before the request is even read from its bytes."""

    def __init__(self, instruments: Instruments, processors: int, calls: int = CALLS) -> None:
        self._instruments = instruments
        self._limit = calls
        self.open = 0
        self._open_streams = 0
        self._refusals = RateLimiter(REFUSALS)
        self._held: Counter[str] = Counter()  # by project, and by connection
        self._held_in_all = 0
        tight = min(max(2, processors), MOST // 4)
        alone = tight // 2  # a search has its model at work beside its other steps, and refusals cost time as well
        contention = Contention()
        self.gates = {
            "search": ConcurrencyLimiter(
                "search", alone, 2 * alone, contention=contention
            ),  # more at once measured no faster, and each waits longer
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
        if key is None:  # who is refused for want of a key makes nobody else wait
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
                raise Overloaded("The server has as many streams of callers without a key as it takes.", subject=kind)
            return
        if self.open >= self._limit and kind != "control":
            raise Overloaded("The server has as many calls as it takes at once.", limit=self._limit, subject="server")
        if gate is not None:
            await gate.enter(project)

    async def _hold(self, project: str, peer: str = "") -> None:
        """Wait before a refusal is answered, if there are too many. `peer` names the connection, where it is known."""
        holders = [project, *([peer] if peer else [])]
        full = self._held_in_all >= HELD or (peer and self._held[peer] >= HELD_OF_CONNECTION)
        if full or self._refusals.take(project):
            return
        self._held_in_all += 1
        self._held.update(holders)
        least, most = HOLD
        seconds = min(most, max(least, self._held[project] / HELD_RATE))
        try:
            await asyncio.sleep(seconds * uniform(0.75, 1.25))  # noqa: S311 - no secret; never many at one moment
        finally:
            self._held_in_all -= 1
            for holder in holders:
                count_down(self._held, holder)

    def _closed(self, _: Any) -> None:
        self.open -= 1

    def _closed_open(self, _: Any) -> None:
        self._open_streams -= 1


class _Place:
    """A call's place in its class, given back once: at its end, or at a stream's first answer, when the work is done.

    The reader of a stream may take as long as it likes, and keeps nobody else from being served.
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
