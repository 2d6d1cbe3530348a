"""The context variables that link the log lines, spans and responses of one call."""

from __future__ import annotations

import re
from contextvars import ContextVar

CORRELATION: ContextVar[str] = ContextVar("correlation_id", default="")
TRACE: ContextVar[str] = ContextVar("trace_id", default="")  # 32 hex digits

_TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?\Z")


def trace_of(traceparent: str) -> str:
    """The trace id of a `traceparent` header (W3C Trace Context); empty if the header is invalid."""
    found = _TRACEPARENT.match(traceparent)
    return found.group(1) if found and set(found.group(1)) != {"0"} else ""
