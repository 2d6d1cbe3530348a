"""The one reader of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from platformdirs import user_data_path

PREFIX = "RECALLD_"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server runs. Each field is the variable RECALLD_<NAME> and, for most, an option of `recalld serve`.

    `ledger` is "embedded", the path of a SQLite file or postgresql://user:password@host:port/database; `index` is
    "embedded" or weaviate://host:port?grpc_port=port, `index_key` its API key and `index_tls` whether to speak TLS with
    it; `cache_mib` bounds the vectors kept in memory;
    `max_calls` is how many calls run at once, `rate_limit` how many a second each key may make (0: any number);
    `connection_idle` is after how many seconds without a call a gRPC connection is closed, `connection_age` after how
    many it takes no new calls, so that callers connect again and reach servers that were added (0: never);
    `embedder` is "minilm" or "openai", the latter with the four settings after it; `export_hours` is how long finished
    exports are kept. `tls_cert`, `tls_key` and `tls_client_ca` are PEM files; the last makes callers show a certificate
    of it.
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
        """Given values (None = not given) before the environment before the defaults.

        Raises ValueError naming the variable for a value of the wrong type.
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
                raise ValueError(f"{PREFIX}{name.upper()} must be {kind.__name__}, not {raw!r}") from None
        return cls(**values)  # type: ignore[arg-type]


def true_or_false(raw: object) -> bool:
    """A switch. Raises ValueError; the name of this function stands in the message."""
    if str(raw).lower() not in ("true", "false", "1", "0"):
        raise ValueError
    return str(raw).lower() in ("true", "1")


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
