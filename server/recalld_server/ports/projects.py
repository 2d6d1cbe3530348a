"""The port of projects and their settings.

Every method is one transaction and may raise LedgerUnavailable. Methods with a `request` store their answer under it
and may raise OutcomeTaken.
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
        """Store an empty project with the index `generation`; return its fields as stored for the request.

        Raises ProjectExists, also if a deleted project had this id.
        """
        ...

    async def get(self, project: str) -> Project:
        """Return a project. Raises ProjectNotFound."""
        ...

    async def page(self, after: str, limit: int) -> Sequence[Project]:
        """Return up to `limit` projects with ids above `after`, by id."""
        ...

    async def update(
        self, access: Access, project: str, values: Mapping[str, str], request: RequestKey | None
    ) -> Mapping[str, Any]:
        """Change `name` or `description`; return the new fields of the project. Raises ProjectNotFound."""
        ...

    async def settings(self, project: str) -> tuple[ProjectSettings, Generation]:
        """Return the settings of a project and the current generation of its index. Raises ProjectNotFound."""
        ...

    async def change_settings(
        self,
        access: Access,
        project: str,
        values: Mapping[str, Any],
        request: RequestKey | None,
        build: NewOperation,
    ) -> Mapping[str, Any]:
        """Change the given fields of the settings; return all of them in the form of `ProjectSettings.stored`.

        If the new language differs from that of the index, `build` is queued in the same transaction. Raises
        ProjectNotFound, and WriteConflict if the language changes during a reindex.
        """
        ...

    async def usage(self, project: str) -> Usage:
        """Return the counts of the project's data. Raises ProjectNotFound."""
        ...

    async def backlog(self, project: str, generation: Generation) -> Backlog:
        """Return the pending changes of a generation."""
        ...

    async def outcome(self, access: Access, rpc: str, request_id: str) -> Outcome | None:
        """See Ledger.outcome."""
        ...
