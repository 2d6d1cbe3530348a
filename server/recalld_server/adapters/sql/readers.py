"""The pool of reader threads. Projects take turns, and a read is stopped once its caller is gone.

A read may start if its project uses fewer threads than are free. So a single project gets at most half of the threads,
and another project always finds a free one, however slow the reads of the first are.
"""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from recalld_server.concurrency.fair_queue import FairQueue
from recalld_server.domain.errors import ReadTooCostly

T = TypeVar("T")

SECONDS = 30.0  # time limit of a read
AGAIN = 0.05  # seconds between two attempts to stop a read: an interrupt between two statements has no effect
_thread = threading.local()  # `read`: the Read that this thread runs


class ReadCancelled(Exception):
    """The read was stopped because its caller is gone or it took too long."""


class Read(Generic[T]):
    """One read. `future` receives the result or the error of `work`; ReadTooCostly if the read was `late`."""

    def __init__(self, work: Callable[[Read[T]], T]) -> None:
        self.future: Future[T] = Future()
        self.begun: float | None = None  # monotonic seconds
        self.timer: asyncio.TimerHandle | None = None  # of the waiting caller, for the time limit
        self.late = False
        self.stopped = False
        self._work = work
        self._lock = threading.Lock()
        self._interrupt: Callable[[], None] | None = None

    def run(self) -> None:
        """Run the work, unless the caller was cancelled before."""
        if not self.future.set_running_or_notify_cancel():
            return
        self.begun = time.monotonic()
        try:
            self.future.set_result(self._work(self))
        except BaseException as error:  # noqa: BLE001 - goes to the caller
            self.future.set_exception(ReadTooCostly(limit_seconds=f"{SECONDS:.0f}") if self.late else error)

    @contextmanager
    def using(self, interrupt: Callable[[], None]) -> Iterator[None]:
        """Within the context `stop` may call `interrupt`, which ends the running statement; never after it."""
        _thread.read = self
        with self._lock:
            self._interrupt = interrupt
        try:
            self.check()
            yield
        finally:
            with self._lock:
                self._interrupt = None
            _thread.read = None

    def left(self, seconds: float) -> float:
        """How much of a limit of `seconds` remains; all of it before the read has begun."""
        return seconds if self.begun is None else self.begun + seconds - time.monotonic()

    def check(self) -> None:
        """Raise ReadCancelled if the read was stopped."""
        if self.stopped:
            raise ReadCancelled

    def stop(self) -> None:
        """Interrupt the running statement and make later ones fail. Blocks for as long as `interrupt` does."""
        with self._lock:
            self.stopped = True
            if self._interrupt is not None:
                self._interrupt()


def check() -> None:
    """Raise ReadCancelled if the read of this thread was stopped. For long computations between two statements."""
    read: Read[Any] | None = getattr(_thread, "read", None)
    if read is not None:
        read.check()


class Readers:
    """Runs reads in at most `threads` threads.

    The `line` of a read is its project. The limit per project does not apply to reads without one.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._threads = threads
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix=f"read-{name}")
        self._stopper = ThreadPoolExecutor(1, thread_name_prefix=f"stop-read-{name}")
        self._stopping: set[asyncio.Task[None]] = set()
        self._lock = threading.Lock()
        self._waiting: FairQueue[Read[Any]] = FairQueue()
        self._running: Counter[str] = Counter()  # reads by line
        self._idle = threading.Condition(self._lock)

    async def run(self, work: Callable[[Read[T]], T], line: str = "", *, limited: bool = True) -> T:
        """Run `work` in a thread and return its result. Raises the error of `work`.

        With `limited`, raises ReadTooCostly if the work takes more than SECONDS; the wait for a thread does not count.
        If the caller is cancelled, the work does not start or is stopped.
        """
        read = Read(work)
        with self._lock:
            self._waiting.put(line, read)
            self._start()
        loop, seconds = asyncio.get_running_loop(), SECONDS if limited else math.inf

        def look() -> None:
            left = read.left(seconds)
            if left > 0:  # the read started late because it waited for a thread
                read.timer = loop.call_later(left, look)
            else:
                read.late = True
                self._stop(read)

        read.timer = loop.call_later(seconds, look)
        try:
            return await asyncio.wrap_future(read.future)
        finally:
            read.timer.cancel()
            if not read.future.done() and not read.future.cancel():
                self._stop(read)

    def close(self) -> None:
        """Wait for all running and queued reads, then end the threads."""
        with self._lock:
            self._idle.wait_for(lambda: not self._waiting and not self._running)
        self._pool.shutdown()
        self._stopper.shutdown()

    def _stop(self, read: Read[Any]) -> None:
        async def stop() -> None:
            while not read.future.done():
                await asyncio.get_running_loop().run_in_executor(self._stopper, read.stop)
                await asyncio.sleep(AGAIN)

        task = asyncio.create_task(stop())
        self._stopping.add(task)
        task.add_done_callback(self._stopping.discard)

    def _start(self) -> None:
        """Start as many queued reads as the limits allow. The caller holds the lock."""
        while (free := self._threads - self._running.total()) > 0:
            taken = self._waiting.take(lambda line: not line or self._running[line] < free)
            if taken is None:
                return
            line, read = taken
            self._running[line] += 1
            self._pool.submit(self._serve, line, read)

    def _serve(self, line: str, read: Read[Any]) -> None:
        try:
            read.run()
        finally:
            with self._lock:
                self._running[line] -= 1
                if not self._running[line]:
                    del self._running[line]
                self._start()
                self._idle.notify_all()
