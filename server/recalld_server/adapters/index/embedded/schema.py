"""The embedded index's file: its tables, and what becomes of a file that can't be used.

The file is a projection of the ledger. One that is damaged, foreign or of another schema is replaced by an empty one,
which the ledger then fills again.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Engine,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    create_engine,
    text,
)
from sqlalchemy.exc import DatabaseError, OperationalError
from sqlean import dbapi2 as sqlite

from recalld_server.domain.errors import IndexUnavailable
from recalld_server.domain.filters import OPTIONAL_TIMES, TIME_FIELDS
from recalld_server.domain.memory import SCOPE_FIELDS

log = logging.getLogger(__name__)

SCHEMA = 3  # raise it with any change to the tables or what an entry holds: the file is then built anew
APPLICATION = 0x7265636C  # "recl" in the header of the file

metadata = MetaData()

# A space is one generation of one project. Its number stands for it everywhere else, and is never given again.
spaces = Table(
    "spaces",
    metadata,
    Column("space", Integer, primary_key=True, autoincrement=True),
    Column("project", Text, nullable=False),
    Column("generation", Text, nullable=False),
    Column("mark", BigInteger, nullable=False),
    UniqueConstraint("project", "generation"),
    sqlite_autoincrement=True,
)

# A row never changes: a memory's next entry is a row with a higher number, so what was read of a row stays true.
entries = Table(
    "entries",
    metadata,
    Column("row", Integer, primary_key=True, autoincrement=True),
    Column("space", Integer, nullable=False),
    Column("memory_id", Text, nullable=False),
    Column("revision", Integer, nullable=False),
    *(Column(name, Text, nullable=False) for name in SCOPE_FIELDS),
    *(Column(name, BigInteger, nullable=name in OPTIONAL_TIMES) for name in TIME_FIELDS),
    Column("text", Text, nullable=False),
    Column("folded", Text, nullable=False),
    Column("terms", LargeBinary, nullable=False),  # little-endian uint32, with repeats
    Column("vector", LargeBinary, nullable=False),  # little-endian float16
    UniqueConstraint("space", "memory_id"),
    sqlite_autoincrement=True,
)

# SQLite ends every index with the row number, so each of these gives the rows of a scope in order.
Index("entries_space", entries.c.space)
for _name in SCOPE_FIELDS:
    Index(f"entries_{_name}", entries.c.space, entries.c[_name], sqlite_where=entries.c[_name] != "")

facets = Table(
    "facets",
    metadata,
    Column("row", Integer, primary_key=True),
    Column("ordinal", Integer, primary_key=True),
    Column("key", Text, nullable=False),
    Column("kind", Text, nullable=False),
    Column("text", Text),
    Column("folded", Text),
    Column("number", Float(53)),
    sqlite_with_rowid=False,
)


def prepare(path: Path) -> None:
    """Leave a sound file of this schema at `path`, empty if there was none, and marked as in use.

    Raises IndexUnavailable when the file can't be opened at all (permissions, a failing disk): it may still be sound.
    """
    engine = create_engine(f"sqlite:///{path}", module=sqlite)
    try:
        if path.exists() and not _sound(engine):
            log.warning("index is unusable and starts empty; it will be rebuilt", extra={"store": path.stem})
            engine.dispose()
            for suffix in ("", "-wal", "-shm", "-journal"):
                Path(f"{path}{suffix}").unlink(missing_ok=True)
        with engine.begin() as connection:
            if _pragma(connection, "user_version") == 0:
                connection.exec_driver_sql("PRAGMA journal_mode=WAL")
                metadata.create_all(connection)
                connection.exec_driver_sql(f"PRAGMA application_id={APPLICATION}")
            set_in_use(connection, True)
    except OperationalError as error:
        log.error("index can't be opened", extra={"store": path.stem}, exc_info=error.orig)
        raise IndexUnavailable from None
    finally:
        engine.dispose()


def set_in_use(connection: Connection, in_use: bool) -> None:
    """Note in the header whether the file is open. One found in use was not closed, or was seen to fail."""
    connection.exec_driver_sql(f"PRAGMA user_version={-SCHEMA if in_use else SCHEMA}")


def _sound(engine: Engine) -> bool:
    """Whether the file is ours. One that was not closed is read through (0.25 s for 100,000 entries)."""
    try:
        with engine.connect() as connection:
            version = _pragma(connection, "user_version")
            if abs(version) != SCHEMA or _pragma(connection, "application_id") != APPLICATION:
                return False
            for name in metadata.tables:
                connection.execute(text(f"SELECT 1 FROM {name} LIMIT 1"))  # noqa: S608 - our own table names
            return version > 0 or connection.exec_driver_sql("PRAGMA quick_check(1)").scalar() == "ok"
    except OperationalError as error:
        if "no such table" in str(error.orig):
            return False
        raise
    except DatabaseError:  # not a database, or malformed
        return False


def _pragma(connection: Connection, name: str) -> int:
    return int(connection.exec_driver_sql(f"PRAGMA {name}").scalar_one())
