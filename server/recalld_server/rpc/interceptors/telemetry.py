"""Measures and traces every call, and reports the time of its stages to the caller."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from time import perf_counter
from typing import Any

import grpc

from recalld_server.rpc.interceptors.base import Details, Interceptor, metadata
from recalld_server.telemetry import metric_names
from recalld_server.telemetry.correlation import CORRELATION, TRACE, trace_of
from recalld_server.telemetry.instruments import Instruments
from recalld_server.telemetry.span import observe, stages


class Telemetry(Interceptor):
    """Collects the stages of a call and sends them as trailing metadata `server-timing` (W3C Server-Timing, in ms).

    The call's span continues the trace of the caller's `traceparent`. The log has the trace id even without tracing.
    """

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments

    @asynccontextmanager
    async def around(self, details: Details, context: Any) -> AsyncIterator[None]:
        observe(self._instruments)  # never reset: it applies to the call's own task, which ends with the call
        with self._counted(details, context), stages() as collected:
            try:
                yield
            finally:
                if collected:
                    timing = ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in collected.items())
                    context.set_trailing_metadata((("server-timing", timing),))

    @contextmanager
    def _counted(self, details: Details, context: Any) -> Iterator[None]:
        method = details.method.lstrip("/")
        start = perf_counter()
        gone = ""
        with self._traced(details, method) as call:
            try:
                yield
            except asyncio.CancelledError:
                gone = "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"
                raise
            finally:
                code = context.code()
                name = gone or (code.name if isinstance(code, grpc.StatusCode) else "OK")
                self._instruments.observe(metric_names.CALLS, perf_counter() - start, method, name)
                if call is not None:
                    call.answered(metric_names.STATUS, name)

    @contextmanager
    def _traced(self, details: Details, method: str) -> Iterator[Any]:
        given = metadata(details)
        if self._instruments.tracer is None:
            token = TRACE.set(trace_of(given.get("traceparent", "")))
            try:
                yield None
            finally:
                TRACE.reset(token)
            return
        attributes = {
            metric_names.SYSTEM: "grpc",
            metric_names.METHOD: method,
            metric_names.CORRELATION: CORRELATION.get(),
        }
        with self._instruments.tracer.call(method, given, attributes) as call:
            token = TRACE.set(call.trace_id)
            try:
                yield call
            finally:
                TRACE.reset(token)
