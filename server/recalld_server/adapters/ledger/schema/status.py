"""Reads the state of a ledger without migrating it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect, select

from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.ledger.store import HEAD, schema_version
from recalld_server.adapters.sql.read_only import open_read_only
from recalld_server.domain.errors import LedgerUnavailable
from recalld_server.domain.revision import Generation


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """The state of a ledger.

    `version` is the schema version, None if there is no ledger yet. `keyed`: an API key was ever created. `models` are
    the embedding models of its projects' generations.
    """

    version: str | None = None
    keyed: bool = False
    models: frozenset[str] = frozenset()

    @property
    def current(self) -> bool:
        """Whether the schema is up to date. If not, the next start of a server of this version migrates it."""
        return self.version == HEAD


def ledger_status(place: Path | str) -> LedgerStatus:
    """The state of the ledger in a SQLite file or at a PostgreSQL URL. A missing file has an empty state. Blocks.

    Raises LedgerUnavailable if the ledger cannot be reached, belongs to another program or a newer version, or is an
    unfinished copy. Raises SettingMissing for an invalid URL or a missing driver.
    """
    if isinstance(place, Path) and not place.exists():
        return LedgerStatus()
    return open_read_only(place, _read)


def _read(connection: Connection) -> LedgerStatus:
    version = schema_version(connection)
    if version is None:
        if set(inspect(connection).get_table_names()) & set(t.metadata.tables):
            raise LedgerUnavailable("its tables belong to another program")
        return LedgerStatus()
    if version > HEAD:  # versions have four digits, so text order is numeric order
        raise LedgerUnavailable(f"its version {version} is newer than this program's, {HEAD}")
    if version == HEAD and connection.execute(select(t.ledger.c.unfinished)).scalar():
        raise LedgerUnavailable("it is a copy that is not finished: run `recalld migrate` again to finish it")
    keyed = connection.execute(select(t.ledger.c.keys_created)).scalar()
    named = connection.execute(select(t.projects.c.generation).distinct()).scalars()
    return LedgerStatus(version, bool(keyed), frozenset(Generation.parse(name).model for name in named))
