"""Event times of statements, from absolute dates and, if the time of the message is known, from relative dates.

A date is midnight UTC of its day; a month with a year is the first day of that month. A year alone is not a date.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

_MICROSECONDS = 1_000_000
_MONTHS = {
    name: number
    for number, names in enumerate(
        [
            "january jan",
            "february feb",
            "march mar",
            "april apr",
            "may",
            "june jun",
            "july jul",
            "august aug",
            "september sep sept",
            "october oct",
            "november nov",
            "december dec",
        ],
        start=1,
    )
    for name in names.split()
}
_WEEKDAYS = {name.casefold(): number for number, name in enumerate(calendar.day_name)}
_NUMBERS = {
    name: n
    for n, name in enumerate(["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"], start=1)
}
_NUMBERS |= {"a": 1, "an": 1, "couple of": 2, "a couple of": 2}

_MONTH = rf"(?P<month>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\.?"
_DAY = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_YEAR = r"(?P<year>(?:1[89]|20)\d\d)\b"
_COUNT = rf"(?P<count>\d{{1,3}}|{'|'.join(sorted(_NUMBERS, key=len, reverse=True))})"
_ABSOLUTE = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?<![\d-])(?P<year>\d{4})-(?P<month>\d\d)-(?P<day>\d\d)(?![\d-])",
        rf"\b{_DAY} (?:of )?{_MONTH},? {_YEAR}",
        rf"\b{_MONTH} (?:the )?{_DAY},? {_YEAR}",
        rf"\b{_MONTH},? (?:of )?{_YEAR}",
    )
)
_YEARLESS = tuple(re.compile(p) for p in (rf"\b{_DAY} (?:of )?{_MONTH}(?!\w)", rf"\b{_MONTH} (?:the )?{_DAY}\b(?!:)"))
_DAYS = {
    "the day before yesterday": -2, "day before yesterday": -2, "yesterday": -1, "last night": -1,
    "today": 0, "tonight": 0, "this morning": 0, "this afternoon": 0, "this evening": 0,
    "the day after tomorrow": 2, "day after tomorrow": 2, "tomorrow": 1,
}  # fmt: skip
_NEAR = re.compile(rf"\b(?:{'|'.join(_DAYS)})\b")
_AROUND = re.compile(rf"\b(?P<side>last|next) (?P<unit>week|month|year|{'|'.join(_WEEKDAYS)})\b")
_AGO = re.compile(rf"\b{_COUNT} (?P<unit>day|week|month|year)s? ago\b")
_AHEAD = re.compile(rf"\bin {_COUNT} (?P<unit>day|week|month|year)s?\b(?! or)")
# Characters searched. A statement has its date near the start; a longer text is a document, with dates of other events.
_LOOKED_AT = 1_000


def event_time(text: str, said: int | None) -> int | None:
    """Return the first date of the most exact kind in `text`, in µs UTC, or None.

    `said` is the time of the message in µs UTC. Relative dates and days without a year need it; a day without a year is
    the one nearest to it. Impossible dates (31 June, year 0) are ignored.
    """
    folded = " ".join(text[:_LOOKED_AT].casefold().split())
    for found in _absolute(folded):
        return _microseconds(found)
    day = _day(said)
    if day is None:
        return None
    for found in _relative(folded, day):
        return _microseconds(found)
    return None


def _absolute(text: str) -> Iterator[date]:
    for pattern in _ABSOLUTE:
        for match in pattern.finditer(text):
            parts = match.groupdict()
            month = _MONTHS.get(parts["month"]) or int(parts["month"])
            found = _date(int(parts["year"]), month, int(parts.get("day") or 1))
            if found:
                yield found


def _relative(text: str, said: date) -> Iterator[date]:
    for pattern in _YEARLESS:
        for found in pattern.finditer(text):
            month, day = _MONTHS[found["month"]], int(found["day"])
            near = [d for year in (-1, 0, 1) if (d := _date(said.year + year, month, day))]
            if near:
                yield min(near, key=lambda d: abs(d - said))
    if match := _NEAR.search(text):
        yield from _moved(said, _DAYS[match[0]], "day")
    if match := _AROUND.search(text):
        sign = -1 if match["side"] == "last" else 1
        if match["unit"] in _WEEKDAYS:
            distance = (_WEEKDAYS[match["unit"]] - said.weekday()) * sign % 7 or 7
            yield from _moved(said, sign * distance, "day")
        else:
            yield from _moved(said, sign, match["unit"])
    for pattern, sign in ((_AGO, -1), (_AHEAD, 1)):
        if match := pattern.search(text):
            count = _NUMBERS.get(match["count"]) or int(match["count"])
            yield from _moved(said, sign * count, match["unit"])


def _moved(start: date, count: int, unit: str) -> Iterator[date]:
    """Yield `start` moved by `count` units, clipped to the end of a shorter month; nothing outside of the calendar."""
    if unit in ("day", "week"):
        days = count * (7 if unit == "week" else 1)
        if date.min.toordinal() <= start.toordinal() + days <= date.max.toordinal():
            yield start + timedelta(days=days)
        return
    months = start.year * 12 + start.month - 1 + count * (12 if unit == "year" else 1)
    year, month = divmod(months, 12)
    if date.min.year <= year <= date.max.year:
        yield date(year, month + 1, min(start.day, calendar.monthrange(year, month + 1)[1]))


def _date(year: int, month: int, day: int) -> date | None:
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _day(said: int | None) -> date | None:
    """Return the day of a time; None if it is outside of the calendar."""
    if said is None:
        return None
    try:
        return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=said)).date()
    except OverflowError:
        return None


def _microseconds(day: date) -> int:
    return (day.toordinal() - date(1970, 1, 1).toordinal()) * 86_400 * _MICROSECONDS
