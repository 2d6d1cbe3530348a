"""The log writes repeated messages once, with a count."""

from __future__ import annotations

import logging

import pytest

from recalld_server.telemetry import repeated_lines
from recalld_server.telemetry.repeated_lines import BURST, RepeatedLines


def record(text: str, level: int = logging.WARNING, **extra: object) -> logging.LogRecord:
    return logging.makeLogRecord({"name": "here", "msg": text, "levelno": level, **extra})


def test_a_line_is_written_a_few_times_and_then_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    found = RepeatedLines()
    written = [found.filter(record("store away", correlation_id=str(number))) for number in range(100)]
    assert written == [True] * BURST + [False] * (100 - BURST)
    assert found.filter(record("store away", store="index"))  # another store
    assert found.filter(record("store away", logging.ERROR))
    now = repeated_lines.time.monotonic()
    monkeypatch.setattr(repeated_lines.time, "monotonic", lambda: now + repeated_lines.SECONDS)
    later = record("store away")
    assert found.filter(later)
    assert later.__dict__["left_out"] == 100 - BURST


def test_what_is_no_warning_is_always_written() -> None:
    found = RepeatedLines()
    assert all(found.filter(record("call", logging.INFO)) for _ in range(100))


def test_it_remembers_so_many_lines_only() -> None:
    found = RepeatedLines()
    for number in range(3 * repeated_lines.KEPT):
        assert found.filter(record(f"line {number}"))
    assert len(found._seen) == repeated_lines.KEPT
