"""Opens a ledger: creates the engine, migrates the schema and creates the ledger's identity."""

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
HEAD = "0013"  # the newest migration in schema/migrations/versions; a test checks that they agree


async def open_sqlite(path: Path, *, unfinished: bool = False) -> SqliteEngine:
    """Open the ledger in a SQLite file. Creates a missing file and migrates an older schema.

    Raises LedgerUnavailable if the file is not a ledger or a newer version wrote it, and SettingMissing if it is an
    unfinished copy, unless `unfinished` is True.
    """
    return await _opened(SqliteEngine(path, unavailable=LedgerUnavailable), unfinished)


async def open_postgres(url: str, *, unfinished: bool = False) -> PostgresEngine:
    """Open the ledger in a PostgreSQL database, like `open_sqlite`. Also raises ModuleNotFoundError without psycopg.

    The tables are in the current schema of the connection, and the role must own them.
    """
    return await _opened(PostgresEngine(url, unavailable=LedgerUnavailable), unfinished)


async def _opened(engine: E, unfinished: bool) -> E:
    try:
        await engine.migrate(_prepare)
        if not unfinished and await engine.read(lambda c: c.execute(select(t.ledger.c.unfinished)).scalar_one()):
            raise SettingMissing("The ledger is a copy that is not finished: run `recalld migrate` again to finish it.")
    except BaseException:
        await engine.close()
        raise
    return engine


def _prepare(connection: Connection) -> None:
    """Migrate and create the identity in one transaction, so that two servers that start together take turns."""
    if schema_version(connection) != HEAD:
        _migrate(connection)
    if connection.execute(select(t.ledger.c.id)).first() is None:
        row = {"id": secrets.token_hex(8), "secret": secrets.token_bytes(32), "keys_created": False}
        connection.execute(insert(t.ledger).values(row))


def schema_version(connection: Connection) -> str | None:
    """The newest applied migration; None if the database has no ledger."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar_one_or_none()


def _migrate(connection: Connection) -> None:
    from alembic import command  # the import takes 0.2 s and is needed only for an old schema
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        raise LedgerUnavailable("A newer version of recalld wrote this ledger; start that version.") from error
