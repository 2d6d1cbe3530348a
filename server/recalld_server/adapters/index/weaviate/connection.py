"""Monitors the connection to Weaviate's gRPC port.

The driver retries a refused call for a minute without telling its caller. A second channel detects within milliseconds
that Weaviate is down, so that calls fail at once. It also counts outages, because after a kill Weaviate may have lost
vectors that it had confirmed. Searches use this channel too.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import grpc

OPTIONS = [
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),  # also the time limit of one attempt
    ("grpc.max_reconnect_backoff_ms", 1000),
    ("grpc.client_idle_timeout_ms", 2**31 - 1),  # never close an idle channel: that would count as an outage
    ("grpc.max_receive_message_length", 100 * 2**20),  # like the driver: fits 10,000 objects with their filter fields
]


class ConnectionMonitor:
    """Monitors one address. Must be created inside the event loop that uses it; the first `up` opens the channel."""

    def __init__(self, target: str, *, tls: bool) -> None:
        self.target = target
        self._tls = tls
        self._up = False
        self._known = asyncio.Event()
        self._channel: grpc.aio.Channel | None = None
        self._watching: asyncio.Task[None] | None = None
        self.outage_count = 0

    @property
    def away(self) -> bool:
        """Whether the last attempt to connect failed or the connection is lost."""
        return self._known.is_set() and not self._up

    async def up(self) -> grpc.aio.Channel | None:
        """The channel if it is connected, else None. Waits only for the result of the first attempt to connect."""
        if self._channel is None:
            self._channel = self._opened()
            self._watching = asyncio.create_task(self._watch(self._channel))
        await self._known.wait()
        return self._channel if self._up else None

    async def close(self) -> None:
        if self._watching:
            self._watching.cancel()
            with suppress(asyncio.CancelledError):
                await self._watching
        if self._channel:
            await self._channel.close()

    async def _watch(self, channel: grpc.aio.Channel) -> None:
        while True:
            state = channel.get_state(try_to_connect=True)
            up = state is grpc.ChannelConnectivity.READY
            if self._up and not up:
                self.outage_count += 1
            self._up = up
            if up or state is grpc.ChannelConnectivity.TRANSIENT_FAILURE:
                self._known.set()
            await channel.wait_for_state_change(state)

    def _opened(self) -> grpc.aio.Channel:
        if self._tls:
            return grpc.aio.secure_channel(self.target, grpc.ssl_channel_credentials(), options=OPTIONS)
        return grpc.aio.insecure_channel(self.target, options=OPTIONS)
