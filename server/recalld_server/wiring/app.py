"""A running server: the order in which its parts start and stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import sys
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass

from google.longrunning import operations_pb2_grpc

from recalld.v1 import (
    entity_service_pb2_grpc,
    export_service_pb2_grpc,
    memory_service_pb2_grpc,
    project_service_pb2_grpc,
    search_service_pb2_grpc,
)
from recalld_server.background.readiness import Ready
from recalld_server.background.supervisor import Supervisor
from recalld_server.concurrency.time_slices import SWITCH
from recalld_server.domain.errors import RecalldError, SettingMissing
from recalld_server.http.probes import routes
from recalld_server.http.server import HttpServer
from recalld_server.rpc.interceptors.key_authenticator import KeyAuthenticator
from recalld_server.rpc.interceptors.quota import Limits
from recalld_server.rpc.render.operation_protos import OperationRenderer
from recalld_server.rpc.server import GrpcServer, Service, start
from recalld_server.rpc.services.add_async import AsyncAdds
from recalld_server.rpc.services.entity_service import EntityService
from recalld_server.rpc.services.export_service import ExportService
from recalld_server.rpc.services.maintenance import Maintenance
from recalld_server.rpc.services.memory_service import MemoryService
from recalld_server.rpc.services.operations_service import OperationsService
from recalld_server.rpc.services.project_service import ProjectService
from recalld_server.rpc.services.search_service import SearchService
from recalld_server.rpc.tls import Certificates
from recalld_server.telemetry import metric_names
from recalld_server.telemetry.setup import Telemetry
from recalld_server.telemetry.span import observe
from recalld_server.wiring.collectors import Collectors
from recalld_server.wiring.composition import build
from recalld_server.wiring.network import certificates_of, refuse_open, require_ports
from recalld_server.wiring.parts import Recalld
from recalld_server.wiring.settings import Settings

log = logging.getLogger(__name__)

SEARCH = "recalld.v1.SearchService"
GRACE = 1.6  # seconds that running calls get when the server stops
STOP = 2.8  # seconds for the whole stop, after which the process ends in any case; the rest takes a few tenths


@dataclass(slots=True)
class App:
    """A running server. `stack` stops all its parts in the reverse order of their start."""

    recalld: Recalld
    server: GrpcServer
    http: HttpServer
    stack: AsyncExitStack

    @property
    def port(self) -> int:
        """The actual gRPC port, also if the configured one is 0."""
        return self.server.port

    @classmethod
    async def start(cls, settings: Settings, telemetry: Telemetry | None = None) -> App:
        """Open the stores, then start gRPC and HTTP, then the background tasks; if a step fails, undo the others.

        Raises SettingMissing, LedgerUnavailable, EmbedderUnavailable, ValueError (an unsupported OTLP protocol).
        """
        require_ports(settings)
        tls = certificates_of(settings)
        telemetry = telemetry or Telemetry(os.environ)
        async with AsyncExitStack() as opening, AsyncExitStack() as stack:
            recalld = await build(settings, instruments=telemetry.instruments)
            stack.push_async_callback(recalld.close)
            refuse_open(settings, keys=await recalld.keys.begun())
            server = await start(
                _services(recalld),
                settings.host,
                settings.grpc_port,
                authenticator=KeyAuthenticator(recalld.keys),
                credentials=tls.credentials() if tls else None,
                instruments=telemetry.instruments,
                calls=settings.max_calls,
                limits=Limits(
                    project_streams=settings.project_streams,
                    rate=settings.rate_limit,
                    project_rate=settings.project_rate_limit,
                ),
                idle=settings.connection_idle,
                age=settings.connection_age,
            )
            opening.push_async_callback(server.close)
            await _tell(server, Ready(ledger=True))  # the ledger is open; the first check decides on searches
            gauges = Collectors(recalld, server, telemetry.instruments)
            http = await _http(settings, recalld, server, gauges, telemetry, tls)
            telemetry.start(gauges.sample)
            stack.push_async_callback(telemetry.close)
            observe(telemetry.instruments)  # so that the stages of background work are measured as well
            supervisor = Supervisor(lambda name: telemetry.instruments.count(metric_names.FAILED, name))
            for name, run in (("gauges", gauges.run), *recalld.tasks):
                stack.push_async_callback(supervisor.start(name, run))
            stack.push_async_callback(http.stop)  # after the drain: it answers probes until all calls have ended
            stack.push_async_callback(server.drain, GRACE)
            stack.callback(recalld.operations.stop)
            stack.callback(recalld.watch.stop)
            stack.push_async_callback(
                supervisor.start("readiness", lambda: recalld.readiness.run(lambda ready: _tell(server, ready)))
            )  # stops first, or it would report SERVING again
            opening.pop_all()
            return cls(recalld, server, http, stack.pop_all())

    async def stop(self) -> None:
        """Drain, then close the port, which stays open and refuses calls until then."""
        await self.drain()
        await self.server.close()

    async def drain(self) -> None:
        """Refuse new calls, end the running ones, finish accepted writes and close the stores."""
        await self.stack.aclose()


async def _tell(server: GrpcServer, ready: Ready) -> None:
    """Set the health of each service: searches need `Ready.searches`, the others the ledger."""
    for name in ("", *server.services):
        await server.serving(name, ready.searches if name == SEARCH else ready.ledger)


async def _http(
    settings: Settings,
    recalld: Recalld,
    server: GrpcServer,
    gauges: Collectors,
    telemetry: Telemetry,
    tls: Certificates | None,
) -> HttpServer:
    async def ready() -> dict[str, bool]:
        found = Ready() if server.running.stopping.is_set() else recalld.readiness.current
        return {name: getattr(found, name) for name in Ready.__slots__}

    async def figures() -> bytes:
        await gauges.sample()
        return telemetry.instruments.text()

    async def keyed() -> bool:
        try:
            return await recalld.keys.begun(sure=False)
        except RecalldError:
            return False  # unknown: be as strict as in development mode

    try:
        # HTTP never requires client certificates, not even with --tls-client-ca: probes and scrapers have none.
        return await HttpServer.start(
            settings.host,
            settings.http_port,
            routes(ready, figures),
            keyed,
            tls=tls.context() if tls else None,
        )
    except OSError as error:
        reason = error.strerror or error
        raise SettingMissing(f"Cannot bind HTTP port {settings.http_port} on {settings.host}: {reason}.") from None


async def serve(settings: Settings) -> None:
    """Run until SIGTERM, SIGINT or the loss of the ledger.

    Afterwards the gRPC port is still open and refuses calls: the caller must end the process. Raises SettingMissing,
    LedgerUnavailable.
    """
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # event loops on Windows have no signal handlers: Ctrl-C ends the process
            loop.add_signal_handler(number, stopping.set)
    # gRPC's thread accepts one call per turn. With Python's default of 5 ms, a flood would queue up before admission.
    sys.setswitchinterval(SWITCH)
    app = await App.start(settings)
    # The objects that exist now are permanent. If the garbage collector scanned them, it would stop all calls for 0.1 s
    # every few thousand calls.
    gc.collect()
    gc.freeze()
    if not await app.recalld.keys.begun():
        print("development mode: no API key exists, so anyone on this machine may do anything", flush=True)  # noqa: T201
    try:
        scheme = "https://" if settings.tls_cert else ""
        print(f"recalld ready grpc={settings.host}:{app.port} http={scheme}{settings.host}:{app.http.port}", flush=True)  # noqa: T201 - scripts wait for this line
        ends = [asyncio.ensure_future(end) for end in (stopping.wait(), app.recalld.lost())]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _drained(app)


async def _drained(app: App) -> None:
    """Drain for STOP seconds at most. Acknowledged writes are on disk in any case."""
    draining = asyncio.ensure_future(app.drain())
    _, late = await asyncio.wait([draining], timeout=STOP)
    if late:
        log.warning("the server stops although its work did not end within %g s", STOP)
    else:
        draining.result()


def _services(recalld: Recalld) -> list[Service]:
    adding = AsyncAdds(recalld.add, recalld.operations, recalld.page_tokens)
    shown = OperationRenderer(adding.answers, recalld.exports.get)
    memory = MemoryService(
        recalld.add,
        recalld.memories,
        recalld.queries,
        recalld.imports,
        recalld.page_tokens,
        recalld.watch,
        recalld.forgetting,
        adding,
        shown,
    )
    search = SearchService(recalld.search, recalld.queries, recalld.page_tokens)
    entity = EntityService(recalld.queries, recalld.memories, recalld.page_tokens)
    export = ExportService(recalld.exports, shown, recalld.page_tokens)
    operations = OperationsService(recalld.operations, shown, recalld.page_tokens)
    maintenance = Maintenance(recalld.operations, recalld.reindex, recalld.project_deletion, shown)
    project = ProjectService(recalld.projects, recalld.keys, recalld.page_tokens, maintenance)
    return [
        Service(memory_service_pb2_grpc.add_MemoryServiceServicer_to_server, memory, "recalld.v1.MemoryService"),
        Service(search_service_pb2_grpc.add_SearchServiceServicer_to_server, search, "recalld.v1.SearchService"),
        Service(entity_service_pb2_grpc.add_EntityServiceServicer_to_server, entity, "recalld.v1.EntityService"),
        Service(export_service_pb2_grpc.add_ExportServiceServicer_to_server, export, "recalld.v1.ExportService"),
        Service(project_service_pb2_grpc.add_ProjectServiceServicer_to_server, project, "recalld.v1.ProjectService"),
        Service(operations_pb2_grpc.add_OperationsServicer_to_server, operations, "google.longrunning.Operations"),
    ]
