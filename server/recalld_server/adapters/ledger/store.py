"""Opening a ledger: its engine, its schema, its identity."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, insert, inspect, select

from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.engine import SqlEngine, SqliteEngine
from recalld_server.adapters.sql.postgres import PostgresEngine
from recalld_server.domain.errors import LedgerUnavailable, SettingMissing

E = TypeVar("E", bound=SqlEngine)
MIGRATIONS = Path(__file__).parent / "schema" / "migrations"
HEAD = "0012"  # the newest revision in schema/migrations/versions; a test compares


async def open_sqlite(path: Path, *, unfinished: bool = False) -> SqliteEngine:
    """The ledger in a SQLite file, created or brought up to date; a copy that is not finished only if asked for.

    Raises LedgerUnavailable when it is no ledger, SettingMissing when it is not finished.
    """
    return await _opened(SqliteEngine(path, unavailable=LedgerUnavailable), unfinished)


async def open_postgres(url: str, *, unfinished: bool = False) -> PostgresEngine:
    """The ledger in a PostgreSQL database, as `open_sqlite`. Raises ModuleNotFoundError, too.

    Its tables are those of the database's current schema, and the role must own them.
    """
    return await _opened(PostgresEngine(url, unavailable=LedgerUnavailable), unfinished)


async def _opened(engine: E, unfinished: bool) -> E:
    try:
        await engine.migrate(_prepare)
        if not unfinished and await engine.read(lambda c: c.execute(select(t.ledger.c.unfinished)).scalar_one()):
            raise SettingMissing("The ledger is a copy that is not finished: repeat `recalld migrate`.")
    except BaseException:
        await engine.close()
        raise
    return engine


def _prepare(connection: Connection) -> None:
    """Inside one transaction: two servers that start at once migrate one after the other."""
    if schema_version(connection) != HEAD:
        _migrate(connection)
    if connection.execute(select(t.ledger.c.id)).first() is None:
        row = {"id": secrets.token_hex(8), "secret": secrets.token_bytes(32), "keys_created": False}
        connection.execute(insert(t.ledger).values(row))


def schema_version(connection: Connection) -> str | None:
    """The newest migration applied; None in a database without a ledger."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()


def _migrate(connection: Connection) -> None:
    from alembic import command  # costs 0.2 s, needed only when the schema is behind
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerUnavailable("The ledger was written by a newer version of this service.") from error
