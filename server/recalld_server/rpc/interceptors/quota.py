"""What one key may use: so many streams at once and, if set, so many calls a second."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import monotonic
from typing import Any

import grpc

from recalld_server.domain.errors import RateLimited, StreamLimit
from recalld_server.rpc.interceptors.around import Continuation, Details, Handler, wrapped
from recalld_server.rpc.interceptors.auth import OPEN, access
from recalld_server.telemetry import names
from recalld_server.telemetry.instruments import Instruments

STREAMS = 64  # of one key
KEYS = 10_000  # whose rates are remembered; the one that called longest ago is forgotten first


@dataclass(slots=True)
class _Bucket:
    """Calls a key may still make, as of a moment (a token bucket that holds one second's worth)."""

    left: float
    at: float


class Quota(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Counts by key. Raises StreamLimit and RateLimited. `rate` is calls a second and key, 0 for no limit."""

    def __init__(self, instruments: Instruments, rate: float = 0.0, streams: int = STREAMS) -> None:
        self._instruments = instruments
        self._rate = rate
        self._limit = streams
        self._streams: dict[tuple[str, str], int] = {}
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()

    @property
    def open(self) -> int:
        """Streams under way."""
        return sum(self._streams.values())

    async def intercept_service(self, continuation: Continuation, details: Details) -> Handler | None:
        """See grpc.aio.ServerInterceptor."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(OPEN):
            return handler
        lasting = handler.request_streaming or handler.response_streaming
        return wrapped(handler, lambda context: self._around(context, lasting))

    @asynccontextmanager
    async def _around(self, context: Any, lasting: bool) -> AsyncIterator[None]:
        key = (access().project, access().principal)
        if self._rate:
            self._take(key)
        if not lasting:
            yield
            return
        if self._streams.get(key, 0) >= self._limit:
            self._instruments.count(names.REFUSED, "STREAM_LIMIT", "stream")
            raise StreamLimit(limit=self._limit, subject=key[1])
        self._streams[key] = self._streams.get(key, 0) + 1
        try:
            yield
        finally:
            self._streams[key] -= 1
            if not self._streams[key]:
                del self._streams[key]

    def _take(self, key: tuple[str, str]) -> None:
        now, most = monotonic(), max(1.0, self._rate)
        bucket = self._buckets.setdefault(key, _Bucket(most, now))
        bucket.left = min(most, bucket.left + (now - bucket.at) * self._rate)
        bucket.at = now
        self._buckets.move_to_end(key)
        if len(self._buckets) > KEYS:
            self._buckets.popitem(last=False)
        if bucket.left < 1:
            self._instruments.count(names.REFUSED, "RATE_LIMITED", "call")
            raise RateLimited(key_id=key[1], subject=key[1])
        bucket.left -= 1
