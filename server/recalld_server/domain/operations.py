"""Long-running work and what is known of it. Times in µs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from recalld_server.domain.errors import RecalldError
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import RequestKey


class OperationKind(str, Enum):
    """What work it is."""

    ADD = "ADD"
    EXPORT = "EXPORT"
    REBUILD_INDEX = "REBUILD_INDEX"
    REEMBED_PROJECT = "REEMBED_PROJECT"
    DELETE_PROJECT = "DELETE_PROJECT"


class OperationState(str, Enum):
    """How far it is. The last three are terminal."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens."""
        return self not in (OperationState.PENDING, OperationState.RUNNING)


BUILDS = (OperationKind.REBUILD_INDEX, OperationKind.REEMBED_PROJECT)  # one at a time in a project
QUEUED = (OperationKind.ADD, OperationKind.EXPORT)  # as many as callers ask for, within the limits of a project


@dataclass(frozen=True, slots=True)
class NewOperation:
    """Work to do. `payload` is its command (domain.commands); it is erased when the work ends.

    With a `request` the same work under the same id is one operation. `scope` is where an add will store.
    """

    id: str
    kind: OperationKind
    subject: str
    payload: bytes = b""
    total: int = 0
    request: RequestKey | None = None
    scope: Scope = Scope()


@dataclass(frozen=True, slots=True)
class Operation:
    """One piece of work. `fence` grows with every claim: whoever holds an older one no longer counts.

    `checkpoint` is where work goes on after a crash, `result` what its answer is made of, `error` a described error.
    `payload` is there only for the worker that has claimed it; else it is empty.
    """

    id: str
    access: Access
    kind: OperationKind
    state: OperationState
    subject: str
    request_id: str
    fingerprint: str
    create_time: int
    start_time: int | None
    update_time: int
    end_time: int | None
    completed: int
    total: int
    attempt: int
    cancel_requested: bool
    fence: int
    payload: bytes = b""
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    result: Mapping[str, Any] = field(default_factory=dict)
    error: Mapping[str, Any] = field(default_factory=dict)

    @property
    def request(self) -> RequestKey:
        """Under which the outcome of an add is kept: the caller's request id, or the operation's own."""
        return RequestKey("AddAsync", self.request_id or self.id, self.fingerprint)


def described(error: Exception) -> dict[str, Any]:
    """An error as it is kept: its type, message and metadata. What nobody foresaw keeps only its type."""
    if not isinstance(error, RecalldError):
        return {"type": ""}
    return {
        "type": type(error).__name__,
        "message": error.message,
        "violations": [list(pair) for pair in error.violations],
        "metadata": error.metadata,
    }
