"""Implements ports.keyring.KeyRing with SQLAlchemy Core.

Keys may be written by another process while a server runs. This is safe because each method is one transaction and
SQLite serializes the writers of a file.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, bindparam, insert, select, tuple_, update

from recalld_server.adapters.ledger.commits.commit import store_outcome
from recalld_server.adapters.ledger.reads import queries
from recalld_server.adapters.ledger.rows import scope_of
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.errors import ProjectNotFound
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import SCOPE_FIELDS, Access
from recalld_server.domain.projects import DEFAULT_PROJECT
from recalld_server.domain.revision import Change, Outcome, RequestKey
from recalld_server.ports.clock import Clock

_COLUMNS = [c for c in t.keys.c if c.name != "secret_sha256"]
_FIND = select(*_COLUMNS, t.keys.c.secret_sha256).where(t.keys.c.id == bindparam("key_id"))
_BEGUN = select(t.ledger.c.keys_created)


class SqlKeyRing:
    """See ports.keyring.KeyRing."""

    def __init__(self, engine: SqlEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def begun(self) -> bool:
        return await self._engine.read(lambda c: bool(c.execute(_BEGUN).scalar_one()))

    async def add(
        self, access: Access, key: ApiKey, digest: bytes, request: RequestKey | None, answer: Mapping[str, Any]
    ) -> None:
        row = {
            "id": key.id,
            "project": key.project,
            "role": key.role.name,
            "secret_sha256": digest,
            **{name: getattr(key.pin, name) for name in SCOPE_FIELDS},
            "name": key.name,
            "create_time": key.create_time,
            "expire_time": key.expire_time,
            "revoke_time": key.revoke_time,
        }

        def write(connection: Connection) -> None:
            if key.project not in ("", DEFAULT_PROJECT):
                require_project(connection, key.project)
            connection.execute(insert(t.keys).values(row))
            connection.execute(update(t.ledger).values(keys_created=True))
            answered(connection, access, request, answer, self._clock.now())

        await self._engine.write(write)

    async def find(self, key_id: str) -> tuple[ApiKey, bytes] | None:
        row = await self._engine.read(lambda c: c.execute(_FIND, {"key_id": key_id}).one_or_none())
        return (_key(row), row[-1]) if row else None

    async def revoke(self, access: Access, key_id: str, request: RequestKey | None) -> ApiKey | None:
        def write(connection: Connection) -> ApiKey | None:
            mine = [t.keys.c.id == key_id, *([t.keys.c.project == access.project] if access.project else [])]
            now = self._clock.now()
            connection.execute(update(t.keys).where(*mine, t.keys.c.revoke_time.is_(None)).values(revoke_time=now))
            row = connection.execute(select(*_COLUMNS).where(*mine)).one_or_none()
            if row is None:
                return None
            answered(connection, access, request, {"key_id": key_id}, now)
            return _key(row)

        return await self._engine.write(write)

    async def page(self, project: str | None, after: tuple[int, str] | None, limit: int) -> Sequence[ApiKey]:
        at = (t.keys.c.create_time, t.keys.c.id)
        statement = select(*_COLUMNS).order_by(*(c.desc() for c in at)).limit(limit)
        if project is not None:
            statement = statement.where(t.keys.c.project == project)
        if after is not None:
            statement = statement.where(tuple_(*at) < after)
        return await self._engine.read(lambda c: [_key(row) for row in c.execute(statement)], project or "")

    async def outcome(self, access: Access, rpc: str, request_id: str) -> Outcome | None:
        return await self._engine.read(
            lambda c: queries.outcome(c, access, rpc, request_id, self._clock.now()), access.project
        )


def require_project(connection: Connection, project: str) -> None:
    """Raise ProjectNotFound unless the project exists."""
    if connection.execute(select(t.projects.c.project).where(t.projects.c.project == project)).first() is None:
        raise ProjectNotFound(project_id=project)


def answered(
    connection: Connection, access: Access, request: RequestKey | None, answer: Mapping[str, Any], now: int
) -> None:
    """Store the outcome of a request that changes no memory. Raises OutcomeTaken."""
    if request:
        store_outcome(connection, access, Change(request=request, answer=answer), 0, now)


def _key(row: Any) -> ApiKey:
    return ApiKey(
        id=row.id,
        project=row.project,
        role=Role[row.role],
        pin=scope_of(row),
        name=row.name,
        create_time=row.create_time,
        expire_time=row.expire_time,
        revoke_time=row.revoke_time,
    )
