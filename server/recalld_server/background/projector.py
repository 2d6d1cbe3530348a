"""Applies to the index what its writers have left behind, on every server and for every project."""

from __future__ import annotations

from collections.abc import Sequence

from recalld_server.background.project_tasks import ProjectTasks
from recalld_server.ports.clock import Clock
from recalld_server.ports.index import Index
from recalld_server.ports.projection import ProjectionQueue
from recalld_server.usecases.projection import BATCH, Projection

PAUSE = 1.0  # seconds between looks at what is pending
AGE = 2.0  # seconds in which a change is its writer's to apply
LEASE = 30.0  # seconds for a batch, after which another server may take it from one that died


class Projector:
    """Runs until cancelled. Servers that share a ledger share the work by leases on what is pending."""

    def __init__(self, projection: Projection, ledger: ProjectionQueue, index: Index, clock: Clock) -> None:
        self._projection = projection
        self._ledger = ledger
        self._index = index
        self._clock = clock
        self._tasks = ProjectTasks("projection")
        self._first_round = False

    @property
    def begun(self) -> bool:
        """Whether every project was visited once since this start, and the index of one of them at least is whole.

        It stays so: a project whose index is behind later on is refused on its own, by `require`.
        """
        return self._first_round

    @property
    def stalled(self) -> Sequence[str]:
        """The projects whose changes could not be applied when that was last tried."""
        return self._tasks.stalled

    async def run(self) -> None:
        """Until cancelled: apply what its writer left pending, here or at another server, for whatever reason.

        Raises LedgerUnavailable, IndexUnavailable.
        """
        try:
            while True:
                await self._round()
                await self._clock.sleep(PAUSE)
        finally:
            await self._tasks.close()

    async def _round(self) -> None:
        """Two statements, however many projects have nothing to apply."""
        before = self._projection.whole  # a project that is created during the read is none that was deleted
        projects = await self._ledger.projects()
        self._tasks.keep(projects)
        self._projection.forget(before.difference(projects))
        self._index.require()  # or every project would find out for itself
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
        """Claim and apply until nothing is left. Servers that share a ledger share the work."""
        generation = await self._ledger.generation(project)
        applied = True
        while applied and (ids := await self._ledger.claim(project, generation, AGE, LEASE, BATCH)):
            applied = False
            try:
                applied = await self._projection.apply(project, generation, ids)
            finally:
                if not applied:
                    await self._ledger.release(project, generation, ids)
