"""Connections to a server: target, API key, TLS, timeouts and retries."""

from __future__ import annotations

import ipaddress
import json
import math
import os
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import grpc
import grpc.aio
from google.longrunning import operations_pb2_grpc

from recalld import validation
from recalld.errors import CORRELATION_KEY, invalid
from recalld.options import Timeout, Unset
from recalld.v1 import (
    entity_service_pb2,
    entity_service_pb2_grpc,
    export_service_pb2_grpc,
    memory_service_pb2,
    memory_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)

DEFAULT_PORT = 7420
DEFAULT_TARGET = f"localhost:{DEFAULT_PORT}"
DEFAULT_TIMEOUT = 30.0  # seconds
MAX_MESSAGE = 17 * 1024 * 1024  # more than the API's limit of 16 MiB, so that the server's error explains the limit
RETRY = {
    "maxAttempts": 4,
    "initialBackoff": "0.25s",  # with the next two about 3 s, enough for a restart of the server
    "maxBackoff": "3s",
    "backoffMultiplier": 3,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
ON, OFF = ("1", "true", "yes", "on"), ("0", "false", "no", "off")
Tls: TypeAlias = bool | str | os.PathLike[str] | grpc.ChannelCredentials
Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Connection:
    """The settings of a connection. `timeout` is in seconds; None means no deadline."""

    target: str
    api_key: str = field(repr=False)
    timeout: float | None
    tls: Tls

    @classmethod
    def of(cls, target: str | None, api_key: str | None, timeout: float | None, tls: Tls | None) -> Connection:
        """Fill in arguments that are None from RECALLD_TARGET, RECALLD_API_KEY, RECALLD_TLS_CA and RECALLD_TLS.

        If TLS is not configured, it is used when there is a key and the host is another machine, so that the key is
        never sent unencrypted. Raises InvalidRequest if a value is invalid.
        """
        place = address(target or os.environ.get("RECALLD_TARGET") or DEFAULT_TARGET)
        key = os.environ.get("RECALLD_API_KEY", "") if api_key is None else validation.text(api_key, "api_key")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise invalid("api_key", "must be printable ASCII without spaces")
        if tls is None:
            tls = _tls_setting()
        if tls is None:
            tls = bool(key) and not is_loopback(place)
        return cls(place, key, seconds_of(timeout), tls)

    def channel(self) -> grpc.Channel:
        """Open a channel for blocking calls. Threads may share it. It connects on first use."""
        if credentials := self._credentials():
            return grpc.secure_channel(self.target, credentials, self._options())
        return grpc.insecure_channel(self.target, self._options())

    def aio_channel(self) -> grpc.aio.Channel:
        """Open an asyncio channel in the running event loop."""
        if credentials := self._credentials():
            return grpc.aio.secure_channel(self.target, credentials, self._options())
        return grpc.aio.insecure_channel(self.target, self._options())

    def metadata(self, correlation_id: str) -> Metadata:
        """The metadata of a call: its correlation id, and the API key if there is one."""
        named = ((CORRELATION_KEY, correlation_id),)
        return (*named, ("authorization", f"Bearer {self.api_key}")) if self.api_key else named

    def deadline(self, timeout: Timeout) -> Deadline:
        """The deadline of a call that starts now. UNSET means the timeout of the connection."""
        seconds = self.timeout if isinstance(timeout, Unset) else seconds_of(timeout)
        return Deadline(None if seconds is None else time.monotonic() + seconds)

    def _credentials(self) -> grpc.ChannelCredentials | None:
        if isinstance(self.tls, str | os.PathLike):
            try:
                return grpc.ssl_channel_credentials(Path(self.tls).read_bytes())
            except OSError as error:
                raise invalid("tls", f"cannot read {os.fspath(self.tls)}: {error.strerror or error}") from None
        if isinstance(self.tls, bool):
            return grpc.ssl_channel_credentials() if self.tls else None
        return self.tls

    def _options(self) -> list[tuple[str, Any]]:
        return [
            ("grpc.service_config", service_config()),
            ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE),  # gRPC does not retry larger requests
            ("grpc.max_send_message_length", MAX_MESSAGE),
            ("grpc.max_receive_message_length", MAX_MESSAGE),
            ("grpc.keepalive_time_ms", 60_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.min_reconnect_backoff_ms", 200),
            ("grpc.initial_reconnect_backoff_ms", 200),
            ("grpc.max_reconnect_backoff_ms", 3_000),
            ("grpc.enable_http_proxy", 0 if is_loopback(self.target) else 1),
        ]


@dataclass(frozen=True, slots=True)
class Deadline:
    """The time, by the monotonic clock, by which a method must finish all of its calls. None: no deadline."""

    at: float | None

    def left(self) -> float | None:
        """Seconds left for the next call; None without a deadline. At least 0, which gRPC answers DEADLINE_EXCEEDED."""
        return None if self.at is None else max(0.0, self.at - time.monotonic())


def service_config() -> str:
    """The gRPC service config. Unary calls are retried on UNAVAILABLE, which is safe because writes carry request ids.

    gRPC does not retry streams, since a retry would lose the answers so far; `recalld.streams` resumes them by token.
    """
    services = (
        memory_service_pb2.DESCRIPTOR.services_by_name["MemoryService"],
        search_service_pb2.DESCRIPTOR.services_by_name["SearchService"],
        entity_service_pb2.DESCRIPTOR.services_by_name["EntityService"],
    )
    names = [
        {"service": service.full_name, "method": method.name}
        for service in services
        for method in service.methods
        if not (method.client_streaming or method.server_streaming)
    ]
    return json.dumps({"methodConfig": [{"name": names, "retryPolicy": RETRY}]})


def stubs(channel: Any) -> dict[str, Any]:
    """The generated stubs by service name. They are untyped and work with blocking and asyncio channels."""
    return {
        "MemoryService": memory_service_pb2_grpc.MemoryServiceStub(channel),  # type: ignore[no-untyped-call]
        "SearchService": search_service_pb2_grpc.SearchServiceStub(channel),  # type: ignore[no-untyped-call]
        "EntityService": entity_service_pb2_grpc.EntityServiceStub(channel),  # type: ignore[no-untyped-call]
        "ExportService": export_service_pb2_grpc.ExportServiceStub(channel),  # type: ignore[no-untyped-call]
        "Operations": operations_pb2_grpc.OperationsStub(channel),
    }


def new_correlation_id() -> str:
    """A new correlation id, which identifies one call in the server's log."""
    return uuid.uuid4().hex


def address(target: str) -> str:
    """Return a gRPC target with port; 7420 is the default. Raises InvalidRequest for http(s):// URLs."""
    validation.text(target, "target", empty=False)
    scheme, sep, rest = target.partition("://")
    if sep and scheme in ("http", "https"):
        raise invalid(
            "target", f"must be host:port without {scheme}://, for example {rest.rstrip('/') or DEFAULT_TARGET}"
        )
    if sep or target.startswith(("unix:", "dns:", "ipv4:", "ipv6:", "xds:", "vsock:")):
        return target  # a complete gRPC name
    try:
        return f"[{ipaddress.IPv6Address(target.strip('[]'))}]:{DEFAULT_PORT}"
    except ValueError:
        return target if target.rpartition(":")[1] else f"{target}:{DEFAULT_PORT}"


def seconds_of(timeout: Any) -> float | None:
    """A timeout in seconds. None and infinity mean no deadline. Raises InvalidRequest for a negative or other value."""
    if timeout is None or timeout == math.inf:
        return None
    seconds = validation.number(timeout, "timeout")
    if seconds < 0:
        raise invalid("timeout", "must not be negative; None means no deadline")
    return seconds


def is_loopback(target: str) -> bool:
    """Whether a target is this machine: a loopback address, `localhost` or a socket. No proxy is used for these."""
    if target.startswith(("unix:", "vsock:")):
        return True
    host = target.rpartition(":")[0].rpartition("/")[2].removeprefix("dns:").removeprefix("ipv4:").strip("[]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _tls_setting() -> Tls | None:
    """The TLS setting in RECALLD_TLS_CA and RECALLD_TLS; None if neither is set. Raises InvalidRequest."""
    word = os.environ.get("RECALLD_TLS", "").strip().lower()
    if word not in ("", *ON, *OFF):
        raise invalid("RECALLD_TLS", f"must be one of {', '.join((*ON, *OFF))}, not {word}")
    if word in OFF:
        return False
    return os.environ.get("RECALLD_TLS_CA") or (True if word else None)
