"""Opens the index and the embedder that the settings name."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from urllib.parse import urlsplit

from recalld_server.adapters.embedders.minilm import MiniLm
from recalld_server.adapters.index.embedded.store import EmbeddedIndex
from recalld_server.domain.errors import SettingMissing
from recalld_server.ports.embedder import Embedder
from recalld_server.ports.index import Index
from recalld_server.telemetry import metric_names
from recalld_server.telemetry.instruments import Instruments
from recalld_server.wiring.settings import Settings

EMBEDDED = "embedded"
INDEX_FORM = "weaviate://HOST[:PORT][?grpc_port=PORT&replication=COPIES]"


def index_opener(settings: Settings) -> Callable[[str], Awaitable[Index]]:
    """Return a function that opens the index of a ledger, given the ledger's id. A remote engine may still be down.

    Raises SettingMissing.
    """
    if settings.index == EMBEDDED:
        cache_bytes = settings.cache_mib * 1024 * 1024
        path = index_file(settings)

        async def beside(_: str) -> Index:
            return await asyncio.to_thread(EmbeddedIndex, path, cache_bytes)

        return beside
    if urlsplit(settings.index).scheme != "weaviate":
        raise SettingMissing(f"--index must be {EMBEDDED} or {INDEX_FORM}, not {settings.index!r}.")
    try:
        # Imported only here, because it is an optional dependency and its import takes 0.9 s.
        from recalld_server.adapters.index.weaviate.client import Address
        from recalld_server.adapters.index.weaviate.store import WeaviateIndex
    except ModuleNotFoundError as error:
        raise SettingMissing(
            f"--index {settings.index} needs {error.name}, which is not installed: pip install '.[fleet]'."
        ) from None
    address = Address.parse(settings.index, settings.index_key, tls=settings.index_tls)

    async def opened(ledger: str) -> Index:
        return WeaviateIndex(address, ledger)

    return opened


def index_file(settings: Settings) -> Path:
    """The path of the embedded index. It is always in the data folder, wherever the ledger is."""
    return settings.data_dir / "index.db"


async def open_embedder(settings: Settings, instruments: Instruments) -> Embedder:
    """Start the embedder that the settings name. Raises SettingMissing, EmbedderUnavailable."""
    if settings.embedder == "minilm":
        return await asyncio.to_thread(MiniLm.start, lambda texts: instruments.observe(metric_names.BATCH, texts))
    if settings.embedder == "openai":
        lacking = [name for name in ("url", "key", "model") if not getattr(settings, f"embedder_{name}")]
        if lacking:
            variables = ", ".join(f"RECALLD_EMBEDDER_{name.upper()}" for name in lacking)
            raise SettingMissing(
                f"RECALLD_EMBEDDER=openai needs {variables}. If the endpoint uses no key, set any text as the key."
            )
        from recalld_server.adapters.embedders.openai import OpenAiEmbedder  # its library takes 0.7 s to import

        return await OpenAiEmbedder.start(
            base_url=settings.embedder_url,
            api_key=settings.embedder_key,
            model=settings.embedder_model,
            dimension=settings.embedder_dimension or None,
        )
    raise SettingMissing(f"RECALLD_EMBEDDER is {settings.embedder!r}; allowed: minilm, openai.")
