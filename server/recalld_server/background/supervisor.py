"""The background tasks of a server: started in one order, stopped in the reverse, restarted when they fail."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from recalld_server.domain.errors import RecalldError

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.5  # seconds before a task that failed is started again, and twice as long after each further failure
LONGEST_PAUSE = 5.0
SETTLED = 60.0  # seconds after which a task that runs has recovered, and its next failure is logged again
STOP = 1.0  # seconds for a task to end when it is cancelled


class Supervisor:
    """Runs named tasks that end only when they are stopped.

    `failed` is told the name of a task with every failure of it: no exception of a task ends the server.
    """

    def __init__(self, failed: Callable[[str], None] = lambda name: None) -> None:
        self._failed = failed

    def start(self, name: str, run: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        """Start a task; gives what stops it. Stopping raises nothing, whatever became of the task."""
        task = asyncio.create_task(self._run(name, run), name=name)

        async def stop() -> None:
            task.cancel()
            _, late = await asyncio.wait([task], timeout=STOP)
            if late:
                log.error("background task does not end", extra={"task": name})

        return stop

    async def _run(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        loop, pause, last = asyncio.get_running_loop(), FIRST_PAUSE, ""
        while True:
            begun = loop.time()
            try:
                await run()
                error: Exception = RuntimeError(f"the background task {name} came to an end")
            except Exception as raised:  # noqa: BLE001 - whatever it is, the next attempt may go better
                error = raised
            if (task := asyncio.current_task()) and task.cancelling():
                return  # it failed on its way out
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
            log.warning("background task failed; it is tried again", extra=extra)
        else:
            log.error("background task failed; it is tried again", extra=extra, exc_info=error)
