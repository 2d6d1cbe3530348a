"""Logging: JSON lines for machines, plain lines for terminals, both without credentials."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime

from recalld_server.telemetry.correlation import CORRELATION, TRACE
from recalld_server.telemetry.repeated_lines import OWN, RepeatedLines

# Matches the secret of an API key, and credentials after `Bearer` or after the name of the authorization header.
_SECRET = re.compile(r"(rk_[0-9A-Za-z]+_)[0-9A-Za-z]+|(\bbearer |authorization\W{1,6}\w+ )[^\s'\"]+", re.IGNORECASE)


def setup(level: str, *, json: bool) -> None:
    """Log to standard error from `level` on. Raises ValueError for an unknown level."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if json else PlainFormatter())
    handler.addFilter(_speaks)
    handler.addFilter(RepeatedLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for talkative in ("opentelemetry", "uvicorn", "httpx"):
        logging.getLogger(talkative).setLevel(logging.WARNING)
    logging.getLogger("alembic").setLevel(logging.WARNING)  # it logs the same lines at every start


def _speaks(record: logging.LogRecord) -> bool:
    """Whether a record may be written. gRPC logs invalid metadata in full, and that may contain secrets."""
    return not (record.name.startswith("grpc.") and str(record.msg).startswith("Invalid encoding"))


def redacted(line: str) -> str:
    """Replace the secrets of API keys and other credentials in a line with `…`."""
    return _SECRET.sub(lambda found: f"{found[1] or found[2]}…", line)


def _extra(record: logging.LogRecord) -> dict[str, object]:
    """The `extra` values of a record, and the ids of the running call."""
    ids = {"correlation_id": CORRELATION.get(), "trace_id": TRACE.get()}
    added = {key: value for key, value in record.__dict__.items() if key not in OWN}
    return {**{key: value for key, value in ids.items() if value}, **added}


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: time, level, logger, message, ids and `extra` values."""

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
    """Formats a record as time, level and message, followed by name=value for ids and `extra` values."""

    def format(self, record: logging.LogRecord) -> str:
        extra = "".join(f" {key}={value}" for key, value in _extra(record).items())
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S")
        line = f"{time} {record.levelname.lower()} {record.getMessage()}{extra}"
        return redacted(f"{line}\n{self.formatException(record.exc_info)}" if record.exc_info else line)
