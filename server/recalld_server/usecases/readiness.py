"""Whether this server can do its work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from recalld_server.domain.errors import RecalldError
from recalld_server.ports.clock import Clock
from recalld_server.ports.index import Index
from recalld_server.ports.ledger import Ledger
from recalld_server.usecases.features import FeatureMaker
from recalld_server.usecases.projector import Projector

T = TypeVar("T")
log = logging.getLogger(__name__)

WITHIN = 2.0  # seconds for each store to answer
PAUSE = 1.0  # seconds between looks
HURRY = 0.1  # while something is missing


@dataclass(frozen=True, slots=True)
class Ready:
    """What was found: each store answers, an embedder is there for every project, no index is being rebuilt."""

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
        self, ledger: Ledger, index: Index, features: FeatureMaker, projector: Projector, clock: Clock
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._features = features
        self._projector = projector
        self._clock = clock
        self._models: set[str] = set()
        self.last = Ready()

    async def look(self) -> Ready:
        """Ask now. Takes a few seconds at most; never raises for a store that fails."""
        projects = await _answer(self._ledger.projects(), [])
        reached = bool(projects)
        index = reached and await _answer(self._marked(projects[0]), False)
        self.last = Ready(
            ledger=reached,
            index=index,
            model=reached and await _answer(self._modelled(projects), False),
            caught_up=reached and all(self._projector.caught_up(project) for project in projects),
        )
        return self.last

    async def run(self, told: Callable[[Ready], Awaitable[None]]) -> None:
        """Until cancelled: look again and again, and tell every change."""
        while True:
            before = self.last
            if (found := await self.look()) != before:
                log.info("readiness", extra={name: getattr(found, name) for name in Ready.__slots__})
                await told(found)
            await self._clock.sleep(PAUSE if found.searches else HURRY)

    async def _marked(self, project: str) -> bool:
        await self._index.mark(project, await self._ledger.generation(project))
        return True

    async def _modelled(self, projects: Sequence[str]) -> bool:
        for project in projects:
            if project not in self._models:  # a project takes another model only through a server that has it
                self._features.embedder(await self._ledger.generation(project))
                self._models.add(project)
        return True


async def _answer(asked: Awaitable[T], otherwise: T) -> T:
    try:
        async with asyncio.timeout(WITHIN):
            return await asked
    except (RecalldError, TimeoutError) as error:
        log.debug("not ready", extra={"error": type(error).__name__})
        return otherwise
