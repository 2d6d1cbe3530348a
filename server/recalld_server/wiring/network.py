"""Checks the addresses that a server listens on, before gRPC binds them, and loads their certificates.

gRPC itself would drop the higher bits of a port beyond 65,535, and it logs lines of its own about a port in use.
"""

from __future__ import annotations

import errno
import socket
from contextlib import ExitStack, closing
from ipaddress import ip_address

from recalld_server.domain.errors import SettingMissing
from recalld_server.rpc.tls import Certificates, certificates
from recalld_server.wiring.settings import Settings

LARGEST = 65_535


def require_ports(settings: Settings) -> None:
    """Raise SettingMissing, with the reason, if a port or the host cannot be bound."""
    wished = {"gRPC": settings.grpc_port, "HTTP": settings.http_port}
    for name, port in wished.items():
        if not 0 <= port <= LARGEST:
            raise SettingMissing(f"{name} port {port} is not valid; allowed: 0 to {LARGEST}, 0 for any free port.")
    if settings.grpc_port == settings.http_port != 0:
        raise SettingMissing(f"gRPC and HTTP cannot both use port {settings.grpc_port}; change one of them.")
    with ExitStack() as held:
        for name, port in wished.items():
            held.enter_context(closing(_listening(name, settings.host, port)))


def _listening(name: str, host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise SettingMissing(f"--host {host} is not a valid address: {error.strerror or error}.") from None
    listening = socket.socket(family, kind)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1)
    except OSError as error:
        listening.close()
        raise SettingMissing(_why(error, name, host, port)) from None
    return listening


def _why(error: OSError, name: str, host: str, port: int) -> str:
    if error.errno == errno.EADDRNOTAVAIL:
        return f"--host {host} is not an address of this machine."
    if error.errno == errno.EADDRINUSE:
        return f"{name} port {port} on {host} is in use by another program."
    return f"Cannot bind {name} port {port} on {host}: {error.strerror}."


def certificates_of(settings: Settings) -> Certificates | None:
    """The certificates that `settings` name; None if TLS is off. Raises SettingMissing."""
    return certificates(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


def refuse_open(settings: Settings, *, keys: bool) -> None:
    """Raise SettingMissing if other machines reach the address although no API key exists or TLS is off.

    `insecure_no_tls` allows the latter.
    """
    try:
        own = settings.host == "localhost" or ip_address(settings.host).is_loopback
    except ValueError:
        own = False  # a host name may resolve to any address
    if own:
        return
    if not keys:
        raise SettingMissing(
            f"--host {settings.host} accepts other machines, but there is no API key yet, so anyone could do anything. "
            "Create a key first: recalld keys create --new --role admin. Or listen on 127.0.0.1."
        )
    if not (settings.tls_cert or settings.insecure_no_tls):
        raise SettingMissing(
            f"--host {settings.host} accepts other machines, so keys and texts would be sent unencrypted. "
            "Set --tls-cert and --tls-key, or --insecure-no-tls if a proxy in front of this server terminates TLS."
        )
