"""The system clock and random ids."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
import uuid


class SystemClock:
    """See ports.clock.Clock."""

    def now(self) -> int:
        return time.time_ns() // 1000

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class SystemIds:
    """See ports.clock.Ids. Memory ids are UUIDv7 with the sub-millisecond time in rand_a (RFC 9562, 6.2, method 3).

    They strictly increase within the process.
    """

    def __init__(self) -> None:
        self._last = 0
        self._lock = threading.Lock()

    def memory(self) -> str:
        ticks = time.time_ns() * 4096 // 1_000_000  # 1/4096 ms
        with self._lock:
            ticks = self._last = max(ticks, self._last + 1)
        millis, fraction = divmod(ticks, 4096)
        value = millis << 80 | 7 << 76 | fraction << 64 | 2 << 62 | secrets.randbits(62)
        return str(uuid.UUID(int=value))

    def key(self) -> str:
        return secrets.token_hex(8)

    def secret(self) -> str:
        return secrets.token_hex(32)
