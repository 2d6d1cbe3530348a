"""Starts the background tasks of a server and restarts those that fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from recalld_server.domain.errors import RecalldError

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5  # seconds of back-off before the first restart of a task; it doubles with each further failure
LONGEST_PAUSE = 5.0
SETTLED = 60.0  # seconds after which a running task counts as recovered and its next failure is logged again
STOP = 1.0  # seconds in which a cancelled task must end


class Supervisor:
    """Runs named tasks until they are stopped. No exception of a task ends the server.

    `failed` is called with the name of a task at each of its failures.
    """

    def __init__(self, failed: Callable[[str], None] = lambda name: None) -> None:
        self._failed = failed

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Start a task and return a function that stops it. That function never raises an error of the task."""
        task = asyncio.create_task(self._run(name, run), name=name)

        async def stop() -> None:
            task.cancel()
            _, late = await asyncio.wait([task], timeout=STOP)
            if late:
                log.error("background task did not stop", extra={"task": name})

        return stop

    async def _run(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        loop, pause, last = asyncio.get_running_loop(), FIRST_PAUSE, ""
        while True:
            begun = loop.time()
            try:
                await run()
                error: Exception = RuntimeError(f"the background task {name} returned, but must run until cancelled")
            except Exception as raised:  # noqa: BLE001 - the next attempt may succeed, whatever the error is
                error = raised
            if (task := asyncio.current_task()) and task.cancelling():
                return  # the task was stopped and failed while it was ending
            self._failed(name)
            if loop.time() - begun >= SETTLED:
                pause, last = FIRST_PAUSE, ""
            kind = type(error).__name__
            if kind != last:
                self._log(name, error)
            last = kind
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 2 * pause)

    def _log(self, name: str, error: Exception) -> None:
        extra = {"task": name, "error": type(error).__name__}
        if isinstance(error, RecalldError):
            log.warning("background task failed; it will be restarted", extra=extra)
        else:
            log.error("background task failed; it will be restarted", extra=extra, exc_info=error)
