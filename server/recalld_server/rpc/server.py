"""The gRPC server: its options, the services everyone expects, and how it stops."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from recalld_server.domain.errors import SettingMissing
from recalld_server.domain.limits import CALL_BYTES
from recalld_server.rpc.interceptors import chain
from recalld_server.rpc.interceptors.admission import CALLS, Admission
from recalld_server.rpc.interceptors.auth import Authenticator
from recalld_server.rpc.interceptors.in_flight import InFlight
from recalld_server.rpc.interceptors.quota import Limits, Quota
from recalld_server.telemetry.instruments import Instruments

SLACK = 1024 * 1024  # the library's own limit lies above ours, for its errors carry no reason
OPTIONS = (
    ("grpc.so_reuseport", 0),  # else a second server would share the port in silence
    ("grpc.max_receive_message_length", CALL_BYTES + SLACK),
    ("grpc.max_send_message_length", CALL_BYTES + SLACK),
    # A request is never inflated: 17 MB can become 17 GB, and grpcio 1.78 looks at the size only afterwards, before
    # anybody has seen the key. A compressed call ends UNIMPLEMENTED, "Compression algorithm 'gzip' is disabled."
    ("grpc.compression_enabled_algorithms_bitset", 1),  # bit 0: identity
    ("grpc.max_metadata_size", 64 * 1024),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),  # clients ping once a minute in long calls
    ("grpc.keepalive_time_ms", 60_000),  # a caller that is gone without a word leaves its streams' places
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.server_handshake_timeout_ms", 10_000),  # for TLS and the first HTTP/2 frames
    # Together these bound what callers pile up that begin calls and cancel them at once, without a key ("rapid reset").
    ("grpc.max_concurrent_streams", 256),  # of one connection; four times what one key may hold
    ("grpc.http2.max_requests_per_read", 2),  # then other connections have their turn
)
LIBRARY_CALLS = 8 * CALLS  # refused by the library without a reason: only to bound what a flood can pile up
IDLE = 300.0  # seconds without a call after which a connection is closed
AGE = 600.0  # seconds after which a connection takes no new calls; the library varies it by a tenth
CUT = 0.4  # seconds for calls that are ended to get their status
AGE_GRACE = 3600  # seconds that calls of such a connection may go on: every stream can be resumed


class Service(NamedTuple):
    """A servicer, how it is added to a server, and its full name."""

    add: Callable[[Any, grpc.aio.Server], None]
    servicer: Any
    name: str


@dataclass(slots=True)
class GrpcServer:
    """A listening server."""

    server: grpc.aio.Server
    health: health.aio.HealthServicer
    running: InFlight
    admission: Admission
    quota: Quota
    services: Sequence[str]
    port: int

    async def serving(self, name: str, ready: bool) -> None:
        """Set the health of a service, "" for the server. Without effect once it stops."""
        serving = health_pb2.HealthCheckResponse
        await self.health.set(name, serving.SERVING if ready else serving.NOT_SERVING)

    async def drain(self, grace: float) -> None:
        """Say NOT_SERVING, refuse new calls, give the running ones `grace` seconds, then end them with ShuttingDown."""
        await self.health.enter_graceful_shutdown()
        with suppress(TimeoutError):
            async with asyncio.timeout(grace):
                await self.running.drain()
                return
        self.running.cut()
        with suppress(TimeoutError):
            async with asyncio.timeout(CUT):
                await self.running.drain()

    async def close(self) -> None:
        """Close the port and all connections.

        A process that ends does without: gRPC 1.78 may crash here (SIGSEGV) if there are connections on which nothing
        was said yet.
        """
        await self.server.stop(None)  # with a grace it would also wait for callers that are only connected

    async def stop(self, grace: float) -> None:
        """Drain, then close."""
        await self.drain(grace)
        await self.close()


async def start(
    services: Sequence[Service],
    host: str,
    port: int,
    *,
    authenticator: Authenticator,
    instruments: Instruments | None = None,
    calls: int = CALLS,
    limits: Limits = Limits(),  # noqa: B008 - it is immutable
    idle: float = IDLE,
    age: float = AGE,
    credentials: grpc.ServerCredentials | None = None,
) -> GrpcServer:
    """Listen on host:port (0: a free one), without TLS if there are no credentials.

    Takes `calls` at once. Closes connections `idle` seconds after their last
    call and, if `age` is not 0, lets go of each after `age` seconds. Raises SettingMissing when the port is taken.
    """
    running = InFlight()
    instruments = instruments or Instruments()
    admission = Admission(instruments, os.cpu_count() or 1, calls)
    quota = Quota(instruments, limits, calls)
    interceptors = chain(admission, running, quota, authenticator, instruments)
    options = [*OPTIONS, *_lives(idle, age)]
    server = grpc.aio.server(interceptors=interceptors, options=options, maximum_concurrent_rpcs=LIBRARY_CALLS)
    for service in services:
        service.add(service.servicer, server)
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, server)
    names = [service.name for service in services]
    reflection.enable_server_reflection([*names, health.SERVICE_NAME, reflection.SERVICE_NAME], server)
    for name in ("", *names):
        await status.set(name, health_pb2.HealthCheckResponse.SERVING)
    address = f"[{host}]" if ":" in host else host
    try:
        at = f"{address}:{port}"
        bound = server.add_secure_port(at, credentials) if credentials else server.add_insecure_port(at)
    except RuntimeError:
        bound = 0
    if not bound:
        raise SettingMissing(f"Port {port} on {host} can't be had; another program may listen there.")
    await server.start()
    return GrpcServer(server, status, running, admission, quota, names, bound)


def _lives(idle: float, age: float) -> Sequence[tuple[str, int]]:
    """How long connections live: behind a load balancer that spreads connections, only new ones reach a new server."""
    lives = [("grpc.max_connection_idle_ms", int(idle * 1000))]
    if age:
        lives += [
            ("grpc.max_connection_age_ms", int(age * 1000)),
            ("grpc.max_connection_age_grace_ms", AGE_GRACE * 1000),
        ]
    return lives
