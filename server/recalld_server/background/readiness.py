"""Whether this server can do its work."""

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

WITHIN = 2.0  # seconds for each store to answer
PAUSE = 1.0  # seconds between looks
STALE = 15.0  # seconds after which a look says nothing any more
HURRY = 0.1  # while something is missing


@dataclass(frozen=True, slots=True)
class Ready:
    """What was found of the server as a whole; no single project changes any of it.

    Each store answers, there is an embedder for a project at least, and the projector has been through all projects
    once since the start. A project whose index is behind is refused on its own, with IndexBehind.
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
    """Asks the stores. `last` is what the last look found."""

    def __init__(
        self, ledger: ProjectState, index: Index, features: FeatureMaker, projector: Projector, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._features = features
        self._projector = projector
        self._clock = clock
        self._models: dict[str, bool] = {}  # by project, whether its embedder is there
        self._projects: Sequence[str] = ()
        self.last = Ready()
        self._looked = float("-inf")

    @property
    def current(self) -> Ready:
        """What the last look found; nothing if that is long ago, as the looks have stopped then."""
        return self.last if asyncio.get_running_loop().time() - self._looked < STALE else Ready()

    async def look(self) -> Ready:
        """Ask now. Takes a few seconds at most; never raises for a store that fails."""
        ledger, index = await asyncio.gather(_answers(self._read_projects()), _answers(self._index.ping()))
        if ledger:
            await _answers(self._look_for_models())
        self.last = Ready(ledger=ledger, index=index, model=any(self._models.values()), caught_up=self._projector.begun)
        self._looked = asyncio.get_running_loop().time()
        return self.last

    async def run(self, told: Callable[[Ready], Awaitable[None]]) -> None:
        """Until cancelled: look again and again, and tell every change."""
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
        """Of new projects: one takes another model only through a server that has it."""
        for project in self._models.keys() - set(self._projects):
            del self._models[project]
        for project in self._projects:
            if project not in self._models:
                self._models[project] = await self._modelled(project)

    async def _modelled(self, project: str) -> bool:
        try:
            self._features.embedder(await self._ledger.generation(project))
        except ProjectNotFound:  # deleted since the projects were read
            return False
        except SettingMissing as error:
            log.error("project needs an embedder that this server lacks: %s", error, extra={"project": project})
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
