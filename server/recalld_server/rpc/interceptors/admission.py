"""Which calls are taken: as many as can be answered in good time, the others are refused before any work.

Calls fall into classes, for a search costs twenty times a get. In calm a class works on some calls at once and lets
others wait, MOST together: 64 callers that each wait for their answer never see a refusal. One call too many proves
that more is asked than can be done. From then on the class is *tight*: it works on as many calls as keep the processors
busy, nobody waits, and those that waited are refused, for they would only have got late answers. It is calm again CALM
seconds after the last refusal. So the calls taken are answered nearly as fast as on an idle server, however many come.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

import grpc
from grpc_status import rpc_status

from recalld_server.domain.errors import Overloaded
from recalld_server.rpc.errors import status_of
from recalld_server.rpc.interceptors.around import Continuation, Details, Handler, after_each_answer, metadata
from recalld_server.rpc.interceptors.auth import caller
from recalld_server.rpc.interceptors.correlation import HEADER
from recalld_server.telemetry import names
from recalld_server.telemetry.instruments import Instruments

log = logging.getLogger(__name__)

CALLS = 1024  # at once, streams among them; the library's own limit lies above, for its refusals carry no reason
CROWD = 16  # taken at once in calm, of writes and reads: writes that wait together share an fsync
MOST = 64  # running and waiting, in calm
MOST_SHORT = 256  # of writes and reads, which take a tenth of a search: a burst of 200 adds waits 2 s at most
CALM = 1.0  # seconds; as long as refused callers are asked to wait

EXEMPT = ("/grpc.", "/google.longrunning.")  # probes and polls: cheap, and needed most when there is trouble
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
    }
)
LASTING = frozenset({"ImportMemories", "Watch", "ReadExport"})  # as long as their caller likes; see quota.py


@dataclass(slots=True)
class Gate:
    """Calls of one class: how many at once when overloaded (`tight`), in calm (`crowd`), with the waiting (`most`)."""

    name: str
    tight: int
    crowd: int
    most: int = MOST
    running: int = 0
    waiting: deque[asyncio.Future[None]] = field(default_factory=deque)
    refused: int = 0  # since it became tight
    calm_at: float = 0.0

    async def enter(self) -> None:
        """Return when the call may run; pair with `leave`. Raises Overloaded."""
        if self.refused and monotonic() >= self.calm_at:
            log.info("no longer overloaded", extra={"class": self.name, "refused": self.refused})
            self.refused = 0
        if self.refused:
            if self.running >= self.tight:
                self._refuse()
            self.running += 1
            return
        if self.running < self.crowd:
            self.running += 1
            return
        if len(self.waiting) >= self.most - self.crowd:
            log.warning("overloaded", extra={"class": self.name, "running": self.running})
            while self.waiting:
                turn = self.waiting.popleft()
                if not turn.done():
                    turn.set_exception(self._refusal())
            self._refuse()
        await self._wait()

    def leave(self) -> None:
        """The call is over: its place goes to the first that waits."""
        while self.waiting:
            turn = self.waiting.popleft()
            if not turn.done():
                turn.set_result(None)  # the place stays taken
                return
        self.running -= 1

    async def _wait(self) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self.leave()  # it got the place and is no longer there to use it
            elif turn in self.waiting:
                self.waiting.remove(turn)
            raise

    def _refuse(self) -> None:
        raise self._refusal()

    def _refusal(self) -> Overloaded:
        self.refused += 1
        self.calm_at = monotonic() + CALM
        return Overloaded(limit=self.tight, subject=self.name)


class Admission(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Refuses before the request is even read from its bytes."""

    def __init__(self, instruments: Instruments, processors: int, calls: int = CALLS) -> None:
        self._instruments = instruments
        self._limit = calls
        self.open = 0
        tight = min(max(2, processors), MOST // 4)
        alone = tight // 2  # a search has its model at work beside its other steps, and refusals cost time as well
        self.gates = {
            "search": Gate("search", alone, 2 * alone),  # more at once measured no faster, and each waits longer
            "write": Gate("write", tight, CROWD, MOST_SHORT),
            "read": Gate("read", 2 * tight, CROWD, MOST_SHORT),
        }

    async def intercept_service(self, continuation: Continuation, details: Details) -> Handler | None:
        handler = await continuation(details)
        if handler is None or details.method.startswith(EXEMPT) or caller() is None:
            return handler  # who is refused for want of a key makes nobody else wait
        name = details.method.rpartition("/")[2]
        kind = "search" if name in SEARCHES else "write" if name in WRITES else "read"
        gate = None if name in LASTING else self.gates[kind]
        return self._guarded(handler, gate, kind, details)

    def _guarded(self, handler: Any, gate: Gate | None, kind: str, details: Details) -> Handler:
        inner = handler.unary_unary or handler.stream_unary or handler.unary_stream or handler.stream_stream
        parse = handler.request_deserializer or bytes

        async def guarded(raw: Any, context: Any) -> Any:
            try:
                await self._enter(gate)
            except Overloaded as refusal:
                self._instruments.count(names.REFUSED, "OVERLOADED", kind)
                await _abort(refusal, details, context)  # raises
            self.open += 1
            context.add_done_callback(self._closed)
            place = _Place(gate)
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

    async def _enter(self, gate: Gate | None) -> None:
        if self.open >= self._limit:
            raise Overloaded("The server has as many calls as it takes at once.", limit=self._limit, subject="server")
        if gate is not None:
            await gate.enter()

    def _closed(self, _: Any) -> None:
        self.open -= 1


class _Place:
    """A call's place in its class, given back once: at its end, or at a stream's first answer, when the work is done.

    The reader of a stream may take as long as it likes, and keeps nobody else from being served.
    """

    def __init__(self, gate: Gate | None) -> None:
        self._gate = gate

    def free(self) -> None:
        gate, self._gate = self._gate, None
        if gate is not None:
            gate.leave()


async def _abort(refusal: Overloaded, details: Details, context: Any) -> None:
    given = metadata(details).get(HEADER, "")
    status = rpc_status.to_status(status_of(refusal, ""))
    echoed = ((HEADER, given),) if 0 < len(given) <= 128 and given.isascii() and given.isprintable() else ()
    await context.abort(status.code, status.details, (*status.trailing_metadata, *echoed))
