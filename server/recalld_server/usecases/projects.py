"""Projects: create and change them, their settings, their usage and the state of their index."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from recalld_server.domain.errors import FieldInvalid, ProjectNotFound, RecalldError
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import NewOperation, OperationKind
from recalld_server.domain.projects import (
    DEFAULT_PROJECT,
    PROJECT_ID,
    Backlog,
    Project,
    ProjectSettings,
    Usage,
    languages,
)
from recalld_server.domain.revision import Generation, Positions, RequestKey
from recalld_server.ports.clock import Ids
from recalld_server.ports.index import Index
from recalld_server.ports.project_state import ProjectState
from recalld_server.ports.projects import Projects
from recalld_server.usecases.idempotency import repeatable
from recalld_server.usecases.projection import Projection
from recalld_server.usecases.work_signal import WorkSignal

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexStatus:
    """The index of a project: engine, generation, whether the engine answers, and its lag behind the ledger."""

    engine: str
    generation: Generation
    healthy: bool
    positions: Positions
    backlog: Backlog


class Administration:
    """The use cases behind ProjectService except those of API keys.

    `first` is the generation of new projects; `extractors` are the names of the extractors of this server.
    """

    def __init__(
        self,
        projects: Projects,
        ledger: ProjectState,
        index: Index,
        projection: Projection,
        signal: WorkSignal,
        ids: Ids,
        first: Generation,
        extractors: frozenset[str],
    ) -> None:
        self._projects = projects
        self._ledger = ledger
        self._index = index
        self._projection = projection
        self._signal = signal
        self._ids = ids
        self._first = first
        self._extractors = extractors

    def project(self, access: Access, named: str) -> str:
        """Return the project of a request: the named one, or that of the caller.

        Raises ProjectNotFound if the caller belongs to another project, FieldInvalid if neither is given.
        """
        if access.project:
            if named not in ("", access.project):
                raise ProjectNotFound(project_id=named)
            return access.project
        if not named:
            text = "must name a project, because the API key belongs to none"
            raise FieldInvalid.at("project_id", text)
        return named

    async def create(
        self, access: Access, project: Project, settings: ProjectSettings, request: RequestKey | None
    ) -> Project:
        """Create an empty project. Raises ProjectExists, FieldInvalid (unknown extractor), RequestIdReused."""
        self._refuse_extractor(settings.extractor)
        first = replace(self._first, language=settings.language or self._first.language)
        answer = await repeatable(
            self._projects, access, request, lambda: self._projects.create(access, project, settings, first, request)
        )
        try:
            await self._projection.catch_up(project.id)  # so that the empty project can be searched at once
        except Exception as error:  # the project exists all the same, and the projector repeats the catch-up
            extra = {"project": project.id, "error": type(error).__name__}
            log.warning("index of a new project waits", extra=extra, exc_info=not isinstance(error, RecalldError))
        return Project(**answer)

    async def get(self, project: str) -> Project:
        """Return a project. Raises ProjectNotFound."""
        return await self._projects.get(project)

    async def page(self, after: str, limit: int) -> tuple[Sequence[Project], bool]:
        """Return a page of the projects with ids above `after`, by id, and whether more follow."""
        found = await self._projects.page(after, limit + 1)
        return found[:limit], len(found) > limit

    async def update(
        self, access: Access, project: str, values: Mapping[str, str], request: RequestKey | None
    ) -> Project:
        """Change the name or the description. Raises ProjectNotFound, RequestIdReused."""
        answer = await repeatable(
            self._projects, access, request, lambda: self._projects.update(access, project, values, request)
        )
        return Project(**answer)

    async def settings(self, project: str) -> ProjectSettings:
        """Return the settings of a project. Raises ProjectNotFound."""
        return (await self._projects.settings(project))[0]

    async def change_settings(
        self, access: Access, project: str, values: Mapping[str, Any], request: RequestKey | None
    ) -> ProjectSettings:
        """Change some of the settings; they apply to calls that begin afterwards.

        A new language starts a reindex. Raises ProjectNotFound, FieldInvalid (unknown extractor), RequestIdReused, and
        WriteConflict if the language changes during a reindex.
        """
        self._refuse_extractor(values.get("extractor", ""))
        same_work = RequestKey("UpdateProjectSettings", "", f"language {values.get('language', '')}")
        build = NewOperation(self._ids.memory(), OperationKind.REBUILD_INDEX, project, request=same_work)
        change = partial(self._projects.change_settings, access, project, values, request, build)
        settings = ProjectSettings.parse(await repeatable(self._projects, access, request, change))
        self._signal.add()
        return settings

    async def usage(self, project: str) -> Usage:
        """Return the counts of the project's data. Raises ProjectNotFound."""
        return await self._projects.usage(project)

    async def index_standing(self, access: Access, project: str) -> IndexStatus:
        """Return the state of the project's index. Raises ProjectNotFound."""
        generation = await self._ledger.generation(project)
        try:
            await self._index.mark(project, generation)
            healthy = True
        except RecalldError:
            healthy = False
        positions = await self._ledger.positions(replace(access, project=project))
        return IndexStatus(
            self._index.name, generation, healthy, positions, await self._projects.backlog(project, generation)
        )

    def _refuse_extractor(self, name: str) -> None:
        if name and name not in self._extractors:
            text = f"must be one of {', '.join(sorted(self._extractors))}, the extractors of this server"
            raise FieldInvalid.at("settings.extractor", text)


async def founded(projects: Projects, project: Project, language: str) -> Project:
    """Create an empty project directly in the ledger; running servers see it within seconds.

    Its index uses the model and the analyser of the project `default`. Raises FieldInvalid, ProjectExists, and
    ProjectNotFound if no server was ever started on this ledger.
    """
    if not PROJECT_ID.fullmatch(project.id):
        raise FieldInvalid("The project id must have 1 to 64 characters of a-z, 0-9 and -, and begin with a letter.")
    if language and language not in languages():
        raise FieldInvalid(f"The language must be one of {', '.join(sorted(languages()))}.")
    _, usual = await projects.settings(DEFAULT_PROJECT)
    first = replace(usual, number=1, language=language or usual.language)
    return Project(
        **await projects.create(Access(project.id), project, ProjectSettings(language=language), first, None)
    )
