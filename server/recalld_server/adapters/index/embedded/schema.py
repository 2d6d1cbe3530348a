"""The file of the embedded index: its tables, and the replacement of an unusable file.

The file is a projection of the ledger. A file that is damaged, belongs to another program or has another schema is
replaced by an empty one, which is then filled from the ledger.
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

SCHEMA = 4  # increase it with any change to the tables or to the content of entries: the file is then rebuilt
APPLICATION = 0x7265636C  # "recl", the application_id in the header of the file

metadata = MetaData()

# A space is one generation of one project. Other tables refer to it by its number, which is never reused.
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

# Rows are immutable: the next entry of a memory is a new row with a higher number. So cached rows stay valid.
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

# SQLite appends the row number to every index, so each of these returns the rows of a scope in order.
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
    """Make sure that there is an intact file of this schema at `path`, and mark it as in use.

    Creates a missing file and replaces an unusable one by an empty file. If the file cannot be opened at all
    (permissions, failing disk), keeps it and raises IndexUnavailable, because it may be intact.
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
    """Record in the header whether the file is in use.

    A file that is found in use at a start was not closed cleanly, or had failed.
    """
    connection.exec_driver_sql(f"PRAGMA user_version={-SCHEMA if in_use else SCHEMA}")


def _sound(engine: Engine) -> bool:
    """Whether the file is an intact index of this schema.

    Checks the whole file if it was not closed cleanly (0.25 s for 100,000 entries).
    """
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
