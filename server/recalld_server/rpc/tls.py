"""How the server proves who it is, and asks its callers to."""

from __future__ import annotations

import logging
import os
import ssl
from pathlib import Path
from threading import Lock

import grpc

from recalld_server.domain.errors import SettingMissing

log = logging.getLogger(__name__)


class Certificates:
    """The certificate and its key in PEM files, read again when these change, for connections made from then on.

    With `client_ca`, callers over gRPC need a certificate of that authority. Raises SettingMissing naming the setting
    at fault: the library would only say later that the port can't be had. Files that are at fault later are told of in
    the log, and what was read last stays.
    """

    def __init__(self, cert: str, key: str, client_ca: str = "") -> None:
        if not (cert and key):
            raise SettingMissing("TLS needs both --tls-cert and --tls-key.")
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._lock = Lock()  # gRPC asks in a thread of its own
        self._stamps = self._stamped()
        self._context, self._configuration = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """For a gRPC server, which asks for the certificate with each connection."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration, self._current_configuration, require_client_authentication=bool(self._client_ca)
        )

    def context(self) -> ssl.SSLContext:
        """For an HTTP server. It asks no caller for a certificate."""

        def renew(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            connection.context = self._current()[0]

        entry, _ = self._read()
        entry.sni_callback = renew  # called for each connection, with or without a name
        return entry

    def _current_configuration(self) -> grpc.ServerCertificateConfiguration:
        return self._current()[1]

    def _current(self) -> tuple[ssl.SSLContext, grpc.ServerCertificateConfiguration]:
        with self._lock:
            stamps = self._stamped()
            if stamps != self._stamps:
                self._stamps = stamps
                try:
                    self._context, self._configuration = self._read()
                    log.info("the TLS certificate was read again, as its files have changed")
                except (SettingMissing, OSError) as error:
                    log.error("the TLS certificate stays as it was, until its files change again: %s", error)
            return self._context, self._configuration

    def _stamped(self) -> list[tuple[int, int, int]]:
        """What tells that a file was written or replaced; of one that is not there, nothing."""
        stamps = []
        for path in filter(None, (self._cert, self._key, self._client_ca)):
            try:
                found = os.stat(path)
                stamps.append((found.st_mtime_ns, found.st_size, found.st_ino))
            except OSError:
                stamps.append((0, 0, 0))
        return stamps

    def _read(self) -> tuple[ssl.SSLContext, grpc.ServerCertificateConfiguration]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        try:
            context.load_cert_chain(self._cert, self._key)
        except (OSError, ssl.SSLError) as error:
            raise SettingMissing(
                f"--tls-cert {self._cert} and --tls-key {self._key} are no certificate with its key: {error}"
            ) from None
        if self._client_ca:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(self._client_ca)
            except (OSError, ssl.SSLError) as error:
                raise SettingMissing(f"--tls-client-ca {self._client_ca} holds no certificate: {error}") from None
        roots = Path(self._client_ca).read_bytes() if self._client_ca else None
        pair = (Path(self._key).read_bytes(), Path(self._cert).read_bytes())
        return context, grpc.ssl_server_certificate_configuration([pair], roots)


def certificates(cert: str, key: str, client_ca: str) -> Certificates | None:
    """The server's certificates; None without any file. Raises SettingMissing."""
    return Certificates(cert, key, client_ca) if cert or key or client_ca else None
