"""Expiry times of memories and API keys."""

from __future__ import annotations

from recalld_server.domain.errors import FieldInvalid


def refuse_past(expire_time: int | None, now: int, field: str = "expire_time") -> None:
    """Raise FieldInvalid if the expiry time of a memory or a key is not in the future. Times are µs; None: never."""
    if expire_time is not None and expire_time <= now:
        text = "must be in the future"
        raise FieldInvalid.at(field, text)
