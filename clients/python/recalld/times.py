"""Conversion of datetimes, days, ISO 8601 strings and Unix seconds. Times without a zone are in UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

Time = datetime | date | str


def span(value: Any) -> tuple[datetime, datetime]:
    """The first and last microsecond of a day, or a moment twice if the value has a time of day.

    Raises ValueError if the value is not a Time or cannot be parsed.
    """
    if isinstance(value, str):
        value = _read(value)
    if isinstance(value, datetime):
        try:
            moment = value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)
        except OverflowError as error:
            raise ValueError("must be in the years 1 to 9999 in UTC") from error
        return moment, moment
    if isinstance(value, date):
        return datetime.combine(value, time.min, UTC), datetime.combine(value, time.max, UTC)
    raise ValueError("must be a day (YYYY-MM-DD), an ISO 8601 time, a date or a datetime")


def moment(value: Any) -> datetime:
    """A moment: Unix seconds, a time, or the start of a day. Raises ValueError."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        try:
            return datetime.fromtimestamp(value, UTC)
        except (OverflowError, OSError) as error:
            raise ValueError("must be Unix seconds in the years 1 to 9999") from error
    return span(value)[0]


def expiry(value: Any) -> datetime:
    """The moment of expiry. A day is the last valid one, so the result is its end. Raises ValueError."""
    first, last = span(value)
    try:
        return first if first == last else last + timedelta(microseconds=1)
    except OverflowError as error:
        raise ValueError("must be before the end of the year 9999") from error


def text(stamp: Any) -> str:
    """Format a protobuf Timestamp as ISO 8601 in UTC, with microseconds and offset."""
    return read(stamp).isoformat(timespec="microseconds")


def read(stamp: Any) -> datetime:
    """Convert a protobuf Timestamp to an aware datetime in UTC."""
    moment: datetime = stamp.ToDatetime(tzinfo=UTC)
    return moment


def expiry_text(stamp: Any) -> str:
    """The reverse of `expiry`: the last valid day if the moment is midnight UTC, otherwise the moment."""
    end = read(stamp)
    if end.time() == time.min and end.date() != date.min:
        return (end.date() - timedelta(days=1)).isoformat()
    return text(stamp)


def _read(value: str) -> datetime | date:
    try:
        return date.fromisoformat(value)
    except ValueError:
        pass  # it may have a time of day
    try:
        return datetime.fromisoformat(value)
    except ValueError as error:
        raise ValueError("must be a day (YYYY-MM-DD) or an ISO 8601 time") from error
