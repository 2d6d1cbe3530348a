"""The correlation id of each call: the caller's, or a generated one."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from recalld_server.rpc.interceptors.base import Continuation, Details, Handler, Interceptor, metadata, wrapped
from recalld_server.telemetry.correlation import CORRELATION

HEADER = "x-correlation-id"
LONGEST = 128


def correlation_id() -> str:
    """The correlation id of the running call; empty outside of calls."""
    return CORRELATION.get()


def usable(given: str) -> bool:
    """Whether the id that a caller gave can be echoed and logged."""
    return 0 < len(given) <= LONGEST and given.isascii() and given.isprintable()


class Correlation(Interceptor):
    """Echoes `x-correlation-id`. An id that is missing, not printable ASCII or too long is replaced, not refused.

    A stream echoes the id in its initial metadata, a unary call in its trailing metadata, and a failed call of either
    kind too (see Errors). Unary calls send no initial metadata, because clients do not retry a call after they have
    received it (gRFC A6), and because it is a message of its own, which cost 0.16 ms per call.
    """

    async def intercept_service(self, continuation: Continuation, details: Details) -> Handler | None:
        handler = await continuation(details)
        return handler and wrapped(handler, lambda context: self._around(details, context, handler.response_streaming))

    @asynccontextmanager
    async def _around(self, details: Details, context: Any, streams: bool) -> AsyncIterator[None]:
        given = metadata(details).get(HEADER, "")
        token = CORRELATION.set(given if usable(given) else secrets.token_hex(8))
        try:
            if streams:
                await context.send_initial_metadata(((HEADER, CORRELATION.get()),))
            yield
            if not streams:
                context.set_trailing_metadata((*context.trailing_metadata(), (HEADER, CORRELATION.get())))
        finally:
            CORRELATION.reset(token)
