"""The thread that writes a SQLite file: it takes the changes that wait into one fsync, each under its own savepoint."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine

from recalld_server.concurrency.fair_queue import FairQueue

T = TypeVar("T")

GROUP = 64  # changes in one fsync: beyond this the wait of the first outweighs the gain
SECONDS = 0.03  # after which a transaction takes no further change: what waits for the next one waits no longer


@dataclass(frozen=True, slots=True, eq=False)
class Change:
    """What is to be written, and who waits for what it gives."""

    work: Callable[[Connection], Any]
    future: Future[Any]


class SqliteWriter:
    """Takes turns between lines, so that who writes much delays others by one change of theirs at a time.

    `translated` gives the error for the caller of what SQLite raised. `committed` is called after each commit and
    before its callers are answered; what it raises they get instead.
    """

    def __init__(
        self,
        engine: Engine,
        name: str,
        translated: Callable[[BaseException], BaseException],
        committed: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._committed = committed
        self._translated = translated
        self._waiting: FairQueue[Change] = FairQueue()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"write-{name}", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Changes that wait."""
        return len(self._waiting)

    def put(self, work: Callable[[Connection], T], line: str) -> Future[T]:
        """What `work` will have given once it is durable. Not to be called after `close`."""
        future: Future[T] = Future()
        with self._changed:
            self._waiting.put(line, Change(work, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Write what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _serve(self) -> None:
        while change := self._next():
            self._transact(change)

    def _next(self) -> Change | None:
        """The next change, waited for; None when none will come."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
            if change := self._take():
                return change
            if self._closed:
                return None

    def _take(self) -> Change | None:
        """The next change whose caller still waits, if there is one."""
        while True:
            with self._changed:
                taken = self._waiting.take()
            if taken is None:
                return None
            _, change = taken
            if change.future.set_running_or_notify_cancel():
                return change

    def _transact(self, first: Change) -> None:
        """One transaction. Answers go out after the commit; a failed commit fails every change of it."""
        ends = time.monotonic() + SECONDS
        most = min(GROUP, 1 + self.queued)
        group = [first.future]
        answers: list[Any] = []
        failures: dict[int, BaseException] = {}  # by place in the group
        broken: BaseException | None = None
        try:
            with self._engine.connect() as connection, connection.begin():
                change: Change | None = first
                while change:
                    answer, failure = _done(connection, change.work, alone=most == 1)
                    answers.append(answer)
                    if failure:  # goes to the caller it belongs to
                        failures[len(group) - 1] = failure
                        if most == 1 or not _in_transaction(connection):
                            broken = failure  # a full disk, for one, undoes the transaction and not just this change
                            raise failure
                    change = self._take() if len(group) < most and time.monotonic() < ends else None
                    if change:
                        group.append(change.future)
            self._committed()
        except Exception as error:  # noqa: BLE001 - nobody's change is stored, as far as anybody may rely on it
            failures = {place: failures.get(place, broken or error) for place in range(len(group))}
        for place, future in enumerate(group):
            if failure := failures.get(place):
                future.set_exception(self._translated(failure))
            else:
                future.set_result(answers[place])


def _done(
    connection: Connection, work: Callable[[Connection], Any], *, alone: bool
) -> tuple[Any, BaseException | None]:
    """What the work gives, or what it raised: not what undoing it raised after that."""
    failure: BaseException | None = None
    try:
        with nullcontext() if alone else connection.begin_nested():
            try:
                return work(connection), None
            except Exception as error:
                failure = error
                raise
    except Exception as error:  # noqa: BLE001 - goes to the caller
        return None, failure or error


def _in_transaction(connection: Connection) -> bool:
    return bool(connection.connection.driver_connection.in_transaction)  # type: ignore[union-attr]
