"""One id for each call: the caller's, or one of ours."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

from recalld_server.rpc.interceptors.around import Details, Interceptor, metadata

HEADER = "x-correlation-id"
LONGEST = 128

_id: ContextVar[str] = ContextVar("correlation_id", default="")


def correlation_id() -> str:
    """The id of the running call; empty outside of calls."""
    return _id.get()


class Correlation(Interceptor):
    """Echoes `x-correlation-id` in the initial metadata. An unprintable or overlong one is replaced, not refused."""

    @asynccontextmanager
    async def around(self, details: Details, context: Any) -> AsyncIterator[None]:
        given = metadata(details).get(HEADER, "")
        fit = 0 < len(given) <= LONGEST and given.isascii() and given.isprintable()
        token = _id.set(given if fit else secrets.token_hex(8))
        try:
            await context.send_initial_metadata(((HEADER, _id.get()),))
            yield
        finally:
            _id.reset(token)
