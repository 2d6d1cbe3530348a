"""Logs: JSON lines for machines, plain lines on a terminal."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

from recalld_server.telemetry.correlation import CORRELATION, TRACE
from recalld_server.telemetry.repeated_lines import OWN, RepeatedLines

# The secret of a key, and what follows `Bearer` or the name of the header that carries credentials.
_SECRET = re.compile(r"(rk_[0-9A-Za-z]+_)[0-9A-Za-z]+|(\bbearer |authorization\W{1,6}\w+ )[^\s'\"]+", re.IGNORECASE)


def setup(level: str, *, json: bool) -> None:
    """Send everything at `level` and above to standard error. Raises ValueError for an unknown level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if json else PlainFormatter())
    handler.addFilter(_speaks)
    handler.addFilter(RepeatedLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for talkative in ("opentelemetry", "uvicorn", "httpx"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # tells every start what it always does


def _speaks(record: logging.LogRecord) -> bool:
    """Whether a record may be written: gRPC logs whole metadata that is not UTF-8, whatever stands in it."""
    return not (record.name.startswith("grpc.") and str(record.msg).startswith("Invalid encoding"))


def redacted(line: str) -> str:
    """A line without the secrets of keys and without credentials, whichever library wrote it."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}…", line)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    """What the call added, and the ids of the running call."""
    ids = {"correlation_id": CORRELATION.get(), "trace_id": TRACE.get()}
    added = {key: value for key, value in record.__dict__.items() if key not in OWN}
    return {**{key: value for key, value in ids.items() if value}, **added}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and whatever the call added."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **_extra(record),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return redacted(json.dumps(line, ensure_ascii=False, default=str))


class PlainFormatter(logging.Formatter):
    """Time, level, message, then name=value."""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {key}={value}" for key, value in _extra(record).items())
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{time} {record.levelname.lower()} {record.getMessage()}{extra}"
        return redacted(f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line)
