"""Times calls and tells callers where the time went."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from recalld_server.rpc.interceptors.around import Details, Interceptor
from recalld_server.telemetry.span import stages


class Telemetry(Interceptor):
    """Collects the stages of a call; trailing metadata `server-timing` has them (W3C Server-Timing, milliseconds)."""

    @asynccontextmanager
    async def around(self, details: Details, context: Any) -> AsyncIterator[None]:
        with stages() as collected:
            try:
                yield
            finally:
                if collected:
                    timing = ", ".join(f"{name};dur={seconds * 1000:.3f}" for name, seconds in collected.items())
                    context.set_trailing_metadata((("server-timing", timing),))
