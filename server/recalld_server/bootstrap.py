"""The composition root: the only module that names concrete adapters."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from filelock import FileLock, Timeout

from recalld_server.adapters.embedders.cached import Cached
from recalld_server.adapters.embedders.minilm import MiniLm
from recalld_server.adapters.exports.formats import encoder
from recalld_server.adapters.extractors.rules import RulesExtractor
from recalld_server.adapters.index.embedded.store import EmbeddedIndex
from recalld_server.adapters.ledger.exports import SqlExports
from recalld_server.adapters.ledger.generations import SqlGenerations
from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.adapters.system import SystemClock, SystemIds
from recalld_server.domain.analysis import ANALYSER_VERSION
from recalld_server.domain.errors import SettingMissing
from recalld_server.domain.operations import BUILDS, OperationKind
from recalld_server.domain.revision import Generation
from recalld_server.domain.tokens import Tokens
from recalld_server.ports.clock import Clock
from recalld_server.ports.embedder import Embedder
from recalld_server.rpc.add_async import AddJob
from recalld_server.rpc.export_service import export_command
from recalld_server.rpc.maintenance import model_of
from recalld_server.settings import Settings
from recalld_server.usecases.add import Add
from recalld_server.usecases.change import Modify
from recalld_server.usecases.examiner import Examiner
from recalld_server.usecases.exports import Exporting, ExportJob
from recalld_server.usecases.features import FeatureMaker
from recalld_server.usecases.generations import Build
from recalld_server.usecases.imports import Import
from recalld_server.usecases.operations import Follow
from recalld_server.usecases.projector import Projector
from recalld_server.usecases.read import Read
from recalld_server.usecases.search import Search
from recalld_server.usecases.worker import Job, Worker
from recalld_server.usecases.writing import Writer

DEFAULT_PROJECT = "default"


@dataclass(frozen=True, slots=True)
class Recalld:
    """Everything that answers calls, wired. `close` lets go in the reverse order of `build`."""

    ledger: SqlLedger
    index: EmbeddedIndex
    embedder: Embedder
    projector: Projector
    examiner: Examiner
    writer: Writer
    tokens: Tokens
    add: Add
    modify: Modify
    read: Read
    importing: Import
    search: Search
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
    """Take the data folder for this process; raises DataFolderBusy when another has it."""
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = FileLock(settings.data_dir / "lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise DataFolderBusy(
            f"Another recalld uses {settings.data_dir}. Stop it, or choose another folder with --data-dir."
        ) from None
    return lock


async def build(
    settings: Settings, clock: Clock | None = None, more_embedders: Mapping[str, Embedder] | None = None
) -> Recalld:
    """Open the engines and wire the use cases. Raises SettingMissing, DataFolderBusy, LedgerUnavailable.

    `more_embedders` are models besides that of the settings, by name: projects may be re-embedded with them.
    """
    _check(settings)
    lock = hold(settings)
    try:
        clock = clock or SystemClock()
        model, engine, index = await asyncio.gather(
            _embedder(settings),
            open_sqlite(settings.data_dir / "ledger.db"),
            asyncio.to_thread(EmbeddedIndex, settings.data_dir / "index.db", settings.cache_mib * 1024 * 1024),
        )
        embedder = Cached(model)
        ledger = SqlLedger(engine, clock)
        first = Generation(1, embedder.model, embedder.dimension, ANALYSER_VERSION)
        await ledger.ensure_project(DEFAULT_PROJECT, first)
        embedders = {**(more_embedders or {}), embedder.model: embedder}
        features = FeatureMaker(embedders)
        for project in await ledger.projects():
            features.embedder(await ledger.generation(project))
        return await _wired(ledger, engine, index, embedder, embedders, features, clock, lock, settings)
    except BaseException:
        lock.release()
        raise


async def _wired(
    ledger: SqlLedger,
    engine: SqlEngine,
    index: EmbeddedIndex,
    embedder: Embedder,
    embedders: Mapping[str, Embedder],
    features: FeatureMaker,
    clock: Clock,
    lock: FileLock,
    settings: Settings,
) -> Recalld:
    ids = SystemIds()
    projector = Projector(ledger, index, clock)
    writer = Writer(ledger, projector)
    read = Read(ledger, clock)
    add = Add(ledger, RulesExtractor(), features, writer, clock, ids)
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
    return Recalld(
        ledger=ledger,
        index=index,
        embedder=embedder,
        projector=projector,
        examiner=Examiner(ledger, index),
        writer=writer,
        tokens=Tokens(*await ledger.identity()),
        add=add,
        modify=Modify(ledger, features, writer, clock),
        read=read,
        importing=Import(ledger, features, writer, clock, ids),
        search=Search(ledger, index, features, projector, read, clock),
        worker=worker,
        follow=Follow(operations, worker, clock, ids),
        exporting=Exporting(exports, ledger, worker, ids),
        build=build,
        lock=lock,
    )


def _check(settings: Settings) -> None:
    for name in ("ledger", "index"):
        value = getattr(settings, name)
        if value != "embedded":
            raise SettingMissing(f"--{name} {value!r} is not supported by this version; allowed: embedded.")


async def _embedder(settings: Settings) -> Embedder:
    if settings.embedder == "minilm":
        return await asyncio.to_thread(MiniLm.start)
    if settings.embedder == "openai":
        from recalld_server.adapters.embedders.openai import OpenAiEmbedder  # its library takes 0.7 s to import

        return await OpenAiEmbedder.start(
            base_url=settings.embedder_url,
            api_key=settings.embedder_key,
            model=settings.embedder_model,
            dimension=settings.embedder_dimension or None,
        )
    raise SettingMissing(f"RECALLD_EMBEDDER is {settings.embedder!r}; allowed: minilm, openai.")
