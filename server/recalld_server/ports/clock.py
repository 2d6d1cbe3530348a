"""The ports of time and of id generation, so that tests control both."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Wall-clock time. It may jump, so sequence numbers define the order of changes."""

    def now(self) -> int:
        """Return the microseconds since the Unix epoch, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Sleep for about `seconds`. Can be cancelled."""
        ...


class Ids(Protocol):
    """Generator of unique ids and secrets."""

    def memory(self) -> str:
        """Return a UUIDv7 (RFC 9562) as text. Within a process, later ids sort after earlier ones."""
        ...

    def key(self) -> str:
        """Return the public part of an API key, hexadecimal."""
        ...

    def secret(self) -> str:
        """Return 256 random bits from a cryptographically secure source, hexadecimal."""
        ...
