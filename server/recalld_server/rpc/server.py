"""The gRPC server: its options, the health and reflection services, and its graceful shutdown."""

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

SLACK = 1024 * 1024  # bytes by which gRPC's own limit exceeds ours, because its errors carry no reason
OPTIONS = (
    ("grpc.so_reuseport", 0),  # otherwise a second server could silently share the port
    ("grpc.max_receive_message_length", CALL_BYTES + SLACK),
    ("grpc.max_send_message_length", CALL_BYTES + SLACK),
    # Never decompress requests: 17 MB can become 17 GB. grpcio 1.78 checks the size only after decompression, which it
    # does before authentication. A compressed call ends UNIMPLEMENTED, "Compression algorithm 'gzip' is disabled."
    ("grpc.compression_enabled_algorithms_bitset", 1),  # bit 0: identity
    ("grpc.max_metadata_size", 64 * 1024),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 30_000),  # clients ping once a minute in long calls
    ("grpc.keepalive_time_ms", 60_000),  # detects vanished callers, whose streams would count against the limits
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.server_handshake_timeout_ms", 10_000),  # for TLS and the first HTTP/2 frames
    # Together these two bound the cost of callers that start calls and cancel them at once, without a key ("rapid
    # reset").
    ("grpc.max_concurrent_streams", 256),  # per connection; four times the streams of one key
    ("grpc.http2.max_requests_per_read", 2),  # then it is the turn of other connections
)
LIBRARY_CALLS = 8 * CALLS  # only bounds the calls of a flood: beyond it gRPC refuses calls without a reason
IDLE = 300.0  # seconds without a call after which a connection is closed
AGE = 600.0  # seconds after which a connection takes no new calls; gRPC varies it by a tenth
CUT = 0.4  # seconds for cut calls to send their status
AGE_GRACE = 3600  # seconds for which the calls of an aged connection may continue: every stream can be resumed


class Service(NamedTuple):
    """A servicer, the function that adds it to a server, and the full name of its service."""

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
        """Set the health of a service; the name "" means the whole server. No effect once the server stops."""
        serving = health_pb2.HealthCheckResponse
        await self.health.set(name, serving.SERVING if ready else serving.NOT_SERVING)

    async def drain(self, grace: float) -> None:
        """Report NOT_SERVING and refuse new calls. Calls that still run after `grace` seconds end with ShuttingDown."""
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

        A process that is about to exit should skip this: gRPC 1.78 may crash here (SIGSEGV) if there are connections
        without any call yet.
        """
        await self.server.stop(None)  # with a grace period it would also wait for idle connections

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
    """Start to listen on host:port (port 0: a free one), without TLS if there are no credentials.

    At most `calls` calls run at once. A connection is closed `idle` seconds after its last call. If `age` is not 0, a
    connection takes no new calls after `age` seconds. Raises SettingMissing if the port cannot be bound.
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
        raise SettingMissing(f"Cannot bind gRPC port {port} on {host}; another program may already use it.")
    await server.start()
    return GrpcServer(server, status, running, admission, quota, names, bound)


def _lives(idle: float, age: float) -> Sequence[tuple[str, int]]:
    """The options for the lifetime of connections. `age` makes clients reconnect: a load balancer that distributes
    connections sends only new ones to a new server.
    """
    lives = [("grpc.max_connection_idle_ms", int(idle * 1000))]
    if age:
        lives += [
            ("grpc.max_connection_age_ms", int(age * 1000)),
            ("grpc.max_connection_age_grace_ms", AGE_GRACE * 1000),
        ]
    return lives
