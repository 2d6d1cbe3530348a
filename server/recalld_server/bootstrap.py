"""The composition root: the only module that names concrete adapters."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from filelock import FileLock, Timeout
from sqlalchemy.exc import ArgumentError

from recalld_server.adapters.embedders.cached import Cached
from recalld_server.adapters.embedders.minilm import MiniLm
from recalld_server.adapters.exports.formats import encoder
from recalld_server.adapters.extractors.rules import RulesExtractor
from recalld_server.adapters.index.embedded.store import EmbeddedIndex
from recalld_server.adapters.ledger.exports import SqlExports
from recalld_server.adapters.ledger.generations import SqlGenerations
from recalld_server.adapters.ledger.keys import SqlKeyRing
from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.projects import SqlProjects
from recalld_server.adapters.ledger.removals import SqlRemovals
from recalld_server.adapters.ledger.store import open_postgres, open_sqlite
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.adapters.sql.postgres import PostgresEngine
from recalld_server.adapters.system import SystemClock, SystemIds
from recalld_server.domain.analysis import ANALYSER_VERSION
from recalld_server.domain.errors import IndexUnavailable, LedgerUnavailable, SettingMissing
from recalld_server.domain.operations import BUILDS, OperationKind
from recalld_server.domain.projects import DEFAULT_PROJECT
from recalld_server.domain.revision import Generation
from recalld_server.domain.tokens import Tokens
from recalld_server.ports.clock import Clock
from recalld_server.ports.embedder import Embedder
from recalld_server.ports.index import Index
from recalld_server.ports.projects import Projects
from recalld_server.rpc.add_async import AddJob
from recalld_server.rpc.export_service import export_command
from recalld_server.rpc.maintenance import model_of
from recalld_server.settings import Settings
from recalld_server.telemetry import names
from recalld_server.telemetry.instruments import Instruments
from recalld_server.telemetry.observed import observed, observed_embedder
from recalld_server.usecases.add import Add
from recalld_server.usecases.change import Modify
from recalld_server.usecases.examiner import Examiner
from recalld_server.usecases.exports import Exporting, ExportJob
from recalld_server.usecases.features import FeatureMaker
from recalld_server.usecases.forget import Forget
from recalld_server.usecases.generations import Build
from recalld_server.usecases.imports import Import
from recalld_server.usecases.janitor import Janitor
from recalld_server.usecases.keys import Keys
from recalld_server.usecases.operations import Follow
from recalld_server.usecases.projector import Projector
from recalld_server.usecases.projects import Administration
from recalld_server.usecases.read import Read
from recalld_server.usecases.readiness import Readiness
from recalld_server.usecases.reconciler import Reconciler
from recalld_server.usecases.removal import RemovalJob, Removing
from recalld_server.usecases.search import Search
from recalld_server.usecases.signal import Committed
from recalld_server.usecases.watch import Watch
from recalld_server.usecases.worker import Job, Worker
from recalld_server.usecases.writing import Writer

log = logging.getLogger(__name__)

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")  # one letter is a drive's
EMBEDDED = "embedded"
POSTGRES = "postgresql://user:password@host:port/database"
EXTRACTORS = frozenset({"rules"})  # what a project may choose


@dataclass(frozen=True, slots=True)
class Recalld:
    """Everything that answers calls, wired. `levels` are gauges to read; `reconciler` is for engines that need one.

    `lost` returns when this server may not go on, as another has taken its ledger; on a ledger of its own never.
    `close` lets go in the reverse order of `build`.
    """

    ledger: SqlLedger
    index: Index
    embedder: Embedder
    levels: Mapping[tuple[names.Metric, str], Callable[[], int]]
    readiness: Readiness
    projector: Projector
    reconciler: Reconciler | None
    examiner: Examiner
    writer: Writer
    tokens: Tokens
    add: Add
    modify: Modify
    read: Read
    importing: Import
    search: Search
    watch: Watch
    forget: Forget
    janitor: Janitor
    keys: Keys
    projects: Administration
    worker: Worker
    follow: Follow
    exporting: Exporting
    build: Build
    removing: Removing
    lost: Callable[[], Awaitable[object]]
    opened: AsyncExitStack

    async def close(self) -> None:
        """Finish the writes under way, then let go of the engines."""
        await self.writer.drain()
        await self.opened.aclose()


class DataFolderBusy(SettingMissing):
    """Another recalld holds this data folder."""


def hold(settings: Settings) -> FileLock:
    """Take the data folder for this process. Raises DataFolderBusy, or SettingMissing when there can be none."""
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _locked(settings.data_dir / "lock")
    except Timeout:
        raise DataFolderBusy(
            f"Another recalld uses {settings.data_dir}. Stop it, or choose another folder with --data-dir."
        ) from None
    except OSError as error:
        raise SettingMissing(f"The data folder {settings.data_dir} can't be used: {error.strerror}.") from None


@contextmanager
def hold_ledger(settings: Settings) -> Iterator[None]:
    """Keep servers of this machine off a ledger in a file, and off the data folder. Raises as `hold`."""
    with ExitStack() as held:
        held.callback(hold(settings).release)
        if lock := _hold_file(settings):
            held.callback(lock.release)
        yield


def _hold_file(settings: Settings) -> FileLock | None:
    """Take a ledger in a file that the data folder's lock does not stand for. Raises DataFolderBusy."""
    path = ledger_file(settings)
    if path is None or settings.ledger == EMBEDDED:
        return None
    try:
        return _locked(path.with_name(path.name + ".lock"))
    except Timeout:
        raise DataFolderBusy(f"Another recalld uses {path}. Stop it, or choose another --ledger.") from None


def _locked(path: Path) -> FileLock:
    lock = FileLock(path)
    lock.acquire(timeout=0)
    return lock


async def build(
    settings: Settings,
    clock: Clock | None = None,
    instruments: Instruments | None = None,
    model: Embedder | None = None,
    more_embedders: Mapping[str, Embedder] | None = None,
) -> Recalld:
    """Open the engines and wire the use cases; stores and model are observed by `instruments`.

    `clock` and `model` take the place of the machine's clock and of the embedder the settings name; `more_embedders`
    are models besides that one, by name: projects may be re-embedded with them.

    Raises SettingMissing, DataFolderBusy, LedgerUnavailable.
    """
    opening = index_opener(settings)
    clock = clock or SystemClock()
    instruments = instruments or Instruments()
    async with AsyncExitStack() as opened:
        lock = hold(settings)
        opened.callback(lock.release)
        model = model or await open_embedder(settings, instruments)
        embedder = Cached(observed_embedder(model, instruments))
        opened.push_async_callback(embedder.close)
        engine = await open_ledger(settings)
        ledger = SqlLedger(engine, clock)
        opened.push_async_callback(ledger.close)
        committed, lost = await _placed(settings, engine, opened)
        index = await opening()
        opened.push_async_callback(index.close)
        levels = _levels(ledger, index, embedder, model)
        ledger, index = observed(ledger, "ledger", instruments), observed(index, "index", instruments)
        first = Generation(1, embedder.model, embedder.dimension, ANALYSER_VERSION)
        await ledger.ensure_project(DEFAULT_PROJECT, first)
        embedders = {**(more_embedders or {}), embedder.model: embedder}
        features = FeatureMaker(embedders)
        for project in await ledger.projects():
            features.embedder(await ledger.generation(project))
        return await _wired(
            ledger,
            engine,
            index,
            embedder,
            embedders,
            features,
            levels,
            first,
            clock,
            committed,
            lost,
            opened,
            settings,
        )


async def _wired(
    ledger: SqlLedger,
    engine: SqlEngine,
    index: Index,
    embedder: Embedder,
    embedders: Mapping[str, Embedder],
    features: FeatureMaker,
    levels: Mapping[tuple[names.Metric, str], Callable[[], int]],
    first: Generation,
    clock: Clock,
    committed: Committed,
    lost: Callable[[], Awaitable[object]],
    opened: AsyncExitStack,
    settings: Settings,
) -> Recalld:
    ids = SystemIds()
    projector = Projector(ledger, index, clock)
    writer = Writer(ledger, projector, committed)
    read = Read(ledger, clock)
    projects = SqlProjects(engine, clock)
    add = Add(ledger, projects, RulesExtractor(), features, writer, clock, ids)
    operations, exports = SqlOperations(engine, clock), SqlExports(engine, clock)
    if not isinstance(engine, PostgresEngine) or settings.index == EMBEDDED:
        await operations.free()  # this server has the ledger to itself: whoever had a lease is gone
    build = Build(
        ledger,
        SqlGenerations(engine, clock),
        projects,
        operations,
        index,
        features,
        projector,
        writer,
        embedders,
        settings.index,
        model_of,
    )
    removals = SqlRemovals(engine, clock)
    jobs: dict[OperationKind, Job] = {
        OperationKind.ADD: AddJob(add).run,
        OperationKind.EXPORT: ExportJob(exports, ledger, encoder, export_command, settings.export_hours).run,
        OperationKind.DELETE_PROJECT: RemovalJob(removals, operations, ledger, index).run,
        **dict.fromkeys(BUILDS, build.run),
    }
    worker = Worker(operations, jobs, clock)
    exporting = Exporting(exports, ledger, worker, ids)
    examiner = Examiner(ledger, index)
    return Recalld(
        ledger=ledger,
        index=index,
        embedder=embedder,
        levels=levels,
        readiness=Readiness(ledger, index, features, projector, clock),
        projector=projector,
        reconciler=Reconciler(ledger, index, projector, examiner, clock) if settings.index != EMBEDDED else None,
        examiner=examiner,
        writer=writer,
        tokens=Tokens(*await ledger.identity()),
        add=add,
        modify=Modify(ledger, features, writer, clock),
        read=read,
        importing=Import(ledger, features, writer, clock, ids),
        forget=Forget(ledger, index, writer, clock, [exporting]),
        janitor=Janitor(ledger, writer, clock),
        watch=Watch(ledger, read, committed, clock),
        search=Search(ledger, index, features, projector, read, clock),
        keys=Keys(SqlKeyRing(engine, clock), clock, ids),
        projects=Administration(projects, ledger, index, projector, worker, ids, first, EXTRACTORS),
        worker=worker,
        follow=Follow(operations, worker, clock, ids),
        exporting=exporting,
        build=build,
        removing=Removing(removals, worker, ids),
        lost=lost,
        opened=opened.pop_all(),  # from here on `Recalld.close` lets go of them
    )


def _levels(
    ledger: SqlLedger, index: Index, embedder: Cached, model: Embedder
) -> Mapping[tuple[names.Metric, str], Callable[[], int]]:
    levels: dict[tuple[names.Metric, str], Callable[[], int]] = {
        (names.DEPTH, "ledger"): lambda: ledger.queued,
        (names.CACHED, "features"): lambda: ledger.cached,
        (names.CACHED, "questions"): lambda: embedder.cached,
    }
    if isinstance(index, EmbeddedIndex):  # another engine knows its own
        levels[names.DEPTH, "index"] = lambda: index.queued
        levels[names.VECTORS, "vectors"] = lambda: index.held
    if isinstance(model, MiniLm):  # the others keep their queues to themselves
        levels[names.DEPTH, "embedder"] = lambda: model.queued
    return levels


@asynccontextmanager
async def open_keys(settings: Settings) -> AsyncIterator[Keys]:
    """The keys of a ledger alone, whether a server runs on it or not; a ledger is made where there is none.

    Raises LedgerUnavailable, SettingMissing.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine, clock = await open_ledger(settings), SystemClock()
    try:
        yield Keys(SqlKeyRing(engine, clock), clock, SystemIds())
    finally:
        await engine.close()


@asynccontextmanager
async def open_projects(settings: Settings) -> AsyncIterator[Projects]:
    """The projects of a ledger that several processes may write to. Raises LedgerUnavailable, SettingMissing."""
    if ledger_file(settings):
        raise SettingMissing("A ledger in a file is its server's alone: ask that server, with --target.")
    engine = await open_ledger(settings)
    try:
        yield SqlProjects(engine, SystemClock())
    finally:
        await engine.close()


def index_opener(settings: Settings) -> Callable[[], Awaitable[Index]]:
    """How the index is opened, or at least tried: an engine elsewhere may come later. Raises SettingMissing."""
    if settings.index == EMBEDDED:
        cache_bytes = settings.cache_mib * 1024 * 1024
        return partial(asyncio.to_thread, EmbeddedIndex, settings.data_dir / "index.db", cache_bytes)
    try:
        # An extra, and its driver takes 0.9 s to import.
        from recalld_server.adapters.index.weaviate.client import Address
        from recalld_server.adapters.index.weaviate.store import WeaviateIndex
    except ModuleNotFoundError as error:
        raise SettingMissing(f"--index {settings.index} needs {error.name}: pip install 'recalld[fleet]'.") from None
    address = Address.parse(settings.index, settings.index_key, tls=settings.index_tls)

    async def opened() -> Index:
        index = WeaviateIndex(address)
        try:
            await index.breaks()
        except IndexUnavailable:
            log.warning("index can't be reached; searches are refused until it can", extra={"index": str(address)})
        return index

    return opened


def ledger_file(settings: Settings) -> Path | None:
    """Where the ledger is a file; None where it is a server."""
    if settings.ledger == EMBEDDED:
        return settings.data_dir / "ledger.db"
    return None if URL.match(settings.ledger) else Path(settings.ledger)


async def open_ledger(settings: Settings, *, unfinished: bool = False) -> SqlEngine:
    """The engine that `settings` name, with its tables up to date. Raises SettingMissing, LedgerUnavailable.

    `unfinished`: also a copy that `recalld migrate` has not finished. No error tells more of a URL than its host, port
    and database: the rest may be secret.
    """
    path = ledger_file(settings)
    if path is None:
        return await _postgres(settings.ledger, unfinished)
    try:
        return await open_sqlite(path, unfinished=unfinished)
    except LedgerUnavailable as error:
        # The wrong folder may have been given.
        causes = "it is damaged, or of another program, or of a newer version of this service"
        raise LedgerUnavailable(f"{path} can't be used as the ledger and was left as it is: {causes}.") from error


def postgres_place(url: str) -> str:
    """What may be told of a URL of PostgreSQL: host, port and database. Raises SettingMissing if it is none."""
    try:
        parts = urlsplit(url)
        place = f"{parts.hostname or 'localhost'}:{parts.port or 5432}{parts.path}"
    except ValueError:  # its text quotes the URL
        raise SettingMissing(f"--ledger is not of the form {POSTGRES}.") from None
    if parts.scheme not in ("postgresql", "postgres"):
        raise SettingMissing(f"--ledger must be embedded, the path of a SQLite file, or {POSTGRES}.")
    if importlib.util.find_spec("psycopg") is None:
        raise SettingMissing("A ledger in PostgreSQL needs more than is installed: pip install 'recalld[fleet]'.")
    return place


async def _postgres(url: str, unfinished: bool) -> PostgresEngine:
    place = postgres_place(url)
    try:
        return await open_postgres(url, unfinished=unfinished)
    except ArgumentError:
        raise SettingMissing(f"--ledger is not of the form {POSTGRES}.") from None
    except LedgerUnavailable as error:
        causes = "it does not answer, or refuses this user, or holds a ledger of a newer version of this service"
        raise LedgerUnavailable(f"{place} can't be used as the ledger: {causes}. The log says more.") from error


async def _placed(
    settings: Settings, engine: SqlEngine, opened: AsyncExitStack
) -> tuple[Committed, Callable[[], Awaitable[object]]]:
    """This server's place at the ledger, given up with `opened`, and what makes commits known.

    A ledger in a file is for one server. One in PostgreSQL is shared by servers that share an index, too.
    Raises SettingMissing when there is no place, LedgerUnavailable.
    """
    if not isinstance(engine, PostgresEngine):
        if lock := _hold_file(settings):
            opened.callback(lock.release)
        return Committed(), asyncio.Event().wait
    from recalld_server.adapters.sql.courier import Courier  # psycopg is there, as the engine is

    courier = Courier(engine.address, alone=settings.index == EMBEDDED)
    committed = Committed(courier.announce)
    opened.push_async_callback(courier.close)
    await courier.start(committed.wake, committed.wake_all)
    return committed, courier.lost


async def open_embedder(settings: Settings, instruments: Instruments) -> Embedder:
    """The embedder the settings name. Raises SettingMissing, EmbedderUnavailable."""
    if settings.embedder == "minilm":
        return await asyncio.to_thread(MiniLm.start, lambda texts: instruments.observe(names.BATCH, texts))
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
