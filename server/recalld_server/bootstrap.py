"""The composition root: the only module that names concrete adapters."""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from recalld_server.adapters.embedders.cached import Cached
from recalld_server.adapters.embedders.minilm import MiniLm
from recalld_server.adapters.extractors.rules import RulesExtractor
from recalld_server.adapters.index.embedded.store import EmbeddedIndex
from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.adapters.sql.engine import SqliteEngine
from recalld_server.adapters.system import SystemClock, SystemIds
from recalld_server.domain.analysis import ANALYSER_VERSION
from recalld_server.domain.errors import LedgerUnavailable, SettingMissing
from recalld_server.domain.revision import Generation
from recalld_server.domain.tokens import Tokens
from recalld_server.ports.clock import Clock
from recalld_server.ports.embedder import Embedder
from recalld_server.settings import Settings
from recalld_server.usecases.add import Add
from recalld_server.usecases.change import Modify
from recalld_server.usecases.examiner import Examiner
from recalld_server.usecases.features import FeatureMaker
from recalld_server.usecases.forget import Forget
from recalld_server.usecases.imports import Import
from recalld_server.usecases.janitor import Janitor
from recalld_server.usecases.projector import Projector
from recalld_server.usecases.read import Read
from recalld_server.usecases.search import Search
from recalld_server.usecases.watch import Watch
from recalld_server.usecases.writing import Writer

DEFAULT_PROJECT = "default"


@dataclass(frozen=True, slots=True)
class Recalld:
    """Everything that answers calls, wired. `close` lets go in the reverse order of `build`."""

    ledger: SqlLedger
    index: EmbeddedIndex
    embedder: Embedder
    projector: Projector
    examiner: Examiner
    writer: Writer
    tokens: Tokens
    add: Add
    modify: Modify
    read: Read
    importing: Import
    search: Search
    watch: Watch
    forget: Forget
    janitor: Janitor
    lock: FileLock

    async def close(self) -> None:
        """Finish the writes under way, then let go of the engines."""
        await self.writer.drain()
        await self.embedder.close()
        await self.index.close()
        await self.ledger.close()
        self.lock.release()


class DataFolderBusy(SettingMissing):
    """Another recalld holds this data folder."""


def hold(settings: Settings) -> FileLock:
    """Take the data folder for this process. Raises DataFolderBusy, or SettingMissing when there can be none."""
    lock = FileLock(settings.data_dir / "lock")
    try:
        settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except Timeout:
        raise DataFolderBusy(
            f"Another recalld uses {settings.data_dir}. Stop it, or choose another folder with --data-dir."
        ) from None
    except OSError as error:
        raise SettingMissing(f"The data folder {settings.data_dir} can't be used: {error.strerror}.") from None
    return lock


async def build(settings: Settings, clock: Clock | None = None, model: Embedder | None = None) -> Recalld:
    """Open the engines and wire the use cases. Raises SettingMissing, DataFolderBusy, LedgerUnavailable.

    `clock` and `model` take the place of the machine's clock and of the embedder the settings name.
    """
    _check(settings)
    clock = clock or SystemClock()
    async with AsyncExitStack() as opened:
        lock = hold(settings)
        opened.callback(lock.release)
        embedder = Cached(await _embedder(settings, model))
        opened.push_async_callback(embedder.close)
        ledger = SqlLedger(await _ledger(settings.data_dir / "ledger.db"), clock)
        opened.push_async_callback(ledger.close)
        cache_bytes = settings.cache_mib * 1024 * 1024
        index = await asyncio.to_thread(EmbeddedIndex, settings.data_dir / "index.db", cache_bytes)
        opened.push_async_callback(index.close)
        first = Generation(1, embedder.model, embedder.dimension, ANALYSER_VERSION)
        await ledger.ensure_project(DEFAULT_PROJECT, first)
        features = FeatureMaker({embedder.model: embedder})
        for project in await ledger.projects():
            features.embedder(await ledger.generation(project))
        recalld = await _wired(ledger, index, embedder, features, clock, lock)
        opened.pop_all()  # `Recalld.close` lets go of them from here on
        return recalld


async def _wired(
    ledger: SqlLedger,
    index: EmbeddedIndex,
    embedder: Embedder,
    features: FeatureMaker,
    clock: Clock,
    lock: FileLock,
) -> Recalld:
    ids = SystemIds()
    projector = Projector(ledger, index, clock)
    writer = Writer(ledger, projector)
    read = Read(ledger, clock)
    return Recalld(
        ledger=ledger,
        index=index,
        embedder=embedder,
        projector=projector,
        examiner=Examiner(ledger, index),
        writer=writer,
        tokens=Tokens(*await ledger.identity()),
        add=Add(ledger, RulesExtractor(), features, writer, clock, ids),
        modify=Modify(ledger, features, writer, clock),
        read=read,
        importing=Import(ledger, features, writer, clock, ids),
        forget=Forget(ledger, index, writer, clock),
        janitor=Janitor(ledger, writer, clock),
        watch=Watch(ledger, read, writer.committed, clock),
        search=Search(ledger, index, features, projector, read, clock),
        lock=lock,
    )


def _check(settings: Settings) -> None:
    for name in ("ledger", "index"):
        value = getattr(settings, name)
        if value != "embedded":
            raise SettingMissing(f"--{name} {value!r} is not supported by this version; allowed: embedded.")


async def _ledger(path: Path) -> SqliteEngine:
    """Names the file when it is none of ours: the wrong folder may have been given."""
    try:
        return await open_sqlite(path)
    except LedgerUnavailable as error:
        causes = "it is damaged, or of another program, or of a newer version of this service"
        raise LedgerUnavailable(f"{path} can't be used as the ledger and was left as it is: {causes}.") from error


async def _embedder(settings: Settings, given: Embedder | None) -> Embedder:
    if given is not None:
        return given
    if settings.embedder == "minilm":
        # Imported without this, onnxruntime notes its use in the home folder and reports it to its maker.
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"
        return await asyncio.to_thread(MiniLm.start)
    if settings.embedder == "openai":
        from recalld_server.adapters.embedders.openai import OpenAiEmbedder  # its library takes 0.7 s to import

        return await OpenAiEmbedder.start(
            base_url=settings.embedder_url,
            api_key=settings.embedder_key,
            model=settings.embedder_model,
            dimension=settings.embedder_dimension or None,
        )
    raise SettingMissing(f"RECALLD_EMBEDDER is {settings.embedder!r}; allowed: minilm, openai.")
