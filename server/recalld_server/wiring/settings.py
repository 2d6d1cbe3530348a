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

    - `ledger`: "embedded", the path of a SQLite file or postgresql://user:password@host:port/database.
    - `index`: "embedded" or weaviate://host:port?grpc_port=port; `index_key` is its API key, `index_tls` turns on TLS.
    - `cache_mib`: the maximum size of the vectors kept in memory, in MiB.
    - `max_calls`: concurrent calls; `project_streams`: concurrent streams and waits of all keys of a project.
    - `rate_limit`: calls per second of a key; `project_rate_limit`: of all keys of a project (0: unlimited).
    - `connection_idle`: seconds without a call after which a gRPC connection is closed.
    - `connection_age`: seconds after which a gRPC connection takes no new calls, so that callers reconnect and reach
      added servers (0: never).
    - `embedder`: "minilm", or "openai" with the four settings that follow it.
    - `export_hours`: hours for which finished exports are kept.
    - `tls_cert`, `tls_key`, `tls_client_ca`: PEM files; with the last, callers need a certificate of that authority.
    """

    data_dir: Path = field(default_factory=lambda: user_data_path("recalld", appauthor=False))
    host: str = "127.0.0.1"
    grpc_port: int = 7420
    http_port: int = 7421
    ledger: str = field(default="embedded", repr=False)  # may hold a password
    index: str = "embedded"
    index_key: str = field(default="", repr=False)
    index_tls: bool = False
    cache_mib: int = 96
    max_calls: int = 1024
    rate_limit: int = 0
    project_rate_limit: int = 0
    project_streams: int = 256
    connection_idle: int = 300
    connection_age: int = 600
    embedder: str = "minilm"
    embedder_url: str = ""
    embedder_key: str = field(default="", repr=False)
    embedder_model: str = ""
    embedder_dimension: int = 0
    export_hours: int = 24
    log_level: str = "INFO"
    tls_cert: str = ""
    tls_key: str = ""
    tls_client_ca: str = ""
    insecure_no_tls: bool = False

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
