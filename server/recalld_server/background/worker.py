"""Does the long-running work: claims it, keeps its lease alive, and ends it whatever happens."""

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

# Does the work from its checkpoint on and gives the result. None: it has ended the operation itself.
Job = Callable[[Operation], Awaitable[Mapping[str, Any] | None]]

LEASE = 10.0  # seconds after which others take over from a worker that shows no sign of life
RENEWAL = 2.5  # seconds between renewals; a cancellation at another server is seen then
ADDS, EXPORTS = 4, 3  # at once; deletions of projects count with exports
PAUSE = 0.5  # seconds between looks for work
SWEEP = 60.0
ATTEMPTS = 100  # claims of one operation: beyond it the work itself is what kills the server
RETRIES = 5  # attempts at work that fails because something can't be reached


@dataclass(slots=True)
class _Lane:
    """Operations of some kinds, which wait for those of no other lane: `size` at once, of one project one less, so that
    the slow operations of one project never keep those of others from being begun.

    Every second claim is the next project's turn, the others are what has waited longest: turns alone would let
    projects that come later go first for as long as more of them come, age alone a project that asks for much.
    """

    kinds: Sequence[OperationKind]
    size: int
    by_turn: bool = False
    last: str = ""  # the project whose turn was last
    running: dict[asyncio.Task[None], str] = field(default_factory=dict)  # the project of each

    @property
    def full(self) -> bool:
        return len(self.running) >= self.size

    @property
    def sated(self) -> list[str]:
        """Projects that have as much under way as one may."""
        counts = Counter(self.running.values())
        return [project for project, count in counts.items() if count >= max(1, self.size - 1)]


class Worker:
    """Runs until cancelled. Work under way is then given back, to be taken up by the next worker."""

    def __init__(
        self, operations: Operations, jobs: Mapping[OperationKind, Job], clock: Clock, signal: WorkSignal
    ) -> None:
        self._operations = operations
        self._jobs = jobs
        self._clock = clock
        self._signal = signal
        # An add waits neither for an export nor for a rebuild of everything; indexes are built one at a time.
        rest = [kind for kind in OperationKind if kind not in (OperationKind.ADD, *BUILDS)]
        self._lanes = [_Lane([OperationKind.ADD], ADDS), _Lane(rest, EXPORTS), _Lane(BUILDS, 1)]

    async def run(self) -> None:
        """Claim and do work, a few at a time."""
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
                    log.warning("operations not reached")
                with suppress(TimeoutError):  # wait_for loses a cancellation that comes with new work, before 3.12
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
        """Claim work. What was claimed when the worker had to stop is given back: nobody else knew of it."""
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
        """Do one piece of work under its lease."""
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
                # An add is short and its commit can't be taken back: it stops only before it begins.
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
            await _cancelled(work)  # the lease ends by itself and somebody takes over
            log.warning("operation interrupted", extra={"operation": held.id})

    async def _do(self, held: Operation) -> None:
        try:
            if held.attempt > ATTEMPTS:
                raise RuntimeError("the work was begun too often")
            result = await self._jobs[held.kind](held)
        except (LeaseLost, LedgerUnavailable):
            raise
        except Overloaded:  # its turn comes when others have had theirs
            await self._operations.release(held, min(60.0, 2.0**held.attempt))
        except (IndexUnavailable, EmbedderUnavailable) as error:
            if held.kind is OperationKind.ADD or held.attempt >= RETRIES:
                await self._failed(held, error)
            else:
                await self._operations.release(held, 2.0**held.attempt)
        except Exception as error:  # noqa: BLE001 - work ends in a terminal state whatever happened
            await self._failed(held, error)
        else:
            if result is not None:
                await self._operations.finish(held, OperationState.SUCCEEDED, result=result, error={})

    async def _failed(self, held: Operation, error: Exception) -> None:
        if not isinstance(error, RecalldError):
            log.error("operation failed", extra={"operation": held.id}, exc_info=error)
        await self._operations.finish(held, OperationState.FAILED, result={}, error=described(error))


async def _cancelled(work: asyncio.Future[None]) -> None:
    """Stop it and wait until it has; what it ended with is told already or of no interest any more."""
    work.cancel()
    await asyncio.wait([work])
    if not work.cancelled():
        work.exception()  # looked at, or the loop would report it
