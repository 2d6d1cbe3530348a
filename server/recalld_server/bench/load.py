"""Load benchmark: add, get, search and stream at several sizes and numbers of callers, and imports of texts.

Each size has its own server process on loopback, with default settings, a temporary folder and optionally other
engines. This process is the only client. All processes share the machine's processors.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any

from recalld.testing import LocalServer
from recalld_server.bench.calls import Calls, Measurement, measure
from recalld_server.bench.corpus import SEED, Corpus
from recalld_server.bench.engines import EMBEDDED, Engines
from recalld_server.bench.filling import Population, store
from recalld_server.wiring.composition import build
from recalld_server.wiring.settings import Settings

if TYPE_CHECKING:
    from recalld_server.bench.legs import Asked, Beside

EMBED_BATCH = 500  # texts per call of the embedder alone: the size of an import's transaction
WARM_UP = 3.0  # seconds of searches before the measurements, since a new server has empty caches
STATUS = Path("/proc")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ImportRate:
    """Texts per second of ImportMemories, and of the embedder alone in this process without a server.

    The embedder's rate is the better of two, before and after the import, so that other load cannot raise `ratio`.
    """

    texts: int
    import_per_second: float
    embedder_per_second: float

    @property
    def ratio(self) -> float:
        """The rate of the import relative to the embedder alone."""
        return self.import_per_second / self.embedder_per_second


@dataclass(frozen=True, slots=True)
class Size:
    """The results of one server. `resident`: resident memory in MiB after the fill and at the end, None if unknown.

    `beside` compares searches with the legs of the engine alone; empty for the embedded index.
    """

    memories: int
    users: int
    fill_per_second: float
    resident: tuple[float | None, float | None]
    calls: Sequence[Measurement]
    beside: Sequence[Beside]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """The results of all sizes. `imports` is None if skipped. `warm_up` is the warm-up of each size in seconds."""

    processors: int
    seconds: float
    warm_up: float
    imports: ImportRate | None
    sizes: Sequence[Size]

    def as_json(self) -> dict[str, Any]:
        """For --json: times in milliseconds, rates per second, memory in MiB or "unknown"."""
        imports = {**asdict(self.imports), "ratio": self.imports.ratio} if self.imports else None
        sizes = []
        for size in self.sizes:
            filled, measured = (mib if mib is not None else "unknown" for mib in size.resident)
            sizes.append({**asdict(size), "resident": {"filled": filled, "measured": measured}})
        told = {"processors": self.processors, "seconds": self.seconds, "warm_up": self.warm_up}
        return {**told, "import": imports, "sizes": sizes}


async def run(
    sizes: Sequence[int], callers: Sequence[int], seconds: float, import_texts: int, engines: Engines, say: Say
) -> LoadReport:
    """Run all measurements; takes at least sizes x callers x 4 x seconds. Raises BenchError, ServerError."""
    texts = Corpus(SEED + 1).texts(import_texts)
    model, dimension, before = await embedder_alone(texts, say)
    imports = None
    if texts:
        say(f"importing the same {import_texts} texts")
        imported = await import_rate(texts, engines)
        _, _, after = await embedder_alone(texts, say)
        imports = ImportRate(import_texts, imported, max(before, after))
    asked: Sequence[Asked] = ()
    if engines.index != EMBEDDED:
        from recalld_server.bench.legs import prepared  # needs the extra `fleet`

        asked = await prepared()
    measured = [await at_size(size, callers, seconds, model, dimension, engines, asked, say) for size in sizes]
    return LoadReport(os.cpu_count() or 1, seconds, WARM_UP, imports, measured)


async def embedder_alone(texts: Sequence[str], say: Say) -> tuple[str, int, float]:
    """The model, dimension and texts per second (0 without texts) of the default embedder."""
    say(f"the embedder alone: {len(texts)} texts in batches of {EMBED_BATCH}")
    folder = await asyncio.to_thread(tempfile.mkdtemp, prefix="recalld-bench-")
    try:
        recalld = await build(Settings(data_dir=Path(folder)))  # default settings, as a local server
        try:
            embedder = recalld.embedder
            if not texts:
                return embedder.model, embedder.dimension, 0.0
            await embedder.embed(texts[:32])  # the first batches are slower
            start = perf_counter()
            for at in range(0, len(texts), EMBED_BATCH):
                await embedder.embed(texts[at : at + EMBED_BATCH])
            return embedder.model, embedder.dimension, len(texts) / (perf_counter() - start)
        finally:
            await recalld.close()
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, True)


async def import_rate(texts: Sequence[str], engines: Engines) -> float:
    """The texts per second that a new server imports."""
    async with engines.server() as (server, _):
        client = server.client()
        await asyncio.to_thread(store, client, [{"text": "warm up", "user_id": "another"}])
        items = [{"text": text, "user_id": "importer"} for text in texts]
        return (await asyncio.to_thread(store, client, items)).per_second


async def at_size(
    size: int,
    callers: Sequence[int],
    seconds: float,
    model: str,
    dimension: int,
    engines: Engines,
    asked: Sequence[Asked],
    say: Say,
) -> Size:
    """Fill a new server and measure all calls on it."""
    population, corpus, measurements, beside = Population(size), Corpus(), [], []
    async with engines.server() as (server, engine):
        say(f"{size} memories: filling")
        items = population.items(corpus, model, dimension)
        filled = await asyncio.to_thread(store, server.client(), items)
        before = await asyncio.to_thread(resident, server)
        calls = Calls(server.target, population, corpus)
        try:
            await measure("search", calls.search, 1, WARM_UP)
            if engine:
                say(f"{size} memories: searches beside Weaviate's two legs alone")
                beside = [await engine.beside(server.target, population, asked, crowd, seconds) for crowd in callers]
            for name, operation in calls.kinds().items():
                say(f"{size} memories: {name}")
                measurements += [await measure(name, operation, crowd, seconds) for crowd in callers]
        finally:
            await calls.close()
        after = await asyncio.to_thread(resident, server)
    return Size(size, population.users, filled.per_second, (before, after), measurements, beside)


def resident(server: LocalServer) -> float | None:
    """The resident memory of the server in MiB; None if the system does not provide it."""
    status = STATUS / str(server.pid) / "status"
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) / 1024
    try:
        command = ["ps", "-o", "rss=", "-p", str(server.pid)]
        told = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603 - our own command
        return int(told.stdout) / 1024
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None
