"""Runs background work for every project, so that a failure or delay in a project does not affect the others."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

from recalld_server.domain.errors import ProjectNotFound, RecalldError

log = logging.getLogger(__name__)

AT_ONCE = 8  # projects visited at the same time
PATIENCE = 5.0  # seconds for which a round waits for its visits; slower ones continue during the next round
LIMIT = 600.0  # timeout of one visit in seconds; only a visit that hangs takes longer
FIRST_PAUSE = 1.0  # seconds of back-off after the first failure; it doubles with each further failure
LONGEST_PAUSE = 10.0


@dataclass(frozen=True, slots=True)
class _Failure:
    """The last visit failed with an `error` of this type; the next one is due at `due`, after `pause` seconds."""

    error: str
    pause: float
    due: float


class ProjectTasks:
    """Runs one kind of work, for example `projection`. Its creator must close it when the work ends."""

    def __init__(self, work: str, at_once: int = AT_ONCE, longest_pause: float = LONGEST_PAUSE) -> None:
        self._work = work
        self._at_once = at_once
        self._longest_pause = longest_pause
        self._running: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, _Failure] = {}

    @property
    def stalled(self) -> Sequence[str]:
        """The projects whose last visit failed, by id."""
        return sorted(self._failures)

    @property
    def unfinished(self) -> Sequence[str]:
        """The projects that `visit` would skip now, because their work is running or in back-off."""
        return sorted({*self._running, *(project for project in self._failures if not self._due(project))})

    async def visit(
        self, projects: Iterable[str], work: Callable[[str], Awaitable[None]], to_the_end: bool = False
    ) -> None:
        """Start the work of every project whose work is neither running nor in back-off.

        Waits up to PATIENCE seconds for the work it started, or without limit if `to_the_end`. An exception of the work
        is not raised: it puts the project into `stalled` and is logged when its type changes.
        """
        begun: list[asyncio.Task[None]] = []
        for project in dict.fromkeys(projects):
            if project in self._running or not self._due(project):
                continue
            while len(self._running) >= self._at_once:
                await asyncio.wait(self._running.values(), return_when=asyncio.FIRST_COMPLETED)
            begun.append(self._begin(project, work))
        if begun:
            await asyncio.wait(begun, timeout=None if to_the_end else PATIENCE)

    def keep(self, projects: Collection[str]) -> None:
        """Forget the failures of all projects except `projects`, because the others no longer exist."""
        for project in self._failures.keys() - set(projects):
            del self._failures[project]

    async def close(self) -> None:
        """Cancel the running visits and wait for them."""
        running = list(self._running.values())
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    def _due(self, project: str) -> bool:
        failure = self._failures.get(project)
        return failure is None or asyncio.get_running_loop().time() >= failure.due

    def _begin(self, project: str, work: Callable[[str], Awaitable[None]]) -> asyncio.Task[None]:
        task = asyncio.create_task(self._visit(project, work), name=f"{self._work} of {project}")
        self._running[project] = task
        task.add_done_callback(lambda _: self._running.pop(project, None))
        return task

    async def _visit(self, project: str, work: Callable[[str], Awaitable[None]]) -> None:
        try:
            async with asyncio.timeout(LIMIT):
                await work(project)
        except ProjectNotFound:  # the project was deleted after the round started
            self._failures.pop(project, None)
        except Exception as error:  # noqa: BLE001 - a failure of any type must affect only this project
            self._failed(project, error)
        else:
            if self._failures.pop(project, None):
                log.info("project recovered", extra={"project": project, "work": self._work})

    def _failed(self, project: str, error: Exception) -> None:
        before, name = self._failures.get(project), type(error).__name__
        pause = min(self._longest_pause, 2 * before.pause) if before else FIRST_PAUSE
        self._failures[project] = _Failure(name, pause, asyncio.get_running_loop().time() + pause)
        if before is None or before.error != name:
            extra = {"project": project, "work": self._work, "error": name}
            log.warning("project stalled", extra=extra, exc_info=not isinstance(error, RecalldError))
