"""The engines that settings name, opened: ledger, index, embedder, and the locks that keep two servers apart.

With `bootstrap.py` and `beside.py`, which wire what they give, the only module that names concrete adapters.
"""

from __future__ import annotations

import asyncio
import importlib.util
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from sqlalchemy.exc import ArgumentError

from recalld_server.adapters.embedders.minilm import MiniLm
from recalld_server.adapters.index.embedded.store import EmbeddedIndex
from recalld_server.adapters.ledger.store import open_postgres, open_sqlite
from recalld_server.adapters.sql.engine import SqliteEngine
from recalld_server.adapters.sql.faults import StatementRefused
from recalld_server.adapters.sql.file_lock import FileTaken, held
from recalld_server.adapters.sql.postgres import PostgresEngine
from recalld_server.adapters.sql.shutdown_marker import ShutdownMarker
from recalld_server.adapters.sql.store_health import StoreFault
from recalld_server.domain.errors import LedgerUnavailable, SettingMissing
from recalld_server.ports.embedder import Embedder
from recalld_server.ports.index import Index
from recalld_server.telemetry import metric_names
from recalld_server.telemetry.instruments import Instruments
from recalld_server.usecases.commit_notifications import CommitNotifications
from recalld_server.wiring.settings import Settings

EMBEDDED = "embedded"
CHECK = 10.0  # seconds that a start waits for the check of a ledger's file that was not closed
INDEX_FORM = "weaviate://HOST[:PORT][?grpc_port=PORT&replication=COPIES]"
FORM = "postgresql://user:password@host:port/database"
URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # one letter is a drive's


class DataFolderBusy(SettingMissing):
    """Another recalld holds this data folder."""


@contextmanager
def acquire_instance_lock(settings: Settings) -> Iterator[None]:
    """Keep every other server of this machine off the data folder and off ledger and index where they are files.

    Before they are opened, until after they are closed. Raises DataFolderBusy, or SettingMissing for a folder or a file
    that can't be used.
    """
    with ExitStack() as locks:
        locks.callback(_folder(settings.data_dir).release)
        if path := ledger_file(settings):
            locks.enter_context(_file(path, "--ledger", make=True))
        if settings.index == EMBEDDED:
            locks.enter_context(_file(index_file(settings), "--data-dir", make=False))
        yield


def _folder(path: Path) -> FileLock:
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = FileLock(path / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        raise DataFolderBusy(
            f"Another recalld uses {path}. Stop it, or choose another folder with --data-dir."
        ) from None
    except OSError as error:
        raise SettingMissing(f"The data folder {path} can't be used: {error.strerror}.") from None
    return lock


@contextmanager
def _file(path: Path, option: str, *, make: bool) -> Iterator[None]:
    with ExitStack() as locks:
        try:
            locks.enter_context(held(path, make=make))
        except FileTaken:
            raise DataFolderBusy(f"Another recalld uses {path}. Stop it, or choose another with {option}.") from None
        except OSError as error:
            raise SettingMissing(f"{path} can't be used: {error.strerror}.") from None
        yield


def index_opener(settings: Settings) -> Callable[[str], Awaitable[Index]]:
    """How the index of a ledger, named by its id, is opened; an engine elsewhere need not be there yet.

    Raises SettingMissing.
    """
    if settings.index == EMBEDDED:
        cache_bytes = settings.cache_mib * 1024 * 1024
        path = index_file(settings)

        async def beside(_: str) -> Index:
            return await asyncio.to_thread(EmbeddedIndex, path, cache_bytes)

        return beside
    if urlsplit(settings.index).scheme != "weaviate":
        raise SettingMissing(f"--index must be {EMBEDDED} or {INDEX_FORM}, not {settings.index!r}.")
    try:
        # An extra, and its driver takes 0.9 s to import.
        from recalld_server.adapters.index.weaviate.client import Address
        from recalld_server.adapters.index.weaviate.store import WeaviateIndex
    except ModuleNotFoundError as error:
        raise SettingMissing(f"--index {settings.index} needs {error.name}: pip install '.[fleet]'.") from None
    address = Address.parse(settings.index, settings.index_key, tls=settings.index_tls)

    async def opened(ledger: str) -> Index:
        return WeaviateIndex(address, ledger)

    return opened


def index_file(settings: Settings) -> Path:
    """Where the embedded index is: beside no ledger but this folder's."""
    return settings.data_dir / "index.db"


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


def ledger_name(settings: Settings) -> str:
    """Where the ledger is, without credentials: it may be shown. Raises as `ledger_file` and `ledger_server` do."""
    file = ledger_file(settings)
    return str(file) if file else f"postgresql://{ledger_server(settings.ledger)}"


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


async def open_embedder(settings: Settings, instruments: Instruments) -> Embedder:
    """The embedder the settings name. Raises SettingMissing, EmbedderUnavailable."""
    if settings.embedder == "minilm":
        return await asyncio.to_thread(MiniLm.start, lambda texts: instruments.observe(metric_names.BATCH, texts))
    if settings.embedder == "openai":
        lacking = [name for name in ("url", "key", "model") if not getattr(settings, f"embedder_{name}")]
        if lacking:
            variables = ", ".join(f"RECALLD_EMBEDDER_{name.upper()}" for name in lacking)
            raise SettingMissing(f"RECALLD_EMBEDDER=openai needs {variables}; any word will do as an unused key.")
        from recalld_server.adapters.embedders.openai import OpenAiEmbedder  # its library takes 0.7 s to import

        return await OpenAiEmbedder.start(
            base_url=settings.embedder_url,
            api_key=settings.embedder_key,
            model=settings.embedder_model,
            dimension=settings.embedder_dimension or None,
        )
    raise SettingMissing(f"RECALLD_EMBEDDER is {settings.embedder!r}; allowed: minilm, openai.")
