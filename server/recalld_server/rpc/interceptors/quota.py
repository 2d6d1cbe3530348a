"""Quotas of API keys and projects: concurrent streams and waits and, if configured, calls per second."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from recalld_server.domain.errors import Overloaded, RateLimited, StreamLimit
from recalld_server.rpc.interceptors.auth import OPEN, access
from recalld_server.rpc.interceptors.base import Continuation, Details, Handler, wrapped
from recalld_server.rpc.interceptors.rate_limiter import RateLimiter, count_down
from recalld_server.telemetry import metric_names
from recalld_server.telemetry.instruments import Instruments

STREAMS = 64  # concurrent streams and waits of one key
PROJECT_STREAMS = 256  # of all keys of a project
WAITS = ("/WaitOperation",)  # count as streams, because the caller decides how long they last


@dataclass(frozen=True, slots=True)
class Limits:
    """The most concurrent streams of a key and of a project, and the most calls per second of each (0: unlimited)."""

    streams: int = STREAMS
    project_streams: int = PROJECT_STREAMS
    rate: float = 0.0
    project_rate: float = 0.0


class Quota(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Enforces the limits per key and per project. Operator keys belong to no project and are counted by key alone.

    Raises StreamLimit, RateLimited, and Overloaded if all projects together have too many streams.
    """

    def __init__(self, instruments: Instruments, limits: Limits, calls: int) -> None:
        self._instruments = instruments
        self._limits = limits
        self._all_streams = calls * 3 // 4  # the rest of the server's calls is reserved for short calls
        self._of_keys: Counter[tuple[str, str]] = Counter()
        self._of_projects: Counter[str] = Counter()
        self._key_rates, self._project_rates = RateLimiter(limits.rate), RateLimiter(limits.project_rate)

    @property
    def open(self) -> int:
        """The number of open streams and waits."""
        return self._of_keys.total()

    async def intercept_service(self, continuation: Continuation, details: Details) -> Handler | None:
        """See grpc.aio.ServerInterceptor."""
        handler = await continuation(details)
        if handler is None or details.method.startswith(OPEN):
            return handler
        lasting = handler.request_streaming or handler.response_streaming or details.method.endswith(WAITS)
        return wrapped(handler, lambda context: self._around(lasting))

    @asynccontextmanager
    async def _around(self, lasting: bool) -> AsyncIterator[None]:
        project, key = access().project, access().principal
        self._rate(project, key)
        if not lasting:
            yield
            return
        self._admit(project, key)
        self._of_keys[project, key] += 1
        self._of_projects[project] += 1
        try:
            yield
        finally:
            count_down(self._of_keys, (project, key))
            count_down(self._of_projects, project)

    def _rate(self, project: str, key: str) -> None:
        if not self._key_rates.take(f"{project} {key}"):
            self._instruments.count(metric_names.REFUSED, "RATE_LIMITED", "call")
            raise RateLimited(key_id=key, subject=key)
        if project and not self._project_rates.take(project):
            self._instruments.count(metric_names.REFUSED, "RATE_LIMITED", "call")
            raise RateLimited(
                "The API keys of the project together exceed the rate limit of the project; try again later.",
                project_id=project,
                subject=project,
            )

    def _admit(self, project: str, key: str) -> None:
        limits = self._limits
        if self._of_keys[project, key] >= limits.streams:
            self._instruments.count(metric_names.REFUSED, "STREAM_LIMIT", "stream")
            raise StreamLimit(limit=limits.streams, subject=key)
        if not project:
            return
        if self._of_projects[project] >= limits.project_streams:
            self._instruments.count(metric_names.REFUSED, "STREAM_LIMIT", "stream")
            raise StreamLimit(
                "The API keys of the project together have the maximum of open streams and waits; end one first.",
                limit=limits.project_streams,
                subject=project,
            )
        if self._of_projects.total() - self._of_projects[""] >= self._all_streams:
            self._instruments.count(metric_names.REFUSED, "OVERLOADED", "stream")
            raise Overloaded(
                "The server has the maximum number of open streams and waits; try again later.",
                limit=self._all_streams,
                subject="stream",
            )
