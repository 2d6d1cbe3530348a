"""The one reader of the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from platformdirs import user_data_path

PREFIX = "RECALLD_"


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server runs. Each field is the variable RECALLD_<NAME> and, for most, an option of `recalld serve`.

    `ledger` and `index` are "embedded" or the URL of an engine; `cache_mib` bounds the vectors kept in memory;
    `export_hours` is how long finished exports are kept; `embedder` is "minilm" or "openai", the latter with the four
    settings after it.
    """

    data_dir: Path = field(default_factory=lambda: user_data_path("recalld", appauthor=False))
    host: str = "127.0.0.1"
    grpc_port: int = 7420
    http_port: int = 7421
    ledger: str = "embedded"
    index: str = "embedded"
    cache_mib: int = 96
    embedder: str = "minilm"
    embedder_url: str = ""
    embedder_key: str = field(default="", repr=False)
    embedder_model: str = ""
    embedder_dimension: int = 0
    export_hours: int = 24
    log_level: str = "INFO"

    @classmethod
    def read(cls, given: Mapping[str, object] | None = None, environ: Mapping[str, str] | None = None) -> Settings:
        """Given values (None = not given) before the environment before the defaults.

        Raises ValueError naming the variable for a value of the wrong type.
        """
        environ = os.environ if environ is None else environ
        values: dict[str, object] = {}
        for name, kind in (("data_dir", Path), *((n, str) for n in _TEXTS), *((n, int) for n in _NUMBERS)):
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


_TEXTS = ("host", "ledger", "index", "embedder", "embedder_url", "embedder_key", "embedder_model", "log_level")
_NUMBERS = ("grpc_port", "http_port", "cache_mib", "embedder_dimension", "export_hours")
