"""What is known to be wrong with a store: told in the log when it changes, and to callers with each refusal."""

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
    """`begun` and `ended` are lines of the log, `told` what callers read; `lasting`: it does not pass by itself."""

    begun: str
    ended: str
    told: str
    lasting: bool = False


class StoreFault(Enum):
    """A way in which a store can't do its work. What follows a word in the log says how many requests it cost."""

    GONE = _Words(
        "its file is gone or was replaced, so nothing is read or written: put the same file back, or restart the "
        "server to use what is there now",
        "its file is back",
        "The file of this store is gone or was replaced under the server: its operator must restart it.",
        lasting=True,
    )
    DAMAGED = _Words(
        "it is damaged, so no change is taken: stop the server, ask `recalld doctor`, restore a backup; the index is "
        "made anew by a restart",
        "it is sound",
        "This store is damaged: its operator must restore it.",
        lasting=True,
    )
    UNWRITABLE = _Words(
        "it can't be written, so changes are refused: the disk is full, read-only or failing; this ends by itself once "
        "there is room",
        "it can be written again",
        "This store can't be written now, its disk being full or read-only; reading goes on.",
    )
    UNREACHABLE = _Words("it can't be reached", "it answers again", "")


class StoreHealth:
    """The troubles of one store. Used from any thread."""

    def __init__(self, store: str, unavailable: type[RecalldError]) -> None:
        self._store = store
        self._unavailable = unavailable
        self._lock = threading.Lock()
        self._since: dict[StoreFault, float] = {}
        self._refused: dict[StoreFault, int] = {}

    def has(self, *troubles: StoreFault) -> bool:
        """Whether one of these is known."""
        return any(trouble in self._since for trouble in troubles)

    def require(self, *troubles: StoreFault) -> None:
        """Raises the error of the first of these that is known."""
        for trouble in troubles:
            if trouble in self._since:
                raise self.found(trouble)

    def found(self, trouble: StoreFault, cause: str = "") -> RecalldError:
        """Note a trouble, which the log hears of once; gives the error for the caller it cost an answer."""
        with self._lock:
            first = trouble not in self._since
            self._since.setdefault(trouble, time.monotonic())
            self._refused[trouble] = self._refused.get(trouble, 0) + 1
        if first:
            log.error("%s: %s", self._store, trouble.value.begun, extra={"cause": cause} if cause else None)
        return self.error(trouble)

    def error(self, trouble: StoreFault) -> RecalldError:
        """What a trouble is for callers."""
        error = self._unavailable(trouble.value.told)
        error.lasting = trouble.value.lasting
        return error

    def over(self, trouble: StoreFault) -> None:
        """Note that a trouble has passed. Costs nothing where there was none."""
        if trouble not in self._since:
            return
        with self._lock:
            since, refused = self._since.pop(trouble, None), self._refused.pop(trouble, 0)
        if since is not None:
            seconds = round(time.monotonic() - since, 1)
            extra = {"refused": refused, "seconds": seconds}
            log.warning("%s: %s", self._store, trouble.value.ended, extra=extra)
