"""The ledger that settings name: where it is, what it says of itself, and how it is opened, joined and copied."""

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

CHECK = 10.0  # seconds that a start waits for the check of a ledger's file that was not closed
FORM = "postgresql://user:password@host:port/database"
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # one letter is a drive's


def ledger_file(settings: Settings) -> Path | None:
    """Where the ledger is a file; None where it is a server.

    Raises SettingMissing for a bare word: more likely a misspelt engine than a file.
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
    """The engine that `settings` name, with its tables up to date. Raises SettingMissing, LedgerUnavailable.

    `unfinished`: also a copy that `recalld migrate` has not finished. No error tells more of a URL than its host, port
    and database: the rest may be secret.
    """
    path = ledger_file(settings)
    if path is None:
        return await _postgres(settings.ledger, unfinished)
    try:
        return await open_sqlite(path, unfinished=unfinished)
    except (LedgerUnavailable, StatementRefused) as error:
        # The wrong folder may have been given.
        causes = "it is damaged, or of another program, or of a newer version of this service"
        raise LedgerUnavailable(f"{path} can't be used as the ledger and was left as it is: {causes}.") from error


async def copy_ledger(settings: Settings, target: Settings, say: transfer.Say) -> tuple[int, int]:
    """Copy the ledger of `settings` to that of `target`, compare both, and count rows and tables.

    A copy that was interrupted is resumed. Raises SettingMissing, LedgerUnavailable.
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
    """Where the ledger is, without credentials: it may be shown. Raises as `ledger_file` and `ledger_server` do."""
    file = ledger_file(settings)
    return str(file) if file else f"postgresql://{ledger_server(settings.ledger)}"


def ledger_status(settings: Settings) -> LedgerStatus:
    """What the ledger says of itself, without a migration. Blocks. Raises LedgerUnavailable, SettingMissing."""
    return status.ledger_status(ledger_file(settings) or settings.ledger)


def ledger_taken(settings: Settings) -> bool:
    """Whether a server of this machine has the ledger's file."""
    file = ledger_file(settings)
    return file is not None and taken(file)


def ledger_server(url: str) -> str:
    """Host, port and database of a ledger's URL, which may be shown. Raises SettingMissing for what is none."""
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"
    except ValueError:  # its text quotes the URL
        raise SettingMissing(f"--ledger is not of the form {FORM}.") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise SettingMissing(f"--ledger must be embedded, the path of a SQLite file, or {FORM}.")
    return place


async def _postgres(url: str, unfinished: bool) -> PostgresEngine:
    place = ledger_server(url)
    if importlib.util.find_spec("psycopg") is None:
        raise SettingMissing("A ledger in PostgreSQL needs more than is installed: pip install '.[fleet]'.")
    try:
        return await open_postgres(url, unfinished=unfinished)
    except ArgumentError:
        raise SettingMissing(f"--ledger is not of the form {FORM}.") from None
    except (LedgerUnavailable, StatementRefused) as error:
        causes = "it does not answer, or refuses this user, or holds a ledger of a newer version of this service"
        raise LedgerUnavailable(f"{place} can't be used as the ledger: {causes}. The log says more.") from error


async def join_ledger(
    settings: Settings, engine: SqliteEngine | PostgresEngine, opened: AsyncExitStack
) -> tuple[CommitNotifications, Callable[[], Awaitable[object]]]:
    """Join the servers of a ledger until `opened` closes: the notifier of commits, and what waits for the loss of it.

    A ledger in a file has one server, by `acquire_instance_lock`. Servers share one in PostgreSQL if they share the
    index, too. Raises SettingMissing where another server has the ledger to itself, LedgerUnavailable.
    """
    if not isinstance(engine, PostgresEngine):
        marker = ShutdownMarker(engine)
        opened.push_async_callback(marker.end)
        try:
            await marker.begin(CHECK)
        except (LedgerUnavailable, StatementRefused) as error:
            if not engine.file.health.has(StoreFault.DAMAGED):
                raise
            raise LedgerUnavailable(f"{engine.path} is damaged, and was left as it is: restore a backup.") from error
        return CommitNotifications(), asyncio.Event().wait
    from recalld_server.adapters.sql.notifications import CommitBus  # psycopg is there, as the engine is

    bus = CommitBus(engine.address, alone=settings.index == EMBEDDED)
    committed = CommitNotifications(bus.announce)
    opened.push_async_callback(bus.close)
    await bus.start(committed.wake, committed.wake_all)
    return committed, bus.lost
