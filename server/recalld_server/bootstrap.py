"""The composition root: the only module that names concrete adapters."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

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
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.adapters.sql.engine import SqlEngine, SqliteEngine
from recalld_server.adapters.system import SystemClock, SystemIds
from recalld_server.domain.analysis import ANALYSER_VERSION
from recalld_server.domain.errors import LedgerUnavailable, SettingMissing
from recalld_server.domain.operations import BUILDS, OperationKind
from recalld_server.domain.projects import DEFAULT_PROJECT
from recalld_server.domain.revision import Generation
from recalld_server.domain.tokens import Tokens
from recalld_server.ports.clock import Clock
from recalld_server.ports.embedder import Embedder
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
from recalld_server.usecases.search import Search
from recalld_server.usecases.watch import Watch
from recalld_server.usecases.worker import Job, Worker
from recalld_server.usecases.writing import Writer

EXTRACTORS = frozenset({"rules"})  # what a project may choose


@dataclass(frozen=True, slots=True)
class Recalld:
    """Everything that answers calls, wired. `levels` are gauges to read.

    `close` lets go in the reverse order of `build`.
    """

    ledger: SqlLedger
    index: EmbeddedIndex
    embedder: Embedder
    levels: Mapping[tuple[names.Metric, str], Callable[[], int]]
    readiness: Readiness
    projector: Projector
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
    lock: FileLock

    async def close(self) -> None:
        """Finish the writes under way, then let go of the engines."""
        await self.writer.drain()
        await self.embedder.close()
        await self.index.close()
        await self.ledger.close()
        self.lock.release()


class DataFolderBusy(SettingMissing):
    """Another recalld holds this data folder."""


def hold(settings: Settings) -> FileLock:
    """Take the data folder for this process. Raises DataFolderBusy, or SettingMissing when there can be none."""
    lock = FileLock(settings.data_dir / "lock")
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise DataFolderBusy(
            f"Another recalld uses {settings.data_dir}. Stop it, or choose another folder with --data-dir."
        ) from None
    except OSError as error:
        raise SettingMissing(f"The data folder {settings.data_dir} can't be used: {error.strerror}.") from None
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
    for name in ("ledger", "index"):
        check_engine(settings, name)
    clock = clock or SystemClock()
    instruments = instruments or Instruments()
    async with AsyncExitStack() as opened:
        lock = hold(settings)
        opened.callback(lock.release)
        model = model or await open_embedder(settings, instruments)
        embedder = Cached(observed_embedder(model, instruments))
        opened.push_async_callback(embedder.close)
        engine = await _ledger(settings.data_dir / "ledger.db")
        ledger = SqlLedger(engine, clock)
        opened.push_async_callback(ledger.close)
        cache_bytes = settings.cache_mib * 1024 * 1024
        index = await asyncio.to_thread(EmbeddedIndex, settings.data_dir / "index.db", cache_bytes)
        opened.push_async_callback(index.close)
        levels = _levels(ledger, index, embedder, model)
        ledger, index = observed(ledger, "ledger", instruments), observed(index, "index", instruments)
        first = Generation(1, embedder.model, embedder.dimension, ANALYSER_VERSION)
        await ledger.ensure_project(DEFAULT_PROJECT, first)
        embedders = {**(more_embedders or {}), embedder.model: embedder}
        features = FeatureMaker(embedders)
        for project in await ledger.projects():
            features.embedder(await ledger.generation(project))
        recalld = await _wired(
            ledger, engine, index, embedder, embedders, features, levels, first, clock, lock, settings
        )
        opened.pop_all()  # `Recalld.close` lets go of them from here on
        return recalld


async def _wired(
    ledger: SqlLedger,
    engine: SqlEngine,
    index: EmbeddedIndex,
    embedder: Embedder,
    embedders: Mapping[str, Embedder],
    features: FeatureMaker,
    levels: Mapping[tuple[names.Metric, str], Callable[[], int]],
    first: Generation,
    clock: Clock,
    lock: FileLock,
    settings: Settings,
) -> Recalld:
    ids = SystemIds()
    projector = Projector(ledger, index, clock)
    writer = Writer(ledger, projector)
    read = Read(ledger, clock)
    projects = SqlProjects(engine, clock)
    add = Add(ledger, projects, RulesExtractor(), features, writer, clock, ids)
    operations, exports = SqlOperations(engine, clock), SqlExports(engine, clock)
    await operations.free()  # this process holds the data folder: whoever had a lease is gone
    build = Build(
        ledger,
        SqlGenerations(engine, clock),
        operations,
        index,
        features,
        projector,
        writer,
        embedders,
        settings.index,
        model_of,
    )
    jobs: dict[OperationKind, Job] = {
        OperationKind.ADD: AddJob(add).run,
        OperationKind.EXPORT: ExportJob(exports, ledger, encoder, export_command, settings.export_hours).run,
        **dict.fromkeys(BUILDS, build.run),
    }
    worker = Worker(operations, jobs, clock)
    exporting = Exporting(exports, ledger, worker, ids)
    return Recalld(
        ledger=ledger,
        index=index,
        embedder=embedder,
        levels=levels,
        readiness=Readiness(ledger, index, features, projector, clock),
        projector=projector,
        examiner=Examiner(ledger, index),
        writer=writer,
        tokens=Tokens(*await ledger.identity()),
        add=add,
        modify=Modify(ledger, features, writer, clock),
        read=read,
        importing=Import(ledger, features, writer, clock, ids),
        forget=Forget(ledger, index, writer, clock, [exporting]),
        janitor=Janitor(ledger, writer, clock),
        watch=Watch(ledger, read, writer.committed, clock),
        search=Search(ledger, index, features, projector, read, clock),
        keys=Keys(SqlKeyRing(engine, clock), clock, ids),
        projects=Administration(projects, ledger, index, projector, first, EXTRACTORS),
        worker=worker,
        follow=Follow(operations, worker, clock, ids),
        exporting=exporting,
        build=build,
        lock=lock,
    )


def _levels(
    ledger: SqlLedger, index: EmbeddedIndex, embedder: Cached, model: Embedder
) -> Mapping[tuple[names.Metric, str], Callable[[], int]]:
    levels: dict[tuple[names.Metric, str], Callable[[], int]] = {
        (names.DEPTH, "ledger"): lambda: ledger.queued,
        (names.DEPTH, "index"): lambda: index.queued,
        (names.CACHED, "features"): lambda: ledger.cached,
        (names.CACHED, "questions"): lambda: embedder.cached,
        (names.VECTORS, "vectors"): lambda: index.held,
    }
    if isinstance(model, MiniLm):  # the others keep their queues to themselves
        levels[names.DEPTH, "embedder"] = lambda: model.queued
    return levels


@asynccontextmanager
async def open_keys(settings: Settings) -> AsyncIterator[Keys]:
    """The keys of a ledger alone, whether a server runs on it or not; a ledger is made where there is none.

    Raises LedgerUnavailable.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine, clock = await _ledger(settings.data_dir / "ledger.db"), SystemClock()
    try:
        yield Keys(SqlKeyRing(engine, clock), clock, SystemIds())
    finally:
        await engine.close()


def check_engine(settings: Settings, name: str) -> None:
    """Raise SettingMissing for a `ledger` or an `index` that this version does not have; a URL may hold a password."""
    kind = str(getattr(settings, name)).partition(":")[0]
    if kind != "embedded":
        raise SettingMissing(f"--{name} {kind!r} is not supported by this version; allowed: embedded.")


async def _ledger(path: Path) -> SqliteEngine:
    """Names the file when it is none of ours: the wrong folder may have been given."""
    try:
        return await open_sqlite(path)
    except LedgerUnavailable as error:
        causes = "it is damaged, or of another program, or of a newer version of this service"
        raise LedgerUnavailable(f"{path} can't be used as the ledger and was left as it is: {causes}.") from error


async def open_embedder(settings: Settings, instruments: Instruments) -> Embedder:
    """The embedder the settings name. Raises SettingMissing, EmbedderUnavailable."""
    if settings.embedder == "minilm":
        # Imported without this, onnxruntime notes its use in the home folder and reports it to its maker.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
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
