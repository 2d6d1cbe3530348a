"""A running server: what starts in which order, and what stops first."""

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
STOP = 2.8  # seconds for the whole stop, of which the rest takes a few tenths; then the process ends all the same


@dataclass(slots=True)
class App:
    """A server that answers. `port` is the one it got when 0 was asked for."""

    recalld: Recalld
    server: GrpcServer
    http: HttpServer
    stack: AsyncExitStack  # stops all that was started, in the reverse order

    @property
    def port(self) -> int:
        """Where gRPC listens."""
        return self.server.port

    @classmethod
    async def start(cls, settings: Settings, telemetry: Telemetry | None = None) -> App:
        """Engines, then the background, then the calls: nobody is answered before there is something to answer with."""
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
            await _tell(server, Ready(ledger=True))  # it was opened; of searches the first look tells
            gauges = Collectors(recalld, server, telemetry.instruments)
            http = await _http(settings, recalld, server, gauges, telemetry, tls)
            telemetry.start(gauges.sample)
            stack.push_async_callback(telemetry.close)
            observe(telemetry.instruments)  # the background's work counts as well
            supervisor = Supervisor(lambda name: telemetry.instruments.count(metric_names.FAILED, name))
            for name, run in (("gauges", gauges.run), *recalld.tasks):
                stack.push_async_callback(supervisor.start(name, run))
            stack.push_async_callback(http.stop)  # it answers probes until the calls have ended
            stack.push_async_callback(server.drain, GRACE)
            stack.callback(recalld.operations.stop)
            stack.callback(recalld.watch.stop)
            stack.push_async_callback(
                supervisor.start("readiness", lambda: recalld.readiness.run(lambda ready: _tell(server, ready)))
            )  # the first to stop, or it would say SERVING again
            opening.pop_all()
            return cls(recalld, server, http, stack.pop_all())

    async def stop(self) -> None:
        """Drain, then close the port, which refuses calls until then."""
        await self.drain()
        await self.server.close()

    async def drain(self) -> None:
        """No new calls, the running ones end, accepted writes are finished, engines let go."""
        await self.stack.aclose()


async def _tell(server: GrpcServer, ready: Ready) -> None:
    """Health by service (design, section 2): searches need both stores, everything else the ledger."""
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
            return False  # not known to be: as in development mode

    try:
        # No certificates of callers, also with --tls-client-ca: whoever asks for probes and figures has none.
        return await HttpServer.start(
            settings.host,
            settings.http_port,
            routes(ready, figures),
            keyed,
            tls=tls.context() if tls else None,
        )
    except OSError:
        raise SettingMissing(f"HTTP port {settings.http_port} on {settings.host} can't be had.") from None


async def serve(settings: Settings) -> None:
    """Run until SIGTERM or SIGINT. The caller ends the process then: the port stays open, and refuses calls."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError):  # Windows has no signal handlers in its loop: Ctrl-C ends the process there
            loop.add_signal_handler(number, stopping.set)
    # gRPC's thread takes one call at each turn: with Python's own 0.005 s a flood makes a queue before our gate.
    sys.setswitchinterval(SWITCH)
    app = await App.start(settings)
    # What is here now stays: collections that look through it stop all calls for 0.1 s every few thousand calls.
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
    """Drain for STOP seconds at most. What was acknowledged is on the disk in any case."""
    draining = asyncio.ensure_future(app.drain())
    _, late = await asyncio.wait([draining], timeout=STOP)
    if late:
        log.warning("the server ends with work under way, which did not end within %g s", STOP)
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
