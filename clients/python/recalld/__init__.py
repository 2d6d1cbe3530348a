"""recalld: a client of the self-hosted memory service.

    from recalld import MemoryClient

    with MemoryClient("localhost:7420") as client:
        client.add("I'm a vegetarian", user_id="alex")
        client.search("What may I cook?", user_id="alex")

`AsyncMemoryClient` has the same methods for asyncio. The generated stubs of the whole API are in `recalld.v1`.
"""

from __future__ import annotations

from recalld.async_client import AsyncMemoryClient
from recalld.client import MemoryClient
from recalld.errors import (
    Cancelled,
    Conflict,
    DeadlineExceeded,
    FilterError,
    Internal,
    InvalidRequest,
    NotFound,
    NotYetAvailable,
    OutOfRange,
    Overloaded,
    PermissionDenied,
    PreconditionFailed,
    RecalldError,
    Unauthenticated,
    Unavailable,
    Violation,
)
from recalld.imports import ImportFailure, ImportProgress
from recalld.streams import AsyncSearchStream, SearchStream, Summary
from recalld.watching import AsyncWatchStream, WatchStream

__all__ = [
    "AsyncMemoryClient",
    "AsyncSearchStream",
    "AsyncWatchStream",
    "Cancelled",
    "Conflict",
    "DeadlineExceeded",
    "FilterError",
    "ImportFailure",
    "ImportProgress",
    "Internal",
    "InvalidRequest",
    "MemoryClient",
    "NotFound",
    "NotYetAvailable",
    "OutOfRange",
    "Overloaded",
    "PermissionDenied",
    "PreconditionFailed",
    "RecalldError",
    "SearchStream",
    "Summary",
    "Unauthenticated",
    "Unavailable",
    "Violation",
    "WatchStream",
]
