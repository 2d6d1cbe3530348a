"""The ledger that settings name: its location and status, and functions to open, join and copy it."""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from urllib.parse import urlsplit

from sqlalchemy.exc import ArgumentError

from recalld_server.adapters.ledger import transfer
from recalld_server.adapters.ledger.schema import status
from recalld_server.adapters.ledger.schema.status import LedgerStatus as LedgerStatus
from recalld_server.adapters.ledger.store import open_postgres, open_sqlite
from recalld_server.adapters.sql.engine import SqliteEngine
from recalld_server.adapters.sql.faults import StatementRefused
from recalld_server.adapters.sql.file_lock import taken
from recalld_server.adapters.sql.postgres import PostgresEngine
from recalld_server.adapters.sql.shutdown_marker import ShutdownMarker
from recalld_server.adapters.sql.store_health import StoreFault
from recalld_server.domain.errors import LedgerUnavailable, SettingMissing
from recalld_server.usecases.commit_notifications import CommitNotifications
from recalld_server.wiring.settings import Settings
from recalld_server.wiring.stores import EMBEDDED

CHECK = 10.0  # seconds that a start waits for the integrity check of a ledger file that was not closed properly
FORM = "postgresql://user:password@host:port/database"
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # a single letter would be a drive on Windows


def ledger_file(settings: Settings) -> Path | None:
    """The path of the ledger if it is a file; None if it is on a database server.

    Raises SettingMissing for a single word without a suffix, because that is more likely a misspelt engine.
    """
    if settings.ledger == EMBEDDED:
        return settings.data_dir / "ledger.db"
    if URL.match(settings.ledger):
        return None
    path = Path(settings.ledger)
    if path.name == settings.ledger and not path.suffix:
        raise SettingMissing(f"--ledger {settings.ledger!r} is not an engine; allowed: {EMBEDDED}, ./FILE, or {FORM}.")
    return path


async def open_ledger(settings: Settings, *, unfinished: bool = False) -> SqliteEngine | PostgresEngine:
    """Open the ledger that `settings` name and migrate its tables. Raises SettingMissing, LedgerUnavailable.

    With `unfinished`, also open a copy that `recalld migrate` has not finished. Errors show only host, port and
    database of a URL, because the rest may be secret.
    """
    path = ledger_file(settings)
    if path is None:
        return await _postgres(settings.ledger, unfinished)
    try:
        return await open_sqlite(path, unfinished=unfinished)
    except (LedgerUnavailable, StatementRefused) as error:
        # Name all causes: the path may simply be wrong.
        causes = "it is damaged, belongs to another program or was written by a newer version of recalld"
        raise LedgerUnavailable(f"{path} cannot be used as the ledger and was not changed: {causes}.") from error


async def copy_ledger(settings: Settings, target: Settings, say: transfer.Say) -> tuple[int, int]:
    """Copy the ledger of `settings` to that of `target` and compare both. Returns the numbers of rows and of tables.

    Resumes an interrupted copy. Raises SettingMissing, LedgerUnavailable.
    """
    original = await open_ledger(settings)
    try:
        copy = await open_ledger(target, unfinished=True)
        try:
            return await transfer.copy(original, copy, say), len(transfer.TABLES)
        finally:
            await copy.close()
    finally:
        await original.close()


def ledger_name(settings: Settings) -> str:
    """The location of the ledger without credentials, for messages. Raises SettingMissing."""
    file = ledger_file(settings)
    return str(file) if file else f"postgresql://{ledger_server(settings.ledger)}"


def ledger_status(settings: Settings) -> LedgerStatus:
    """Read the status of the ledger without a migration. Blocks. Raises LedgerUnavailable, SettingMissing."""
    return status.ledger_status(ledger_file(settings) or settings.ledger)


def ledger_taken(settings: Settings) -> bool:
    """Whether a server on this machine uses the ledger file. Raises SettingMissing."""
    file = ledger_file(settings)
    return file is not None and taken(file)


def ledger_server(url: str) -> str:
    """Host, port and database of a ledger's URL, for messages. Raises SettingMissing for an invalid URL."""
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"
    except ValueError:  # the text of the error quotes the URL, which may contain a password
        raise SettingMissing(f"--ledger is not of the form {FORM}.") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise SettingMissing(f"--ledger must be embedded, the path of a SQLite file, or {FORM}.")
    return place


async def _postgres(url: str, unfinished: bool) -> PostgresEngine:
    place = ledger_server(url)
    if importlib.util.find_spec("psycopg") is None:
        raise SettingMissing("A ledger in PostgreSQL needs psycopg, which is not installed: pip install '.[fleet]'.")
    try:
        return await open_postgres(url, unfinished=unfinished)
    except ArgumentError:
        raise SettingMissing(f"--ledger is not of the form {FORM}.") from None
    except (LedgerUnavailable, StatementRefused) as error:
        causes = "it does not answer, refuses this user, or has a ledger of a newer version of recalld"
        raise LedgerUnavailable(f"{place} cannot be used as the ledger: {causes}. See the log for details.") from error


async def join_ledger(
    settings: Settings, engine: SqliteEngine | PostgresEngine, opened: AsyncExitStack
) -> tuple[CommitNotifications, Callable[[], Awaitable[object]]]:
    """Join the servers of a ledger until `opened` closes.

    Returns the commit notifier and a function that waits until this server has lost the ledger. A ledger in a file has
    a single server (see `acquire_instance_lock`). Several servers may share a ledger in PostgreSQL if they share the
    index too. Raises SettingMissing if another server uses the ledger exclusively, LedgerUnavailable.
    """
    if not isinstance(engine, PostgresEngine):
        marker = ShutdownMarker(engine)
        opened.push_async_callback(marker.end)
        try:
            await marker.begin(CHECK)
        except (LedgerUnavailable, StatementRefused) as error:
            if not engine.file.health.has(StoreFault.DAMAGED):
                raise
            raise LedgerUnavailable(f"{engine.path} is damaged and was not changed: restore a backup.") from error
        return CommitNotifications(), asyncio.Event().wait
    from recalld_server.adapters.sql.notifications import CommitBus  # needs psycopg, which the engine needs too

    bus = CommitBus(engine.address, alone=settings.index == EMBEDDED)
    committed = CommitNotifications(bus.announce)
    opened.push_async_callback(bus.close)
    await bus.start(committed.wake, committed.wake_all)
    return committed, bus.lost
