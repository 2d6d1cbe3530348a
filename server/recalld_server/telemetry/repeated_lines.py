"""Lines of the log that say the same again and again."""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from dataclasses import dataclass

SECONDS = 60.0  # for which a line is counted
BURST = 3  # times that it is written meanwhile
KEPT = 512  # different lines that are remembered

_IDS = ("correlation_id", "trace_id")  # tell calls apart, not lines
OWN = set(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}  # what every record carries


@dataclass(slots=True)
class _Seen:
    since: float
    written: int = 0
    left_out: int = 0


class RepeatedLines(logging.Filter):
    """Leaves out warnings and errors that were written a moment ago; the next one says how many it stands for.

    Two lines are the same when they come from one logger with the same words and the same names and values.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: OrderedDict[tuple[object, ...], _Seen] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the line is written. Called under the lock of the handler's logger, from any thread."""
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
