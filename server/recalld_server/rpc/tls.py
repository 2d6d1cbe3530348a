"""How the server proves who it is, and asks its callers to."""

from __future__ import annotations

import ssl
from pathlib import Path

import grpc

from recalld_server.domain.errors import SettingMissing


def credentials(cert: str, key: str, client_ca: str) -> grpc.ServerCredentials | None:
    """Server credentials from PEM files; None without any. With `client_ca`, callers need a certificate of it.

    Raises SettingMissing naming the setting at fault: the library would only say later that the port can't be had.
    """
    if not (cert or key or client_ca):
        return None
    if not (cert and key):
        raise SettingMissing("TLS needs both --tls-cert and --tls-key.")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(cert, key)
    except (OSError, ssl.SSLError) as error:
        raise SettingMissing(
            f"--tls-cert {cert} and --tls-key {key} are no certificate with its key: {error}"
        ) from None
    if client_ca:
        try:
            context.load_verify_locations(client_ca)
        except (OSError, ssl.SSLError) as error:
            raise SettingMissing(f"--tls-client-ca {client_ca} holds no certificate: {error}") from None
    roots = Path(client_ca).read_bytes() if client_ca else None
    pair = (Path(key).read_bytes(), Path(cert).read_bytes())
    return grpc.ssl_server_credentials([pair], roots, require_client_auth=roots is not None)
