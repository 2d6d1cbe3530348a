"""Connections of the HTTP server, with a time limit per request and eviction of idle connections."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 256  # concurrent connections
PATIENCE = 15.0  # seconds for a request and its response, from the start of the connection or the previous response


class Connection(H11Protocol):
    """An HTTP/1.1 connection that closes itself when a client is silent or too slow.

    When there are CONNECTIONS connections, a new one closes the connection that has been idle longest. So probes are
    answered however many clients connect.
    """

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._timer: asyncio.TimerHandle | None = None
        self.since = 0.0  # the loop's time of the start or of the last response

    @property
    def idle(self) -> bool:
        """Whether no request is being processed."""
        return self.cycle is None or self.cycle.response_complete

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """See asyncio.Protocol."""
        if len(self.connections) >= CONNECTIONS:
            idle = [other for other in self.connections if isinstance(other, Connection) and other.idle]
            if idle:
                min(idle, key=lambda other: other.since).give_up()
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio.Protocol."""
        if self._timer:
            self._timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Start the time limit of the next request."""
        self._wait()
        super().on_response_complete()

    def give_up(self) -> None:
        """Close the connection at once and drop unsent data."""
        self.connections.discard(self)
        self.transport.abort()

    def _wait(self) -> None:
        if self._timer:
            self._timer.cancel()
        self.since = self.loop.time()
        self._timer = self.loop.call_later(PATIENCE, self.give_up)
