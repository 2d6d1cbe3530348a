"""When what is stored ends."""

from __future__ import annotations

from recalld_server.domain.errors import FieldInvalid


def refuse_past(expire_time: int | None, now: int, field: str = "expire_time") -> None:
    """Raise FieldInvalid for a memory or a key that would be gone before it is there. Times are µs; None: never."""
    if expire_time is not None and expire_time <= now:
        text = "must lie in the future"
        raise FieldInvalid.at(field, text)
