"""The settings of a server, read from RECALLD_… environment variables and from options."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

PREFIX = "RECALLD_"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Settings:
    """The settings of a server. Each field is the variable RECALLD_<NAME> and, for most, an option of `recalld serve`.

    The text below a field is its row in docs/configuration.md.
    """

    data_dir: Path = field(default_factory=lambda: user_data_path("recalld", appauthor=False))
    """Folder of the ledger file, the embedded index and the lock. Default: the platform's data folder, for example
    `~/.local/share/recalld` on Linux. The server prints it when it starts."""
    host: str = "127.0.0.1"
    """Address to listen on. An address that is not loopback requires an API key, and TLS or `--insecure-no-tls`."""
    grpc_port: int = 7420
    """Port of the gRPC API. 0: any free port."""
    http_port: int = 7421
    """Port of `/healthz`, `/readyz` and `/metrics`. 0: any free port."""
    ledger: str = field(default="embedded", repr=False)  # may hold a password
    """Where the ledger is: `embedded` (the file `ledger.db` in the data folder), the path of a SQLite file, or
    `postgresql://user:password@host:port/database`. Prefer the variable for a URL with a password: options are visible
    in the list of processes."""
    index: str = "embedded"
    """The search engine: `embedded` (the file `index.db` in the data folder), or
    `weaviate://HOST[:PORT][?grpc_port=PORT&replication=COPIES]`."""
    index_key: str = field(default="", repr=False)
    """API key of Weaviate. Empty: anonymous access."""
    index_tls: bool = False
    """Connect to Weaviate with TLS."""
    cache_mib: int = 96
    """Memory for the vectors of the embedded index, in MiB."""
    max_calls: int = 1024
    """Calls that the server runs at once. Further calls are refused with `OVERLOADED`."""
    rate_limit: int = 0
    """Calls per second of one API key. 0: unlimited. Beyond the limit: `RATE_LIMITED`."""
    project_rate_limit: int = 0
    """Calls per second of all keys of one project together. 0: unlimited."""
    project_streams: int = 256
    """Open streams and WaitOperation calls of all keys of one project together. Beyond the limit: `STREAM_LIMIT`."""
    connection_idle: int = 300
    """Seconds without a call after which the server closes a gRPC connection."""
    connection_age: int = 600
    """Seconds after which a gRPC connection takes no new calls, so that clients reconnect and reach servers that were
    added. 0: never."""
    embedder: str = "minilm"
    """The embedding model: `minilm` (packaged, offline), or `openai` (any OpenAI-compatible endpoint, with the four
    settings below)."""
    embedder_url: str = ""
    """Base URL of the OpenAI-compatible endpoint."""
    embedder_key: str = field(default="", repr=False)
    """API key of the endpoint. Required; give any word if the endpoint ignores it."""
    embedder_model: str = ""
    """Name of the model at the endpoint."""
    embedder_dimension: int = 0
    """Dimension to request from the endpoint. 0: the model's own."""
    export_hours: int = 24
    """Hours that a finished export is kept."""
    log_level: str = "INFO"
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`."""
    tls_cert: str = ""
    """PEM file of the server's certificate and its chain. Turns TLS on for the gRPC and the HTTP port."""
    tls_key: str = ""
    """PEM file of the certificate's private key."""
    tls_client_ca: str = ""
    """PEM file of certificate authorities. gRPC callers must present a certificate of one of them (mutual TLS)."""
    insecure_no_tls: bool = False
    """Listen on a non-loopback address without TLS. Use it only behind a proxy that terminates TLS."""

    @classmethod
    def read(cls, given: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """Read the settings: `given` values (None: not given) override the environment, which overrides the defaults.

        Raises ValueError, which names the variable, for a value of the wrong type.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, object] = {}
        for name, kind in _KINDS.items():
            raw = (given or {}).get(name)
            if raw is None:
                raw = environ.get(PREFIX + name.upper())
            if raw is None:
                continue
            try:
                values[name] = kind(raw)
            except ValueError:
                raise ValueError(
                    f"{PREFIX}{name.upper()} must be {_ALLOWED[kind]}, not {raw!r}.{_linked(raw)}"
                ) from None
        return cls(**values)  # type: ignore[arg-type]


def unknown(environ: Mapping[str, str]) -> dict[str, str]:
    """The variables RECALLD_… that nothing reads, each with the similar name of a setting, or "".

    Without the variables that Kubernetes sets in every container for a service named recalld.
    """
    ours = [*_KINDS, *_OF_CLIENTS]
    found: dict[str, str] = {}
    for variable, value in environ.items():
        name = variable.removeprefix(PREFIX).lower()
        if not variable.startswith(PREFIX) or name in ours or _linked(value) or _LINKS.search(name):
            continue
        near = get_close_matches(name, ours, 1, ALIKE)
        found[variable] = PREFIX + near[0].upper() if near else ""
    return found


def refuse_misspelt(environ: Mapping[str, str]) -> None:
    """Raise ValueError for a variable that looks like a misspelt setting, and log other unknown ones.

    Otherwise a server could start without TLS because of a typing error.
    """
    for variable, near in unknown(environ).items():
        if near:
            raise ValueError(f"{variable} is not a setting. Did you mean {near}? Rename or unset the variable.")
        log.warning("%s is not a setting and is ignored", variable)


def _linked(value: object) -> str:
    """A hint for error messages if Kubernetes has set the value; otherwise empty."""
    if not str(value).startswith(("tcp://", "udp://", "sctp://")):
        return ""
    return " Kubernetes sets it for a service of that name; set enableServiceLinks: false in the pod to prevent that."


def true_or_false(raw: object) -> bool:
    """Parse a boolean setting. Raises ValueError."""
    text = str(raw).strip().lower()
    if text not in _SWITCHES:
        raise ValueError
    return _SWITCHES[text]


ALIKE = 0.8  # similarity (0 to 1) from which on a name counts as a misspelt setting
_SWITCHES = {
    **dict.fromkeys(("true", "yes", "on", "1"), True),
    **dict.fromkeys(("false", "no", "off", "0"), False),
}
_ALLOWED = {int: "a whole number", true_or_false: "true or false"}
_OF_CLIENTS = ("api_key", "target", "tls", "tls_ca", "migrate_to")  # read by other commands and by the client
_LINKS = re.compile(r"(^|_)service_(host|port)(_|$)|_(tcp|udp|sctp)(_|$)")

_TEXTS = (
    "host",
    "ledger",
    "index",
    "index_key",
    "embedder",
    "embedder_url",
    "embedder_key",
    "embedder_model",
    "log_level",
    "tls_cert",
    "tls_key",
    "tls_client_ca",
)
_NUMBERS = (
    "grpc_port",
    "http_port",
    "cache_mib",
    "max_calls",
    "rate_limit",
    "project_rate_limit",
    "project_streams",
    "connection_idle",
    "connection_age",
    "embedder_dimension",
    "export_hours",
)
_KINDS: dict[str, Any] = {
    "data_dir": Path,
    **dict.fromkeys(_TEXTS, str),
    **dict.fromkeys(_NUMBERS, int),
    "index_tls": true_or_false,
    "insecure_no_tls": true_or_false,
}
