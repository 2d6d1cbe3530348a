"""Writes one log line for each call."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import copy_context
from functools import partial
from time import perf_counter
from typing import Any

import grpc

from recalld_server.rpc.interceptors.base import Details, Interceptor
from recalld_server.rpc.interceptors.correlation import correlation_id

log = logging.getLogger("recalld.call")

QUIET = ("/grpc.health.", "/grpc.reflection.")  # logged at DEBUG, because probes call them all the time


class Log(Interceptor):
    """Logs method, code, duration and correlation id of each call, and never the contents of messages."""

    @asynccontextmanager
    async def around(self, details: Details, context: Any) -> AsyncIterator[None]:
        start = perf_counter()
        gone = ""
        try:
            yield
        except asyncio.CancelledError:
            gone = "DEADLINE_EXCEEDED" if context.time_remaining() == 0 else "CANCELLED"
            raise
        finally:
            quiet = details.method.startswith(QUIET)
            code = context.code()
            name = code.name if isinstance(code, grpc.StatusCode) else "OK"
            extra = {
                "rpc": details.method,
                "code": gone or name,
                "ms": round((perf_counter() - start) * 1000, 2),
                "correlation_id": correlation_id(),
            }
            write = partial(log.log, logging.DEBUG if quiet else logging.INFO, "call", extra=extra)
            ids = copy_context()  # has the correlation id and the trace id, which the formatter adds
            context.add_done_callback(lambda _: ids.run(write))  # after the answer is sent, which must not wait for it
