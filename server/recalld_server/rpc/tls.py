"""TLS certificates of the server, and client certificates (mTLS)."""

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
    """A certificate and its private key in PEM files. They are reloaded for new connections when the files change.

    With `client_ca`, gRPC callers need a certificate of that authority. Raises SettingMissing, which names the wrong
    setting; gRPC would only fail later, when it binds the port. If a reload fails, that is logged and the previous
    certificate stays in use.
    """

    def __init__(self, cert: str, key: str, client_ca: str = "") -> None:
        if not (cert and key):
            raise SettingMissing("TLS needs both --tls-cert and --tls-key.")
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._lock = Lock()  # gRPC calls _current_configuration from its own thread
        self._stamps = self._stamped()
        self._context, self._configuration = self._read()

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials of a gRPC server, which fetches the certificate for each connection."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration, self._current_configuration, require_client_authentication=bool(self._client_ca)
        )

    def context(self) -> ssl.SSLContext:
        """The SSL context of an HTTP server. It requires no client certificates."""

        def renew(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
            connection.context = self._current()[0]

        entry, _ = self._read()
        entry.sni_callback = renew  # called for each connection, even if the client sends no server name
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
                    log.info("TLS certificate reloaded because its files changed")
                except (SettingMissing, OSError) as error:
                    log.error("TLS certificate not reloaded, the old one stays until the files change again: %s", error)
            return self._context, self._configuration

    def _stamped(self) -> list[tuple[int, int, int]]:
        """Modification time (ns), size and inode of each file, to detect changes; zeros for a missing file."""
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
                f"--tls-cert {self._cert} and --tls-key {self._key} are not a certificate and its private key: {error}"
            ) from None
        if self._client_ca:
            try:
                ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(self._client_ca)
            except (OSError, ssl.SSLError) as error:
                raise SettingMissing(f"--tls-client-ca {self._client_ca} has no valid certificate: {error}") from None
        roots = Path(self._client_ca).read_bytes() if self._client_ca else None
        pair = (Path(self._key).read_bytes(), Path(self._cert).read_bytes())
        return context, grpc.ssl_server_certificate_configuration([pair], roots)


def certificates(cert: str, key: str, client_ca: str) -> Certificates | None:
    """The certificates of the server; None if no file is given. Raises SettingMissing."""
    return Certificates(cert, key, client_ca) if cert or key or client_ca else None
