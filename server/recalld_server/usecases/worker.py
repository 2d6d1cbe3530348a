"""Does the long-running work: claims it, keeps its lease alive, and ends it whatever happens."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from recalld_server.domain.errors import (
    EmbedderUnavailable,
    IndexUnavailable,
    LeaseLost,
    LedgerUnavailable,
    RecalldError,
)
from recalld_server.domain.operations import BUILDS, Operation, OperationKind, OperationState, described
from recalld_server.ports.clock import Clock
from recalld_server.ports.operations import Operations

log = logging.getLogger(__name__)

# Does the work from its checkpoint on and gives the result. None: it has ended the operation itself.
Job = Callable[[Operation], Awaitable[Mapping[str, Any] | None]]

LEASE = 10.0  # seconds after which others take over from a worker that shows no sign of life
BEAT = 2.5
PAUSE = 0.5  # seconds between looks for work
SWEEP = 60.0
ATTEMPTS = 100  # claims of one operation: beyond it the work itself is what kills the server
RETRIES = 5  # attempts at work that fails because something can't be reached
AT_ONCE = 4  # operations, of which one is a build: an add waits neither for an export nor for a rebuild of everything


class Worker:
    """Runs until cancelled. Work under way is then given back, to be taken up by the next worker."""

    def __init__(self, operations: Operations, jobs: Mapping[OperationKind, Job], clock: Clock) -> None:
        self._operations = operations
        self._jobs = jobs
        self._clock = clock
        self._work = asyncio.Event()
        self._running: dict[asyncio.Task[None], tuple[OperationKind, asyncio.Event]] = {}

    def nudge(self) -> None:
        """Look at once: there is new work, or work to stop."""
        self._work.set()
        for _, stir in self._running.values():
            stir.set()

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
                with suppress(TimeoutError):  # wait_for loses a cancellation that comes with the nudge, before 3.12
                    async with asyncio.timeout(PAUSE):
                        await self._work.wait()
                self._work.clear()
        finally:
            await self._stop()

    async def _fill(self) -> None:
        while len(self._running) < AT_ONCE and (held := await self._claimed()):
            stir = asyncio.Event()
            task = asyncio.create_task(self._hold(held, stir))
            self._running[task] = (held.kind, stir)
            task.add_done_callback(self._ended)

    async def _claimed(self) -> Operation | None:
        """Claim work. What was claimed when the worker had to stop is given back: nobody else knew of it."""
        building = any(kind in BUILDS for kind, _ in self._running.values())
        claiming = asyncio.ensure_future(self._operations.claim(LEASE, BUILDS if building else ()))
        try:
            return await asyncio.shield(claiming)
        except asyncio.CancelledError:
            with suppress(RecalldError):
                if held := await claiming:
                    await self._operations.release(held, 0)
            raise

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._running[task]
        self._work.set()

    async def _stop(self) -> None:
        for task in self._running:
            task.cancel()
        if self._running:
            await asyncio.wait(list(self._running))

    async def _hold(self, held: Operation, stir: asyncio.Event) -> None:
        """Do one piece of work under its lease."""
        work = asyncio.ensure_future(self._do(held))
        try:
            while not work.done():
                waiting = asyncio.ensure_future(stir.wait())
                try:
                    await asyncio.wait([work, waiting], timeout=BEAT, return_when=asyncio.FIRST_COMPLETED)
                finally:
                    waiting.cancel()
                stir.clear()
                # An add is short and its commit can't be taken back: it stops only before it begins.
                if not work.done() and await self._operations.beat(held, LEASE) and held.kind is not OperationKind.ADD:
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
