"""One connection of the HTTP server: bounded in time, and given up for a newer one when there are too many."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

CONNECTIONS = 256  # at once
PATIENCE = 15.0  # seconds for a request and its answer, from the connection's begin or the answer before


class Connection(H11Protocol):
    """Closes what says nothing, or sends or reads too slowly, so that probes are answered however many connect."""

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._timer: asyncio.TimerHandle | None = None
        self.since = 0.0  # the loop's time when it last had nothing to do

    @property
    def idle(self) -> bool:
        """Whether no request is under way."""
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
        """The next request has its own time."""
        self._wait()
        super().on_response_complete()

    def give_up(self) -> None:
        """Close at once, whatever is still to be sent."""
        self.connections.discard(self)
        self.transport.abort()

    def _wait(self) -> None:
        if self._timer:
            self._timer.cancel()
        self.since = self.loop.time()
        self._timer = self.loop.call_later(PATIENCE, self.give_up)
