"""The writer thread of a SQLite file. It groups queued changes into one transaction (one fsync) with savepoints."""

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

GROUP = 64  # changes per transaction: with more, the first change waits longer than the saved fsyncs are worth
SECONDS = 0.03  # age at which a transaction takes no further change, so that its changes do not wait longer


@dataclass(frozen=True, slots=True, eq=False)
class QueuedChange:
    """A queued change and the future of its result."""

    work: Callable[[Connection], Any]
    future: Future[Any]


class SqliteWriter:
    """Serves lines (projects) in turn, so that a busy line delays another by one change at a time.

    `translated` maps an error of SQLite to the error for the caller. `committed` is called after each commit, before
    the callers get their results; if it raises, they get that error instead.
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
        self._waiting: FairQueue[QueuedChange] = FairQueue()
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name=f"write-{name}", daemon=True)
        self._thread.start()

    @property
    def queued(self) -> int:
        """Number of queued changes."""
        return len(self._waiting)

    def put(self, work: Callable[[Connection], T], line: str) -> Future[T]:
        """Queue a change. The future completes with the result of `work` once it is durable. Invalid after `close`."""
        future: Future[T] = Future()
        with self._changed:
            self._waiting.put(line, QueuedChange(work, future))
            self._changed.notify()
        return future

    def close(self) -> None:
        """Write all queued changes, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join()

    def _serve(self) -> None:
        while change := self._next():
            self._transact(change)

    def _next(self) -> QueuedChange | None:
        """Wait for the next change; None after `close`, once the queue is empty."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
            if change := self._take():
                return change
            if self._closed:
                return None

    def _take(self) -> QueuedChange | None:
        """The next queued change whose caller was not cancelled, if any."""
        while True:
            with self._changed:
                taken = self._waiting.take()
            if taken is None:
                return None
            _, change = taken
            if change.future.set_running_or_notify_cancel():
                return change

    def _transact(self, first: QueuedChange) -> None:
        """Run one transaction. Futures complete after the commit; a failed commit fails all changes of the group."""
        ends = time.monotonic() + SECONDS
        most = min(GROUP, 1 + self.queued)
        group = [first.future]
        answers: list[Any] = []
        failures: dict[int, BaseException] = {}  # by position in the group
        broken: BaseException | None = None
        try:
            with self._engine.connect() as connection, connection.begin():
                change: QueuedChange | None = first
                while change:
                    answer, failure = _done(connection, change.work, alone=most == 1)
                    answers.append(answer)
                    if failure:
                        failures[len(group) - 1] = failure
                        if most == 1 or not _in_transaction(connection):
                            # Some errors, such as a full disk, roll back the whole transaction, not only this change.
                            broken = failure
                            raise failure
                    change = self._take() if len(group) < most and time.monotonic() < ends else None
                    if change:
                        group.append(change.future)
            self._committed()
        except Exception as error:  # noqa: BLE001 - no change of the group counts as stored
            failures = {place: failures.get(place, broken or error) for place in range(len(group))}
        for place, future in enumerate(group):
            if failure := failures.get(place):
                future.set_exception(self._translated(failure))
            else:
                future.set_result(answers[place])


def _done(
    connection: Connection, work: Callable[[Connection], Any], *, alone: bool
) -> tuple[Any, BaseException | None]:
    """Run `work` (under a savepoint unless `alone`) and return its result or its error.

    If the rollback to the savepoint fails too, the original error is returned.
    """
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
