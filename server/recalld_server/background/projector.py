"""Applies pending changes that their writers did not apply to the index, on every server and for every project."""

from __future__ import annotations

from collections.abc import Sequence

from recalld_server.background.project_tasks import ProjectTasks
from recalld_server.ports.clock import Clock
from recalld_server.ports.index import Index
from recalld_server.ports.projection import ProjectionQueue
from recalld_server.usecases.projection import BATCH, Projection

PAUSE = 1.0  # seconds between rounds
AGE = 2.0  # seconds for which a pending change is left to its writer
LEASE = 30.0  # seconds of a claim on a batch, after which another server may claim it


class Projector:
    """Applies pending changes in rounds. Servers that share a ledger divide the work by claims on pending changes."""

    def __init__(self, projection: Projection, ledger: ProjectionQueue, index: Index, clock: Clock) -> None:
        self._projection = projection
        self._ledger = ledger
        self._index = index
        self._clock = clock
        self._tasks = ProjectTasks("projection")
        self._first_round = False

    @property
    def begun(self) -> bool:
        """Whether a round since the start is done and at least one project has caught up.

        It then stays True: `Projection.require` refuses single projects whose index is behind.
        """
        return self._first_round

    @property
    def stalled(self) -> Sequence[str]:
        """The projects whose last visit failed."""
        return self._tasks.stalled

    async def run(self) -> None:
        """Run rounds until cancelled. Applies changes of any server that its writer left pending, for any reason.

        Raises LedgerUnavailable, IndexUnavailable.
        """
        try:
            while True:
                await self._round()
                await self._clock.sleep(PAUSE)
        finally:
            await self._tasks.close()

    async def _round(self) -> None:
        """Visit the projects that have changes to apply. Two statements, however many projects have none."""
        before = self._projection.whole  # read first: a project created during the next read must not count as deleted
        projects = await self._ledger.projects()
        self._tasks.keep(projects)
        self._projection.forget(before.difference(projects))
        self._index.require()  # fail once here, and not once for every project
        behind = await self._ledger.behind(AGE)
        stale = [project for project in projects if not self._projection.caught_up(project)]
        await self._tasks.visit([*stale, *behind], self._visit)
        self._first_round = self._first_round or bool(self._projection.whole)

    async def _visit(self, project: str) -> None:
        if not self._projection.caught_up(project) or await self._interrupted(project):
            await self._projection.catch_up(project)
        await self._finish(project)

    async def _interrupted(self, project: str) -> bool:
        return await self._ledger.interrupted(project, await self._ledger.generation(project))

    async def _finish(self, project: str) -> None:
        """Claim and apply batches until nothing is left to claim or a batch is not applied."""
        generation = await self._ledger.generation(project)
        applied = True
        while applied and (ids := await self._ledger.claim(project, generation, AGE, LEASE, BATCH)):
            applied = False
            try:
                applied = await self._projection.apply(project, generation, ids)
            finally:
                if not applied:
                    await self._ledger.release(project, generation, ids)
