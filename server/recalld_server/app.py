"""A running server: what starts in which order, and what stops first."""

from __future__ import annotations

import asyncio
import logging
import signal
from contextlib import suppress
from dataclasses import dataclass

from google.longrunning import operations_pb2_grpc

from recalld.v1 import (
    entity_service_pb2_grpc,
    export_service_pb2_grpc,
    memory_service_pb2_grpc,
    project_service_pb2,
    project_service_pb2_grpc,
    search_service_pb2_grpc,
)
from recalld_server.bootstrap import Recalld, build
from recalld_server.rpc.add_async import Adding
from recalld_server.rpc.entity_service import EntityService
from recalld_server.rpc.export_service import ExportService
from recalld_server.rpc.interceptors.auth import development
from recalld_server.rpc.later import later
from recalld_server.rpc.maintenance import Maintenance
from recalld_server.rpc.memory_service import MemoryService
from recalld_server.rpc.operation import Shown
from recalld_server.rpc.operations_service import OperationsService
from recalld_server.rpc.search_service import SearchService
from recalld_server.rpc.server import GrpcServer, Service, start
from recalld_server.settings import Settings

log = logging.getLogger(__name__)

GRACE = 5.0  # seconds that running calls get when the server stops


@dataclass(slots=True)
class App:
    """A server that answers. `port` is the one it got when 0 was asked for."""

    recalld: Recalld
    server: GrpcServer
    projecting: asyncio.Task[None]
    working: asyncio.Task[None]

    @property
    def port(self) -> int:
        """Where gRPC listens."""
        return self.server.port

    @classmethod
    async def start(cls, settings: Settings) -> App:
        """Engines, then the calls, then the background: nobody is answered before there is something to answer with."""
        recalld = await build(settings)
        try:
            server = await start(_services(recalld), settings.host, settings.grpc_port, authenticator=development)
        except BaseException:
            await recalld.close()
            raise
        projecting = asyncio.create_task(recalld.projector.run())
        return cls(recalld, server, projecting, asyncio.create_task(recalld.worker.run()))

    async def stop(self) -> None:
        """The reverse: no new calls, the running ones end, accepted writes are finished, engines let go."""
        await self.server.stop(GRACE)
        for task in (self.working, self.projecting):  # work under way is given back while the ledger still answers
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.recalld.close()


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows has no signal handlers in its loop: Ctrl-C ends the process there
            loop.add_signal_handler(number, stopping.set)
    app = await App.start(settings)
    try:
        print(f"recalld ready grpc={settings.host}:{app.port}", flush=True)  # noqa: T201 - scripts wait for this line
        stop = asyncio.create_task(stopping.wait())
        await asyncio.wait([stop, app.projecting, app.working], return_when=asyncio.FIRST_COMPLETED)
    finally:
        await app.stop()


def _services(recalld: Recalld) -> list[Service]:
    adding = Adding(recalld.add, recalld.follow, recalld.tokens)
    shown = Shown(adding.answer, recalld.exporting.get)
    memory = MemoryService(recalld.add, recalld.modify, recalld.read, recalld.importing, recalld.tokens, adding, shown)
    search = SearchService(recalld.search, recalld.read, recalld.tokens)
    entity = EntityService(recalld.read, recalld.modify, recalld.tokens)
    export = ExportService(recalld.exporting, shown, recalld.tokens)
    operations = OperationsService(recalld.follow, shown, recalld.tokens)
    maintenance = Maintenance(recalld.follow, recalld.build, shown)
    project = later(project_service_pb2.DESCRIPTOR.services_by_name["ProjectService"])
    project.RebuildIndex, project.ReembedProject = maintenance.RebuildIndex, maintenance.ReembedProject
    return [
        Service(memory_service_pb2_grpc.add_MemoryServiceServicer_to_server, memory, "recalld.v1.MemoryService"),
        Service(search_service_pb2_grpc.add_SearchServiceServicer_to_server, search, "recalld.v1.SearchService"),
        Service(entity_service_pb2_grpc.add_EntityServiceServicer_to_server, entity, "recalld.v1.EntityService"),
        Service(export_service_pb2_grpc.add_ExportServiceServicer_to_server, export, "recalld.v1.ExportService"),
        Service(project_service_pb2_grpc.add_ProjectServiceServicer_to_server, project, "recalld.v1.ProjectService"),
        Service(operations_pb2_grpc.add_OperationsServicer_to_server, operations, "google.longrunning.Operations"),
    ]
