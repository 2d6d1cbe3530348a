"""The composition root: the only module that names concrete adapters."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from recalld_server.adapters.embedders.cached import Cached
from recalld_server.adapters.embedders.minilm import MiniLm
from recalld_server.adapters.extractors.rules import RulesExtractor
from recalld_server.adapters.index.embedded.store import EmbeddedIndex
from recalld_server.adapters.ledger.keys import SqlKeyRing
from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.projects import SqlProjects
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.adapters.sql.engine import SqlEngine, SqliteEngine
from recalld_server.adapters.system import SystemClock, SystemIds
from recalld_server.domain.analysis import ANALYSER_VERSION
from recalld_server.domain.errors import IndexUnavailable, LedgerUnavailable, SettingMissing
from recalld_server.domain.projects import DEFAULT_PROJECT
from recalld_server.domain.revision import Generation
from recalld_server.domain.tokens import Tokens
from recalld_server.ports.clock import Clock
from recalld_server.ports.embedder import Embedder
from recalld_server.ports.index import Index
from recalld_server.settings import Settings
from recalld_server.telemetry import names
from recalld_server.telemetry.instruments import Instruments
from recalld_server.telemetry.observed import observed, observed_embedder
from recalld_server.usecases.add import Add
from recalld_server.usecases.change import Modify
from recalld_server.usecases.examiner import Examiner
from recalld_server.usecases.features import FeatureMaker
from recalld_server.usecases.forget import Forget
from recalld_server.usecases.imports import Import
from recalld_server.usecases.janitor import Janitor
from recalld_server.usecases.keys import Keys
from recalld_server.usecases.projector import Projector
from recalld_server.usecases.projects import Administration
from recalld_server.usecases.read import Read
from recalld_server.usecases.readiness import Readiness
from recalld_server.usecases.reconciler import Reconciler
from recalld_server.usecases.search import Search
from recalld_server.usecases.watch import Watch
from recalld_server.usecases.writing import Writer

log = logging.getLogger(__name__)

EMBEDDED = "embedded"
EXTRACTORS = frozenset({"rules"})  # what a project may choose


@dataclass(frozen=True, slots=True)
class Recalld:
    """Everything that answers calls, wired. `levels` are gauges to read; `reconciler` is for engines that need one.

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
) -> Recalld:
    """Open the engines and wire the use cases; stores and model are observed by `instruments`.

    `clock` and `model` take the place of the machine's clock and of the embedder the settings name.

    Raises SettingMissing, DataFolderBusy, LedgerUnavailable.
    """
    _check(settings)
    opening = _index(settings)
    clock = clock or SystemClock()
    instruments = instruments or Instruments()
    async with AsyncExitStack() as opened:
        lock = hold(settings)
        opened.callback(lock.release)
        model = model or await _embedder(settings, instruments)
        embedder = Cached(observed_embedder(model, instruments))
        opened.push_async_callback(embedder.close)
        engine = await _ledger(settings.data_dir / "ledger.db")
        ledger = SqlLedger(engine, clock)
        opened.push_async_callback(ledger.close)
        index = await opening()
        opened.push_async_callback(index.close)
        levels = _levels(ledger, index, embedder, model)
        ledger, index = observed(ledger, "ledger", instruments), observed(index, "index", instruments)
        first = Generation(1, embedder.model, embedder.dimension, ANALYSER_VERSION)
        await ledger.ensure_project(DEFAULT_PROJECT, first)
        features = FeatureMaker({embedder.model: embedder})
        for project in await ledger.projects():
            features.embedder(await ledger.generation(project))
        mends = settings.index != EMBEDDED
        recalld = await _wired(ledger, engine, index, embedder, features, levels, first, clock, lock, mends=mends)
        opened.pop_all()  # `Recalld.close` lets go of them from here on
        return recalld


async def _wired(
    ledger: SqlLedger,
    engine: SqlEngine,
    index: Index,
    embedder: Embedder,
    features: FeatureMaker,
    levels: Mapping[tuple[names.Metric, str], Callable[[], int]],
    first: Generation,
    clock: Clock,
    lock: FileLock,
    *,
    mends: bool,
) -> Recalld:
    ids = SystemIds()
    projector = Projector(ledger, index, clock)
    writer = Writer(ledger, projector)
    read = Read(ledger, clock)
    projects = SqlProjects(engine, clock)
    examiner = Examiner(ledger, index)
    return Recalld(
        ledger=ledger,
        index=index,
        embedder=embedder,
        levels=levels,
        readiness=Readiness(ledger, index, features, projector, clock),
        projector=projector,
        reconciler=Reconciler(ledger, index, projector, examiner, clock) if mends else None,
        examiner=examiner,
        writer=writer,
        tokens=Tokens(*await ledger.identity()),
        add=Add(ledger, projects, RulesExtractor(), features, writer, clock, ids),
        modify=Modify(ledger, features, writer, clock),
        read=read,
        importing=Import(ledger, features, writer, clock, ids),
        forget=Forget(ledger, index, writer, clock),
        janitor=Janitor(ledger, writer, clock),
        watch=Watch(ledger, read, writer.committed, clock),
        search=Search(ledger, index, features, projector, read, clock),
        keys=Keys(SqlKeyRing(engine, clock), clock, ids),
        projects=Administration(projects, ledger, index, projector, first, EXTRACTORS),
        lock=lock,
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

    Raises LedgerUnavailable.
    """
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    engine, clock = await _ledger(settings.data_dir / "ledger.db"), SystemClock()
    try:
        yield Keys(SqlKeyRing(engine, clock), clock, SystemIds())
    finally:
        await engine.close()


def _check(settings: Settings) -> None:
    if settings.ledger != EMBEDDED:
        raise SettingMissing(f"--ledger {settings.ledger!r} is not supported by this version; allowed: embedded.")


def _index(settings: Settings) -> Callable[[], Awaitable[Index]]:
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


async def _ledger(path: Path) -> SqliteEngine:
    """Names the file when it is none of ours: the wrong folder may have been given."""
    try:
        return await open_sqlite(path)
    except LedgerUnavailable as error:
        causes = "it is damaged, or of another program, or of a newer version of this service"
        raise LedgerUnavailable(f"{path} can't be used as the ledger and was left as it is: {causes}.") from error


async def _embedder(settings: Settings, instruments: Instruments) -> Embedder:
    if settings.embedder == "minilm":
        # Imported without this, onnxruntime notes its use in the home folder and reports it to its maker.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        return await asyncio.to_thread(MiniLm.start, lambda texts: instruments.observe(names.BATCH, texts))
    if settings.embedder == "openai":
        from recalld_server.adapters.embedders.openai import OpenAiEmbedder  # its library takes 0.7 s to import

        return await OpenAiEmbedder.start(
            base_url=settings.embedder_url,
            api_key=settings.embedder_key,
            model=settings.embedder_model,
            dimension=settings.embedder_dimension or None,
        )
    raise SettingMissing(f"RECALLD_EMBEDDER is {settings.embedder!r}; allowed: minilm, openai.")
