"""Implements ports.projects.Projects with SQLAlchemy Core."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, Select, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger.keys import answered
from recalld_server.adapters.ledger.operations import building, created
from recalld_server.adapters.ledger.reads import entities as counted
from recalld_server.adapters.ledger.reads import queries
from recalld_server.adapters.ledger.rows import dump
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.errors import ProjectExists, ProjectNotFound, WriteConflict
from recalld_server.domain.memory import SCOPE_FIELDS, Access
from recalld_server.domain.operations import NewOperation
from recalld_server.domain.projects import Backlog, Project, ProjectSettings, Usage
from recalld_server.domain.revision import DEFAULT_LANGUAGE, Generation, Outcome, RequestKey
from recalld_server.ports.clock import Clock

_COLUMNS = [
    t.projects.c[name] for name in ("project", "display_name", "description", "create_time", "update_time", "settings")
]
_GET = select(*_COLUMNS, t.projects.c.generation).where(t.projects.c.project == bindparam("p"))
_NAMES = {"name": "display_name", "description": "description"}


class SqlProjects:
    """See ports.projects.Projects."""

    def __init__(self, engine: SqlEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def create(
        self,
        access: Access,
        project: Project,
        settings: ProjectSettings,
        generation: Generation,
        request: RequestKey | None,
    ) -> Mapping[str, Any]:
        now = self._clock.now()
        made = replace(project, create_time=now, update_time=now)
        row = {
            "project": made.id,
            "head": 0,
            "last_time": now,
            "oldest": 0,
            "generation": generation.name,
            "settings": dump(settings.stored()),
            "create_time": now,
            "display_name": made.name,
            "description": made.description,
            "update_time": now,
        }
        new = insert(t.projects).values(row).on_conflict_do_nothing().returning(t.projects.c.project)

        def write(connection: Connection) -> Mapping[str, Any]:
            # Store the outcome first: a concurrent repeat of this request then raises OutcomeTaken, not ProjectExists.
            answered(connection, access, request, asdict(made), now)
            gone = select(t.deleted_projects.c.project).where(t.deleted_projects.c.project == made.id)
            if connection.execute(gone).first() or connection.execute(new).first() is None:
                raise ProjectExists(project_id=made.id)
            return asdict(made)

        return await self._engine.write(write)

    async def get(self, project: str) -> Project:
        return await self._engine.read(lambda c: _project(_row(c, project)), project)

    async def page(self, after: str, limit: int) -> Sequence[Project]:
        statement = select(*_COLUMNS).where(t.projects.c.project > after).order_by(t.projects.c.project).limit(limit)
        return await self._engine.read(lambda c: [_project(row) for row in c.execute(statement)])

    async def update(
        self, access: Access, project: str, values: Mapping[str, str], request: RequestKey | None
    ) -> Mapping[str, Any]:
        now = self._clock.now()
        changed = {_NAMES[name]: value for name, value in values.items()} | {"update_time": now}

        def write(connection: Connection) -> Mapping[str, Any]:
            connection.execute(update(t.projects).where(t.projects.c.project == project).values(changed))
            answer = asdict(_project(_row(connection, project)))
            answered(connection, access, request, answer, now)
            return answer

        return await self._engine.write(write, line=project)

    async def settings(self, project: str) -> tuple[ProjectSettings, Generation]:
        def read(connection: Connection) -> tuple[ProjectSettings, Generation]:
            row = _row(connection, project)
            return ProjectSettings.parse(json.loads(row.settings)), Generation.parse(row.generation)

        return await self._engine.read(read, project)

    async def change_settings(
        self,
        access: Access,
        project: str,
        values: Mapping[str, Any],
        request: RequestKey | None,
        build: NewOperation,
    ) -> Mapping[str, Any]:
        now = self._clock.now()

        def write(connection: Connection) -> Mapping[str, Any]:
            # The row lock makes the second of two concurrent changes see the first.
            row = _row(connection, project, _GET.with_for_update())
            before = ProjectSettings.parse(json.loads(row.settings))
            after = replace(before, **values)
            if _language(after) != _language(before):
                if building(connection, project):
                    raise WriteConflict(
                        "An index build of this project is running; change the language after it has ended."
                    )
                if _language(after) != Generation.parse(row.generation).language:
                    created(connection, Access(project, principal=access.principal), build, now)
            statement = update(t.projects).where(t.projects.c.project == project)
            connection.execute(statement.values(settings=dump(after.stored())))
            answered(connection, access, request, after.stored(), now)
            return after.stored()

        return await self._engine.write(write, line=project)

    async def usage(self, project: str) -> Usage:
        def read(connection: Connection) -> Usage:
            access = Access(project)
            stand, _ = queries.stand(connection, access)
            r = t.revisions.c
            live = select(func.count()).select_from(t.revisions).where(r.project == project, r.seq_to.is_(None))
            kept = select(func.count()).select_from(t.revisions).where(r.project == project)
            said = select(func.count()).select_from(t.messages).where(t.messages.c.project == project)
            memories, revisions, messages = (connection.execute(s).scalar_one() for s in (live, kept, said))
            entities = counted.count_entities(connection, access, SCOPE_FIELDS)
            out = select(func.coalesce(func.sum(t.exports.c.size), 0)).where(t.exports.c.project == project)
            return Usage(memories, revisions, entities, messages, stand.head, int(connection.execute(out).scalar_one()))

        return await self._engine.read(read, project)

    async def backlog(self, project: str, generation: Generation) -> Backlog:
        mine = (t.pending.c.project == project, t.pending.c.generation == generation.number, t.pending.c.seq > 0)
        counted = select(func.count(), func.min(t.pending.c.seq)).where(*mine)

        def read(connection: Connection) -> Backlog:
            pending, seq = connection.execute(counted).one()
            oldest = select(t.revisions.c.commit_time).where(
                t.revisions.c.project == project, t.revisions.c.seq_from == seq
            )
            oldest_time = connection.execute(oldest).scalar_one_or_none() if pending else None
            return Backlog(pending, oldest_time, building(connection, project))

        return await self._engine.read(read, project)

    async def outcome(self, access: Access, rpc: str, request_id: str) -> Outcome | None:
        return await self._engine.read(
            lambda c: queries.outcome(c, access, rpc, request_id, self._clock.now()), access.project
        )


def _row(connection: Connection, project: str, statement: Select[Any] = _GET) -> Any:
    row = connection.execute(statement, {"p": project}).one_or_none()
    if row is None:
        raise ProjectNotFound(project_id=project)
    return row


def _language(settings: ProjectSettings) -> str:
    return settings.language or DEFAULT_LANGUAGE


def _project(row: Any) -> Project:
    updated = row.update_time or row.create_time
    return Project(row.project, row.display_name, row.description, row.create_time, updated)
