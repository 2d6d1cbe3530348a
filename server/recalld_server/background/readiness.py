"""The readiness of this server: whether it can serve calls and searches."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from recalld_server.background.projector import Projector
from recalld_server.domain.errors import ProjectNotFound, RecalldError, SettingMissing
from recalld_server.ports.clock import Clock
from recalld_server.ports.index import Index
from recalld_server.ports.project_state import ProjectState
from recalld_server.usecases.features import FeatureMaker

log = logging.getLogger(__name__)

WITHIN = 2.0  # timeout of each store in seconds
PAUSE = 1.0  # seconds between checks
STALE = 15.0  # seconds after which the result of a check is no longer valid
HURRY = 0.1  # seconds between checks while the server is not ready for searches


@dataclass(frozen=True, slots=True)
class Ready:
    """The state of the server as a whole.

    `ledger` and `index`: the store answers. `model`: this server has the embedder of at least one project.
    `caught_up`: `Projector.begun`. A single project never makes the server unready: searches of a project whose index
    is behind fail with IndexBehind.
    """

    ledger: bool = False
    index: bool = False
    model: bool = False
    caught_up: bool = False

    @property
    def searches(self) -> bool:
        """Whether searches can be answered."""
        return self.ledger and self.index and self.model and self.caught_up


class Readiness:
    """Checks the stores periodically. `last` is the result of the last check."""

    def __init__(
        self, ledger: ProjectState, index: Index, features: FeatureMaker, projector: Projector, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._features = features
        self._projector = projector
        self._clock = clock
        self._models: dict[str, bool] = {}  # whether this server has the embedder of a project, by project
        self._projects: Sequence[str] = ()
        self.last = Ready()
        self._looked = float("-inf")

    @property
    def current(self) -> Ready:
        """The result of the last check, or not ready if that is older than STALE: then the checks have stopped."""
        return self.last if asyncio.get_running_loop().time() - self._looked < STALE else Ready()

    async def look(self) -> Ready:
        """Check now. Takes a few seconds at most; never raises if a store fails."""
        ledger, index = await asyncio.gather(_answers(self._read_projects()), _answers(self._index.ping()))
        if ledger:
            await _answers(self._look_for_models())
        self.last = Ready(ledger=ledger, index=index, model=any(self._models.values()), caught_up=self._projector.begun)
        self._looked = asyncio.get_running_loop().time()
        return self.last

    async def run(self, told: Callable[[Ready], Awaitable[None]]) -> None:
        """Check periodically until cancelled, and call `told` with every changed result."""
        while True:
            before = self.last
            if (found := await self.look()) != before:
                log.info("readiness", extra={name: getattr(found, name) for name in Ready.__slots__})
                await told(found)
            await self._clock.sleep(PAUSE if found.searches else HURRY)

    async def _read_projects(self) -> None:
        await self._ledger.ping()
        self._projects = await self._ledger.projects()

    async def _look_for_models(self) -> None:
        """Look for the embedders of new projects only: a project changes its model only on a server that has it."""
        for project in self._models.keys() - set(self._projects):
            del self._models[project]
        for project in self._projects:
            if project not in self._models:
                self._models[project] = await self._modelled(project)

    async def _modelled(self, project: str) -> bool:
        try:
            self._features.embedder(await self._ledger.generation(project))
        except ProjectNotFound:  # deleted after the projects were read
            return False
        except SettingMissing as error:
            log.error("this server lacks the embedder of a project: %s", error, extra={"project": project})
            return False
        return True


async def _answers(asked: Awaitable[None]) -> bool:
    try:
        async with asyncio.timeout(WITHIN):
            await asked
    except (RecalldError, TimeoutError) as error:
        log.debug("not ready", extra={"error": type(error).__name__})
        return False
    return True
