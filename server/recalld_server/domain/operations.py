"""Operations: long-running work in a queue, and its state. Times are in µs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from recalld_server.domain.errors import RecalldError
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import RequestKey


class OperationKind(str, Enum):
    """The kind of an operation."""

    ADD = "ADD"
    EXPORT = "EXPORT"
    REBUILD_INDEX = "REBUILD_INDEX"
    REEMBED_PROJECT = "REEMBED_PROJECT"
    DELETE_PROJECT = "DELETE_PROJECT"


class OperationState(str, Enum):
    """The state of an operation. SUCCEEDED, FAILED and CANCELLED are terminal."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def ended(self) -> bool:
        """Whether the state is terminal."""
        return self not in (OperationState.PENDING, OperationState.RUNNING)


BUILDS = (OperationKind.REBUILD_INDEX, OperationKind.REEMBED_PROJECT)  # at most one unfinished in a project
QUEUED = (OperationKind.ADD, OperationKind.EXPORT)  # any number, within the limits of the project


@dataclass(frozen=True, slots=True)
class NewOperation:
    """An operation to queue. `payload` is its encoded command (domain.commands), which is erased at its end.

    `request` makes it idempotent: the same request returns the same operation. `scope` is the scope of an add.
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
    """An operation. `fence`, the fencing number, grows with every claim; writes with an older one are refused.

    `checkpoint` is the state from which a new attempt continues, `result` the data of the answer, `error` the output of
    `described`. `payload` is set only for the worker that has claimed the operation.
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
        """The key of the outcome of a queued add: the caller's request id, or the operation id if there is none."""
        return RequestKey("AddAsync", self.request_id or self.id, self.fingerprint)


def described(error: Exception) -> dict[str, Any]:
    """Return an error in its stored form: type, message, violations and metadata; of others than RecalldError nothing.

    An unexpected error has an empty type, so that callers see it as INTERNAL without its text.
    """
    if not isinstance(error, RecalldError):
        return {"type": ""}
    return {
        "type": type(error).__name__,
        "message": error.message,
        "violations": [list(pair) for pair in error.violations],
        "metadata": error.metadata,
    }
