"""The port of projects: who they are and how they treat what they are told.

Every method is one transaction and may raise LedgerUnavailable. Methods with a request store the answer under it and
may raise OutcomeTaken.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from recalld_server.domain.memory import Access
from recalld_server.domain.operations import NewOperation
from recalld_server.domain.projects import Backlog, Project, ProjectSettings, Usage
from recalld_server.domain.revision import Generation, Outcome, RequestKey


class Projects(Protocol):
    """The projects of one ledger."""

    async def create(
        self,
        access: Access,
        project: Project,
        settings: ProjectSettings,
        generation: Generation,
        request: RequestKey | None,
    ) -> Mapping[str, Any]:
        """Store a project without memories, whose index is `generation`; returns its fields as stored for the request.

        Raises ProjectExists, also for a project that was deleted.
        """
        ...

    async def get(self, project: str) -> Project:
        """A project. Raises ProjectNotFound."""
        ...

    async def page(self, after: str, limit: int) -> Sequence[Project]:
        """Projects with ids above `after`, by id."""
        ...

    async def update(
        self, access: Access, project: str, values: Mapping[str, str], request: RequestKey | None
    ) -> Mapping[str, Any]:
        """Change `name` or `description`; returns the project's fields afterwards. Raises ProjectNotFound."""
        ...

    async def settings(self, project: str) -> tuple[ProjectSettings, Generation]:
        """How a project treats what it is told, and the index version it uses. Raises ProjectNotFound."""
        ...

    async def change_settings(
        self,
        access: Access,
        project: str,
        values: Mapping[str, Any],
        request: RequestKey | None,
        build: NewOperation,
    ) -> Mapping[str, Any]:
        """Change the named fields of the settings; returns all of them as `ProjectSettings.stored`.

        With a language the index is not made in, `build` is written down in the same transaction. Raises
        ProjectNotFound, and WriteConflict when the language changes while an index is being built.
        """
        ...

    async def usage(self, project: str) -> Usage:
        """Count what a project holds. Raises ProjectNotFound."""
        ...

    async def backlog(self, project: str, generation: Generation) -> Backlog:
        """What the index of a generation has not confirmed yet."""
        ...

    async def outcome(self, access: Access, rpc: str, request_id: str) -> Outcome | None:
        """As Ledger.outcome."""
        ...
