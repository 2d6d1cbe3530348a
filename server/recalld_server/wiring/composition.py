"""The composition root: with `engines.py`, the only module that names concrete adapters."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass

from recalld_server.adapters.embedders.cached import Cached
from recalld_server.adapters.embedders.minilm import MiniLm
from recalld_server.adapters.exports.formats import encoder
from recalld_server.adapters.extractors.rules import RulesExtractor
from recalld_server.adapters.index.embedded.store import EmbeddedIndex
from recalld_server.adapters.ledger.erasure.project_deletion import SqlRemovals
from recalld_server.adapters.ledger.exports import SqlExports
from recalld_server.adapters.ledger.generations import SqlGenerations
from recalld_server.adapters.ledger.keys import SqlKeyRing
from recalld_server.adapters.ledger.leases import SqlTurns
from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.projects import SqlProjects
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.adapters.sql.postgres import PostgresEngine
from recalld_server.adapters.system import SystemClock, SystemIds
from recalld_server.usecases.projection import Projection
from recalld_server.background.readiness import Readiness
from recalld_server.background.reconciler import Reconciler
from recalld_server.background.retention import Janitor
from recalld_server.background.worker import Job, Worker
from recalld_server.domain.analysis import ANALYSER_VERSION
from recalld_server.domain.errors import IndexUnavailable
from recalld_server.domain.operations import BUILDS, OperationKind
from recalld_server.domain.page_tokens import Tokens
from recalld_server.domain.projects import DEFAULT_PROJECT
from recalld_server.domain.revision import Generation
from recalld_server.ports.clock import Clock
from recalld_server.ports.embedder import Embedder
from recalld_server.ports.index import Index
from recalld_server.rpc.services.add_async import AddJob
from recalld_server.rpc.services.export_service import export_command
from recalld_server.rpc.services.maintenance import model_of
from recalld_server.telemetry import metric_names
from recalld_server.telemetry.instrumented import observed, observed_embedder
from recalld_server.telemetry.instruments import Instruments
from recalld_server.usecases.add import Add
from recalld_server.usecases.commit_notifications import Committed
from recalld_server.usecases.commits import Writer
from recalld_server.usecases.erasure import Erasure
from recalld_server.usecases.exports import Exporting, ExportJob
from recalld_server.usecases.features import FeatureMaker
from recalld_server.usecases.forgetting import Forget
from recalld_server.usecases.imports import Import
from recalld_server.usecases.index_audit import Examiner
from recalld_server.usecases.jobs.project_deletion import RemovalJob, Removing
from recalld_server.usecases.jobs.reindex import Build
from recalld_server.usecases.keys import Keys
from recalld_server.usecases.memories import Modify
from recalld_server.usecases.operations import Follow
from recalld_server.usecases.projects import Administration
from recalld_server.usecases.queries import Read
from recalld_server.usecases.search import Search
from recalld_server.usecases.watch import Watch
from recalld_server.wiring.settings import Settings
from recalld_server.wiring.stores import EMBEDDED, hold, index_opener, open_embedder, open_ledger, placed

log = logging.getLogger(__name__)

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
    levels: Mapping[tuple[metric_names.Metric, str], Callable[[], int]]
    readiness: Readiness
    projection: Projection
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
    erasure: Erasure
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
        await self.erasure.close()
        await self.projection.close()
        await self.opened.aclose()


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
        opened.enter_context(hold(settings))
        model = model or await open_embedder(settings, instruments)
        embedder = Cached(observed_embedder(model, instruments))
        opened.push_async_callback(embedder.close)
        engine = await open_ledger(settings)
        ledger = SqlLedger(engine, clock)
        opened.push_async_callback(ledger.close)
        committed, lost = await placed(settings, engine, opened)
        index = await opening((await ledger.identity())[0])
        opened.push_async_callback(index.close)
        try:
            await index.check()
        except IndexUnavailable as error:
            log.warning("index can't be used; searches are refused until it can: %s", error)
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
    levels: Mapping[tuple[metric_names.Metric, str], Callable[[], int]],
    first: Generation,
    clock: Clock,
    committed: Committed,
    lost: Callable[[], Awaitable[object]],
    opened: AsyncExitStack,
    settings: Settings,
) -> Recalld:
    ids = SystemIds()
    projection = Projection(ledger, index, clock, features, committed)
    writer = Writer(ledger, projection, committed)
    read = Read(ledger, clock)
    projects = SqlProjects(engine, clock)
    add = Add(ledger, projects, RulesExtractor(), features, writer, clock, ids)
    operations, exports = SqlOperations(engine, clock), SqlExports(engine, clock)
    turns, clearing = SqlTurns(engine, clock, "reconciling"), SqlTurns(engine, clock, "clearing")
    if not isinstance(engine, PostgresEngine) or settings.index == EMBEDDED:
        await operations.free()  # this server has the ledger to itself: whoever had a lease is gone
        await turns.free()
        await clearing.free()
    build = Build(
        ledger,
        SqlGenerations(engine, clock),
        projects,
        operations,
        index,
        features,
        projection,
        writer,
        embedders,
        model_of,
    )
    removals = SqlRemovals(engine, clock)
    erasure = Erasure(ledger, index)
    await erasure.resume()
    jobs: dict[OperationKind, Job] = {
        OperationKind.ADD: AddJob(add).run,
        OperationKind.EXPORT: ExportJob(exports, ledger, encoder, export_command, settings.export_hours).run,
        OperationKind.DELETE_PROJECT: RemovalJob(removals, operations, index, erasure).run,
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
        projection=projection,
        projector=projector,
        reconciler=Reconciler(ledger, index, projection, examiner, turns, clock) if settings.index != EMBEDDED else None,
        examiner=examiner,
        writer=writer,
        tokens=Tokens(*await ledger.identity()),
        add=add,
        modify=Modify(ledger, features, writer, clock, projects),
        read=read,
        importing=Import(ledger, projects, features, writer, clock, ids),
        forget=Forget(ledger, index, writer, erasure, operations, clock, [exporting]),
        erasure=erasure,
        janitor=Janitor(ledger, writer, clearing, clock),
        watch=Watch(ledger, read, committed, clock),
        search=Search(ledger, index, features, projection, read, clock),
        keys=Keys(SqlKeyRing(engine, clock), clock, ids),
        projects=Administration(projects, ledger, index, projection, worker, ids, first, EXTRACTORS),
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
) -> Mapping[tuple[metric_names.Metric, str], Callable[[], int]]:
    levels: dict[tuple[metric_names.Metric, str], Callable[[], int]] = {
        (metric_names.DEPTH, "ledger"): lambda: ledger.queued,
        (metric_names.CACHED, "features"): lambda: ledger.cached,
        (metric_names.CACHED, "questions"): lambda: embedder.cached,
    }
    if isinstance(index, EmbeddedIndex):  # another engine knows its own
        levels[metric_names.DEPTH, "index"] = lambda: index.queued
        levels[metric_names.VECTORS, "vectors"] = lambda: index.held
    if isinstance(model, MiniLm):  # the others keep their queues to themselves
        levels[metric_names.DEPTH, "embedder"] = lambda: model.queued
    return levels
