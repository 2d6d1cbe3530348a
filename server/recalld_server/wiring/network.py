"""The addresses a server listens at: whether they are free, who reaches them, and their certificates.

gRPC would take a port beyond 65,535 without its higher bits, and writes lines of its own about one that is in use.
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
    """Raises SettingMissing that names the port or the host that can't be had, and why."""
    wished = {"gRPC": settings.grpc_port, "HTTP": settings.http_port}
    for name, port in wished.items():
        if not 0 <= port <= LARGEST:
            raise SettingMissing(f"{name} port {port} is none; allowed: 0 to {LARGEST}, 0 for a free one.")
    if settings.grpc_port == settings.http_port != 0:
        raise SettingMissing(f"gRPC and HTTP can't both have port {settings.grpc_port}; give one of them another.")
    with ExitStack() as held:
        for name, port in wished.items():
            held.enter_context(closing(_listening(name, settings.host, port)))


def _listening(name: str, host: str, port: int) -> socket.socket:
    try:
        family, kind, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise SettingMissing(f"--host {host} is no address: {error.strerror or error}.") from None
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
        return f"--host {host} is no address of this machine."
    if error.errno == errno.EADDRINUSE:
        return f"{name} port {port} on {host} is in use by another program."
    return f"{name} port {port} on {host} can't be had: {error.strerror}."


def certificates_of(settings: Settings) -> Certificates | None:
    """The certificates that `settings` name; None where TLS is off. Raises SettingMissing."""
    return certificates(settings.tls_cert, settings.tls_key, settings.tls_client_ca)


def refuse_open(settings: Settings, *, keys: bool) -> None:
    """Raise SettingMissing for an address that others reach without keys, or without TLS unless that is wanted."""
    try:
        own = settings.host == "localhost" or ip_address(settings.host).is_loopback
    except ValueError:
        own = False  # a name: where it leads is not ours to know
    if own:
        return
    if not keys:
        raise SettingMissing(
            f"--host {settings.host} answers other machines, and there is no API key yet, so anyone could do anything. "
            "Make one first: recalld keys create --new --role admin. Or listen on 127.0.0.1."
        )
    if not (settings.tls_cert or settings.insecure_no_tls):
        raise SettingMissing(
            f"--host {settings.host} answers other machines, so keys and texts would travel in the clear. "
            "Give --tls-cert and --tls-key, or --insecure-no-tls where something in front ends TLS."
        )
