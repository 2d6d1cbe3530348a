"""The composition root: opens the stores and wires use cases and background. Only `wiring` names concrete adapters."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextlib import AsyncExitStack

from recalld_server.adapters.embedders.cached import CachedEmbedder
from recalld_server.adapters.embedders.minilm import MiniLm
from recalld_server.adapters.exports.formats import encoder
from recalld_server.adapters.extractors.rules import RulesExtractor
from recalld_server.adapters.index.embedded.store import EmbeddedIndex
from recalld_server.adapters.ledger.erasure.project_deletion import SqlProjectDeletion
from recalld_server.adapters.ledger.exports import SqlExports
from recalld_server.adapters.ledger.generations import SqlGenerations
from recalld_server.adapters.ledger.keys import SqlKeyRing
from recalld_server.adapters.ledger.leases import SqlLeases
from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.projects import SqlProjects
from recalld_server.adapters.sql.postgres import PostgresEngine
from recalld_server.adapters.system import SystemClock, SystemIds
from recalld_server.background.projector import Projector
from recalld_server.background.readiness import Readiness
from recalld_server.background.reconciler import Reconciler
from recalld_server.background.retention import Retention
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
from recalld_server.telemetry import metric_names
from recalld_server.telemetry.instrumented import instrumented, instrumented_embedder
from recalld_server.telemetry.instruments import Instruments
from recalld_server.usecases.add import Add
from recalld_server.usecases.commits import CommitCoordinator
from recalld_server.usecases.erasure import Erasure
from recalld_server.usecases.exports import ExportRequests
from recalld_server.usecases.features import FeatureMaker
from recalld_server.usecases.forgetting import Forgetting
from recalld_server.usecases.imports import Imports
from recalld_server.usecases.index_audit import IndexAudit
from recalld_server.usecases.jobs.add import AddJob
from recalld_server.usecases.jobs.export import ExportJob
from recalld_server.usecases.jobs.project_deletion import ProjectDeletion, ProjectDeletionJob
from recalld_server.usecases.jobs.reindex import ReindexJob
from recalld_server.usecases.keys import Keys
from recalld_server.usecases.memories import MemoryMutations
from recalld_server.usecases.operations import OperationQueries
from recalld_server.usecases.projection import Projection
from recalld_server.usecases.projects import Administration
from recalld_server.usecases.queries import Queries
from recalld_server.usecases.search.live import Search
from recalld_server.usecases.watch import Watch
from recalld_server.usecases.work_signal import WorkSignal
from recalld_server.wiring.instance_lock import acquire_instance_lock
from recalld_server.wiring.ledger_store import join_ledger, open_ledger
from recalld_server.wiring.parts import Background, Recalld, Services, Stores
from recalld_server.wiring.settings import Settings
from recalld_server.wiring.stores import EMBEDDED, index_opener, open_embedder

log = logging.getLogger(__name__)

EXTRACTORS = frozenset({"rules"})  # the extractors that a project may choose


async def build(
    settings: Settings,
    clock: Clock | None = None,
    instruments: Instruments | None = None,
    model: Embedder | None = None,
    more_embedders: Mapping[str, Embedder] | None = None,
) -> Recalld:
    """Open the stores and wire the use cases and the background; `instruments` measure stores and embedder.

    `clock` and `model` replace the system clock and the configured embedder. `more_embedders` are additional models by
    name, with which projects may be re-embedded.

    Raises SettingMissing, DataFolderBusy, LedgerUnavailable, EmbedderUnavailable.
    """
    clock = clock or SystemClock()
    async with AsyncExitStack() as opened:
        stores = await _stores(settings, clock, instruments or Instruments(), model, more_embedders or {}, opened)
        services, background = await _services(stores, settings, clock)
        everything = {**vars(stores), **vars(services), **vars(background)}
        return Recalld(**everything, opened=opened.pop_all())  # from here on `Recalld.close` closes the stores


async def _stores(
    settings: Settings,
    clock: Clock,
    instruments: Instruments,
    model: Embedder | None,
    more_embedders: Mapping[str, Embedder],
    opened: AsyncExitStack,
) -> Stores:
    opening = index_opener(settings)
    opened.enter_context(acquire_instance_lock(settings))
    model = model or await open_embedder(settings, instruments)
    embedder = CachedEmbedder(instrumented_embedder(model, instruments))
    opened.push_async_callback(embedder.close)
    engine = await open_ledger(settings)
    ledger = SqlLedger(engine, clock)
    opened.push_async_callback(ledger.close)
    committed, lost = await join_ledger(settings, engine, opened)
    index = await opening((await ledger.identity())[0])
    opened.push_async_callback(index.close)
    try:
        await index.check()
    except IndexUnavailable as error:
        log.warning("the index is unavailable; searches are refused until it is available: %s", error)
    return Stores(
        engine=engine,
        ledger=instrumented(ledger, "ledger", instruments),
        index=instrumented(index, "index", instruments),
        embedder=embedder,
        embedders={**more_embedders, embedder.model: embedder},
        first=Generation(1, embedder.model, embedder.dimension, ANALYSER_VERSION),
        levels=_levels(ledger, index, embedder, model),
        committed=committed,
        lost=lost,
        alone=not isinstance(engine, PostgresEngine) or settings.index == EMBEDDED,
    )


async def _services(stores: Stores, settings: Settings, clock: Clock) -> tuple[Services, Background]:
    engine, ledger, index, ids = stores.engine, stores.ledger, stores.index, SystemIds()
    await ledger.ensure_project(DEFAULT_PROJECT, stores.first)
    features = FeatureMaker(stores.embedders)
    for project in await ledger.projects():
        features.embedder(await ledger.generation(project))
    projects, operations, exports = SqlProjects(engine, clock), SqlOperations(engine, clock), SqlExports(engine, clock)
    deletions, generations = SqlProjectDeletion(engine, clock), SqlGenerations(engine, clock)
    signal = WorkSignal()
    projection = Projection(ledger, index, clock, features, stores.committed)
    commits = CommitCoordinator(ledger, projection, stores.committed)
    queries, erasure = Queries(ledger, clock), Erasure(ledger, index)
    requests = ExportRequests(exports, ledger, signal, ids)
    services = Services(
        projection=projection,
        commits=commits,
        add=Add(ledger, projects, RulesExtractor(), features, commits, clock, ids),
        memories=MemoryMutations(ledger, features, commits, clock, projects),
        queries=queries,
        imports=Imports(ledger, projects, features, commits, clock, ids),
        search=Search(ledger, index, features, projection, queries, clock),
        watch=Watch(ledger, queries, stores.committed, clock),
        forgetting=Forgetting(ledger, index, commits, erasure, operations, clock, [requests]),
        erasure=erasure,
        index_audit=IndexAudit(ledger, index),
        keys=Keys(SqlKeyRing(engine, clock), clock, ids),
        projects=Administration(projects, ledger, index, projection, signal, ids, stores.first, EXTRACTORS),
        operations=OperationQueries(operations, signal, clock, ids),
        exports=requests,
        reindex=ReindexJob(
            ledger,
            generations,
            projects,
            operations,
            index,
            features,
            projection,
            commits,
            stores.embedders,
        ),
        project_deletion=ProjectDeletion(deletions, signal, ids),
        page_tokens=Tokens(*await ledger.identity()),
    )
    jobs: dict[OperationKind, Job] = {
        OperationKind.ADD: AddJob(services.add).run,
        OperationKind.EXPORT: ExportJob(exports, ledger, encoder, settings.export_hours).run,
        OperationKind.DELETE_PROJECT: ProjectDeletionJob(deletions, operations, index, erasure).run,
        **dict.fromkeys(BUILDS, services.reindex.run),
    }
    repairs, clearing = SqlLeases(engine, clock, "reconciling"), SqlLeases(engine, clock, "clearing")
    if stores.alone:  # no other server is running, so all leases are left over from a previous process
        for leases in (operations, repairs, clearing):
            await leases.free()
    await erasure.resume()
    projector = Projector(projection, ledger, index, clock)
    reconciler = Reconciler(ledger, index, projection, services.index_audit, repairs, clock)
    background = Background(
        readiness=Readiness(ledger, index, features, projector, clock),
        reconciler=None if settings.index == EMBEDDED else reconciler,
        retention=Retention(ledger, commits, clearing, clock),
        projector=projector,
        worker=Worker(operations, jobs, clock, signal),
    )
    return services, background


def _levels(
    ledger: SqlLedger, index: Index, embedder: CachedEmbedder, model: Embedder
) -> Mapping[tuple[metric_names.Metric, str], Callable[[], int]]:
    levels: dict[tuple[metric_names.Metric, str], Callable[[], int]] = {
        (metric_names.DEPTH, "ledger"): lambda: ledger.queued,
        (metric_names.CACHED, "features"): lambda: ledger.cached,
        (metric_names.CACHED, "questions"): lambda: embedder.cached,
    }
    if isinstance(index, EmbeddedIndex):  # other engines report their own metrics
        levels[metric_names.DEPTH, "index"] = lambda: index.queued
        levels[metric_names.VECTORS, "vectors"] = lambda: index.held
    if isinstance(model, MiniLm):  # the queues of other embedders are not visible
        levels[metric_names.DEPTH, "embedder"] = lambda: model.queued
    return levels
