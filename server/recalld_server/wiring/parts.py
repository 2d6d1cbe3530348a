"""The parts of a server, wired: its stores, its use cases and its background tasks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.background.projector import Projector
from recalld_server.background.readiness import Readiness
from recalld_server.background.reconciler import Reconciler
from recalld_server.background.retention import Retention
from recalld_server.background.worker import Worker
from recalld_server.domain.page_tokens import Tokens
from recalld_server.domain.revision import Generation
from recalld_server.ports.embedder import Embedder
from recalld_server.ports.index import Index
from recalld_server.telemetry import metric_names
from recalld_server.usecases.add import Add
from recalld_server.usecases.commit_notifications import CommitNotifications
from recalld_server.usecases.commits import CommitCoordinator
from recalld_server.usecases.erasure import Erasure
from recalld_server.usecases.exports import ExportRequests
from recalld_server.usecases.forgetting import Forgetting
from recalld_server.usecases.imports import Imports
from recalld_server.usecases.index_audit import IndexAudit
from recalld_server.usecases.jobs.project_deletion import ProjectDeletion
from recalld_server.usecases.jobs.reindex import ReindexJob
from recalld_server.usecases.keys import Keys
from recalld_server.usecases.memories import MemoryMutations
from recalld_server.usecases.operations import OperationQueries
from recalld_server.usecases.projection import Projection
from recalld_server.usecases.projects import Administration
from recalld_server.usecases.queries import Queries
from recalld_server.usecases.search.live import Search
from recalld_server.usecases.watch import Watch


@dataclass(frozen=True)
class Stores:
    """The open stores and embedders. Calls of `ledger`, `index` and `embedder` are measured.

    `first` is the generation of a new project. `levels` are functions that read gauges, by metric and label. `lost`
    returns when this server has lost its ledger to another server and must stop; for a ledger in a file, never.
    """

    engine: SqlEngine
    ledger: SqlLedger
    index: Index
    embedder: Embedder
    embedders: Mapping[str, Embedder]
    first: Generation
    levels: Mapping[tuple[metric_names.Metric, str], Callable[[], int]]
    committed: CommitNotifications
    lost: Callable[[], Awaitable[object]]
    alone: bool  # no other server uses the ledger or the index


@dataclass(frozen=True)
class Services:
    """The use cases."""

    projection: Projection
    commits: CommitCoordinator
    add: Add
    memories: MemoryMutations
    queries: Queries
    imports: Imports
    search: Search
    watch: Watch
    forgetting: Forgetting
    erasure: Erasure
    index_audit: IndexAudit
    keys: Keys
    projects: Administration
    operations: OperationQueries
    exports: ExportRequests
    reindex: ReindexJob
    project_deletion: ProjectDeletion
    page_tokens: Tokens


@dataclass(frozen=True)
class Background:
    """The background tasks of every server. `reconciler` is None unless the index engine can lose entries."""

    readiness: Readiness
    reconciler: Reconciler | None
    retention: Retention
    projector: Projector
    worker: Worker

    @property
    def tasks(self) -> Sequence[tuple[str, Callable[[], Awaitable[None]]]]:
        """The tasks by name, in the order in which the supervisor starts them; it stops them in reverse.

        So the worker is the first to stop: it gives back the operations that are under way.
        """
        return [
            *([("reconciler", self.reconciler.run)] if self.reconciler else []),
            ("retention", self.retention.run),
            ("projector", self.projector.run),
            ("worker", self.worker.run),
        ]


@dataclass(frozen=True)
class Recalld(Stores, Services, Background):
    """All parts of a server, made by `composition.build`. `close` closes them in reverse order."""

    opened: AsyncExitStack

    async def close(self) -> None:
        """Finish the running writes, then close the stores."""
        await self.commits.drain()
        await self.erasure.close()
        await self.projection.close()
        await self.opened.aclose()
