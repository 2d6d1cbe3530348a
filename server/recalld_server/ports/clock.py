"""Time and ids as ports, so tests own both."""

from __future__ import annotations

from typing import Protocol


class Clock(Protocol):
    """Wall time. May jump; order comes from sequence numbers, never from here."""

    def now(self) -> int:
        """Microseconds since the Unix epoch, UTC."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Return after about `seconds`; cancellation passes through."""
        ...


class Ids(Protocol):
    """Names for new things. Never gives the same one twice."""

    def memory(self) -> str:
        """A UUIDv7 (RFC 9562) in text: later ones sort after earlier ones of the same process."""
        ...

    def key(self) -> str:
        """The public part of an API key, hexadecimal."""
        ...

    def secret(self) -> str:
        """256 bits nobody can guess, hexadecimal."""
        ...
