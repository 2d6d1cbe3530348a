"""Parts of a recalld that work on the ledger itself, whether servers run on it or not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from recalld.v1 import project_service_pb2 as pb
from recalld_server.adapters.ledger.keys import SqlKeyRing
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.projects import SqlProjects
from recalld_server.adapters.system import SystemClock, SystemIds
from recalld_server.domain.errors import SettingMissing
from recalld_server.domain.operations import OperationKind
from recalld_server.engines import ledger_file, open_ledger
from recalld_server.ports.projects import Projects
from recalld_server.rpc.convert import operation_key
from recalld_server.settings import Settings
from recalld_server.usecases.builds import Asked, Builds
from recalld_server.usecases.keys import Keys


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


def build_of(request: pb.RebuildIndexRequest | pb.ReembedProjectRequest) -> Asked:
    """The work a server would begin when it got this request, which names no project."""
    rpc = type(request).__name__.removesuffix("Request")
    kind = OperationKind.REEMBED_PROJECT if rpc == "ReembedProject" else OperationKind.REBUILD_INDEX
    return Asked(kind, operation_key(rpc, request), request.SerializeToString())


@asynccontextmanager
async def open_builds(settings: Settings) -> AsyncIterator[Builds]:
    """Work for the servers of a ledger, whether one runs or not. Raises LedgerUnavailable, SettingMissing."""
    engine, clock = await open_ledger(settings), SystemClock()
    try:
        yield Builds(SqlProjects(engine, clock), SqlOperations(engine, clock), clock, SystemIds())
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
