"""Dates in statements."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from recalld_server.domain.extraction.event_times import event_time

SAID = int(datetime(2024, 5, 15, 18, 30, tzinfo=UTC).timestamp()) * 1_000_000  # a Wednesday


def day(when: str) -> int:
    return int(datetime.fromisoformat(when).replace(tzinfo=UTC).timestamp()) * 1_000_000


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("Was born on 1990-04-12", "1990-04-12"),
        ("Met Anna on 12 May 2024", "2024-05-12"),
        ("Met Anna on the 3rd of June 2023", "2023-06-03"),
        ("Met Anna on June 3rd, 2023", "2023-06-03"),
        ("Moved in Sept. 2021", "2021-09-01"),
        ("Moved on 1850-01-01", "1850-01-01"),
        ("Not 2023-02-30 but 2023-03-01", "2023-03-01"),
    ],
)
def test_absolute_dates_need_no_time(text: str, when: str) -> None:
    assert event_time(text, None) == day(when)
    assert event_time(text, SAID) == day(when)


@pytest.mark.parametrize(
    ("text", "when"),
    [
        ("Ran today", "2024-05-15"),
        ("Ran yesterday", "2024-05-14"),
        ("Ran the day before yesterday", "2024-05-13"),
        ("Flies the day after tomorrow", "2024-05-17"),
        ("Moved last week", "2024-05-08"),
        ("Planning a trip to Japan next month", "2024-06-15"),
        ("Retired last year", "2023-05-15"),
        ("Quit three weeks ago", "2024-04-24"),
        ("Flies in 10 days", "2024-05-25"),
        ("Met Bob last Wednesday", "2024-05-08"),
        ("Meets Bob next Monday", "2024-05-20"),
        ("Party on 2 January", "2024-01-02"),
        ("Party on December 30th", "2023-12-30"),
    ],
)
def test_relative_dates_need_the_time_of_the_message(text: str, when: str) -> None:
    assert event_time(text, SAID) == day(when)
    assert event_time(text, None) is None


@pytest.mark.parametrize(
    "text", ["Likes tea", "Version 1.2.2024-05", "Born 2023-02-30", "May I come", "In 2019", "5 May 99999999", "99 May"]
)
def test_what_is_no_date(text: str) -> None:
    assert event_time(text, None) is None


def test_the_end_of_the_month_and_of_the_calendar() -> None:
    assert event_time("Moves next month", day("2024-01-31")) == day("2024-02-29")
    assert event_time("Flies in 999 years", day("9999-12-31")) is None
    assert event_time("Ran yesterday", 2**62) is None
