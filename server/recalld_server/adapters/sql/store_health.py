"""The known faults of a store. A change is logged once; callers get an error with each refused request."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass
from enum import Enum

from recalld_server.domain.errors import RecalldError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Words:
    """`begun` and `ended` are log messages, `told` is the error text for callers. `lasting`: needs an operator."""

    begun: str
    ended: str
    told: str
    lasting: bool = False


class StoreFault(Enum):
    """A fault of a store. The log records its begin, and its end with the number of refused requests."""

    GONE = _Words(
        "its file is gone or was replaced, so nothing is read or written: put the same file back, or restart the "
        "server to use what is there now",
        "its file is back",
        "The file of this store is gone or was replaced under the server: its operator must restart it.",
        lasting=True,
    )
    DAMAGED = _Words(
        "it is damaged, so changes are refused. A damaged ledger: stop the server, run `recalld doctor`, restore a "
        "backup. A damaged index: restart the server, which rebuilds it",
        "it is sound",
        "This store is damaged: its operator must restore it.",
        lasting=True,
    )
    UNWRITABLE = _Words(
        "it can't be written, so changes are refused: the disk is full, read-only or failing; the server recovers by "
        "itself once the disk can be written",
        "it can be written again",
        "This store can't be written now because its disk is full, read-only or failing; reads still work.",
    )
    UNREACHABLE = _Words("it can't be reached", "it answers again", "")


class StoreHealth:
    """The known faults of one store; `unavailable` is the error type for callers. Thread-safe."""

    def __init__(self, store: str, unavailable: type[RecalldError]) -> None:
        self._store = store
        self._unavailable = unavailable
        self._lock = threading.Lock()
        self._since: dict[StoreFault, float] = {}
        self._refused: dict[StoreFault, int] = {}

    def has(self, *troubles: StoreFault) -> bool:
        """Whether any of these faults is known."""
        return any(trouble in self._since for trouble in troubles)

    def require(self, *troubles: StoreFault) -> None:
        """Raise the error of the first of these faults that is known, and count the refused request."""
        for trouble in troubles:
            if trouble in self._since:
                raise self.found(trouble)

    def found(self, trouble: StoreFault, cause: str = "") -> RecalldError:
        """Record a fault and a refused request. Logs the fault once. Returns the error for the caller."""
        with self._lock:
            first = trouble not in self._since
            self._since.setdefault(trouble, time.monotonic())
            self._refused[trouble] = self._refused.get(trouble, 0) + 1
        if first:
            log.error("%s: %s", self._store, trouble.value.begun, extra={"cause": cause} if cause else None)
        return self.error(trouble)

    def error(self, trouble: StoreFault) -> RecalldError:
        """The error that callers get for a fault."""
        error = self._unavailable(trouble.value.told)
        error.lasting = trouble.value.lasting
        return error

    def over(self, trouble: StoreFault) -> None:
        """Record that a fault has passed, and log it. Cheap if it was not known."""
        if trouble not in self._since:
            return
        with self._lock:
            since, refused = self._since.pop(trouble, None), self._refused.pop(trouble, 0)
        if since is not None:
            seconds = round(time.monotonic() - since, 1)
            extra = {"refused": refused, "seconds": seconds}
            log.warning("%s: %s", self._store, trouble.value.ended, extra=extra)
