"""A log filter that drops repeated warnings and errors."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass

SECONDS = 60.0  # length of the window in which a line is counted
BURST = 3  # repetitions of a line that are written per window
KEPT = 512  # distinct lines that are counted; the one first seen longest ago is dropped

_IDS = ("correlation_id", "trace_id")  # not compared: they differ between calls
OWN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}  # the attributes of every record


@dataclass(slots=True)
class _Seen:
    since: float
    written: int = 0
    left_out: int = 0


class RepeatedLines(logging.Filter):
    """Drops warnings and errors that were written BURST times within SECONDS.

    The first line of the next window has the number of dropped lines as `left_out`. Two lines are equal if logger,
    level, message and `extra` values are.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: OrderedDict[tuple[object, ...], _Seen] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written. Any thread may call it, without a lock: a race can only miscount."""
        if record.levelno < logging.WARNING:
            return True
        extra = (f"{name}={value}" for name, value in record.__dict__.items() if name not in OWN and name not in _IDS)
        line = (record.name, record.levelno, record.getMessage(), *extra)
        now = time.monotonic()
        seen = self._seen.setdefault(line, _Seen(now))
        if len(self._seen) > KEPT:
            self._seen.popitem(last=False)
        if now - seen.since >= SECONDS:
            if seen.left_out:
                record.left_out = seen.left_out
            self._seen[line] = seen = _Seen(now)
        seen.written += 1
        if seen.written <= BURST:
            return True
        seen.left_out += 1
        return False
