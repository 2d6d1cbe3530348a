"""Runs operations: claims them, renews their leases and brings them to a terminal state."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from recalld_server.domain.errors import (
    EmbedderUnavailable,
    IndexUnavailable,
    LeaseLost,
    LedgerUnavailable,
    Overloaded,
    RecalldError,
)
from recalld_server.domain.operations import BUILDS, Operation, OperationKind, OperationState, described
from recalld_server.ports.clock import Clock
from recalld_server.ports.operations import Operations
from recalld_server.usecases.work_signal import WorkSignal

log = logging.getLogger(__name__)

# Does the work of an operation from its checkpoint on and returns the result; None if it has finished the operation
# itself.
Job = Callable[[Operation], Awaitable[Mapping[str, Any] | None]]

LEASE = 10.0  # seconds of a lease, after which another worker takes over
RENEWAL = 2.5  # seconds between renewals, which also reveal cancellations made at another server
ADDS, EXPORTS = 4, 3  # concurrent operations; project deletions share the lane of exports
PAUSE = 0.5  # seconds between polls for work
SWEEP = 60.0  # seconds between sweeps of old operations
ATTEMPTS = 100  # claims of one operation; beyond it the operation itself probably kills the server
RETRIES = 5  # attempts at an operation while the index or the embedder is unavailable; an add gets only one


@dataclass(slots=True)
class _Lane:
    """Operations of some kinds, with capacity of their own: `size` at once, but one less (at least 1) of one project.

    So the slow operations of one project cannot block those of other projects. Claims alternate: one takes the next
    project in turn, one the operation that has waited longest. Turns alone would let later projects overtake forever
    while new projects keep arriving; age alone would favour a project with many operations.
    """

    kinds: Sequence[OperationKind]
    size: int
    by_turn: bool = False
    last: str = ""  # the project that had the last turn
    running: dict[asyncio.Task[None], str] = field(default_factory=dict)  # the project of each running task

    @property
    def full(self) -> bool:
        return len(self.running) >= self.size

    @property
    def sated(self) -> list[str]:
        """The projects that run as many operations as one project may."""
        counts = Counter(self.running.values())
        return [project for project, count in counts.items() if count >= max(1, self.size - 1)]


class Worker:
    """Claims and runs operations. When it stops, it releases the running ones, and the next worker resumes them."""

    def __init__(
        self, operations: Operations, jobs: Mapping[OperationKind, Job], clock: Clock, signal: WorkSignal
    ) -> None:
        self._operations = operations
        self._jobs = jobs
        self._clock = clock
        self._signal = signal
        # Adds never wait for exports or index builds; indexes are built one at a time.
        rest = [kind for kind in OperationKind if kind not in (OperationKind.ADD, *BUILDS)]
        self._lanes = [_Lane([OperationKind.ADD], ADDS), _Lane(rest, EXPORTS), _Lane(BUILDS, 1)]

    async def run(self) -> None:
        """Claim and run operations until cancelled."""
        sweep = 0.0
        try:
            while True:
                now = asyncio.get_running_loop().time()
                try:
                    if now >= sweep:
                        sweep = now + SWEEP
                        await self._operations.sweep()
                    await self._fill()
                except LedgerUnavailable:
                    log.warning("operations cannot be claimed: the ledger is unavailable")
                with suppress(TimeoutError):  # not wait_for: before Python 3.12 it can lose a concurrent cancellation
                    async with asyncio.timeout(PAUSE):
                        await self._signal.added.wait()
                self._signal.added.clear()
        finally:
            await self._stop()

    async def _fill(self) -> None:
        for lane in self._lanes:
            while not lane.full and (operation := await self._claimed(lane)):
                if lane.by_turn:
                    lane.last = operation.access.project
                lane.by_turn = not lane.by_turn
                task = asyncio.create_task(self._hold(operation))
                lane.running[task] = operation.access.project
                task.add_done_callback(partial(self._ended, lane))

    async def _claimed(self, lane: _Lane) -> Operation | None:
        """Claim an operation. If the worker is cancelled meanwhile, release the claim: nobody else knows of it."""
        after = lane.last if lane.by_turn else None
        claiming = asyncio.ensure_future(self._operations.claim(LEASE, lane.kinds, after, lane.sated))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(RecalldError):
                if held := await claiming:
                    await self._operations.release(held, 0)
            raise

    def _ended(self, lane: _Lane, task: asyncio.Task[None]) -> None:
        del lane.running[task]
        self._signal.add()

    async def _stop(self) -> None:
        running = [task for lane in self._lanes for task in lane.running]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def _hold(self, held: Operation) -> None:
        """Run one operation under its lease."""
        with self._signal.holding(held.access.project, held.subject) as recheck:
            await self._hold_until(held, recheck)

    async def _hold_until(self, held: Operation, recheck: asyncio.Event) -> None:
        work = asyncio.ensure_future(self._do(held))
        try:
            while not work.done():
                waiting = asyncio.ensure_future(recheck.wait())
                try:
                    await asyncio.wait([work, waiting], timeout=RENEWAL, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiting.cancel()
                recheck.clear()
                # An add cannot be cancelled once it runs: it is short, and its commit cannot be undone.
                if not work.done() and await self._operations.renew(held, LEASE) and held.kind is not OperationKind.ADD:
                    await _cancelled(work)
                    await self._operations.finish(held, OperationState.CANCELLED, result={}, error={})
                    return
            await work
        except asyncio.CancelledError:
            await _cancelled(work)
            with suppress(RecalldError):
                await self._operations.release(held, 0)
            raise
        except LeaseLost:
            await _cancelled(work)
            log.info("operation lost", extra={"operation": held.id})
        except LedgerUnavailable:
            await _cancelled(work)  # the lease expires, and another worker takes over
            log.warning("operation interrupted", extra={"operation": held.id})

    async def _do(self, held: Operation) -> None:
        try:
            if held.attempt > ATTEMPTS:
                raise RuntimeError(f"the operation was claimed more than {ATTEMPTS} times without coming to an end")
            result = await self._jobs[held.kind](held)
        except (LeaseLost, LedgerUnavailable):
            raise
        except Overloaded:  # release it with back-off, so that other work goes first
            await self._operations.release(held, min(60.0, 2.0**held.attempt))
        except (IndexUnavailable, EmbedderUnavailable) as error:
            if held.kind is OperationKind.ADD or held.attempt >= RETRIES:
                await self._failed(held, error)
            else:
                await self._operations.release(held, 2.0**held.attempt)
        except Exception as error:  # noqa: BLE001 - an operation must reach a terminal state whatever happens
            await self._failed(held, error)
        else:
            if result is not None:
                await self._operations.finish(held, OperationState.SUCCEEDED, result=result, error={})

    async def _failed(self, held: Operation, error: Exception) -> None:
        if not isinstance(error, RecalldError):
            log.error("operation failed", extra={"operation": held.id}, exc_info=error)
        await self._operations.finish(held, OperationState.FAILED, result={}, error=described(error))


async def _cancelled(work: asyncio.Future[None]) -> None:
    """Cancel the work and wait until it has ended. Its result is already reported or no longer of interest."""
    work.cancel()
    await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # retrieve it, or the event loop would report it
