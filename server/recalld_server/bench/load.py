"""How fast a server is: add, get, search and stream at several sizes and numbers of callers, and imports of texts.

Each size has a server process of its own on loopback, with default settings, an empty folder and, if asked for, other
engines; this process is the only client, and they all share the processors of the machine.
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

EMBED_BATCH = 500  # texts in one call of the embedder alone: as many as an import puts into a transaction
WARM_UP = 3.0  # seconds of searches before anything is measured: a server that was just filled has nothing in memory
STATUS = Path("/proc")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ImportRate:
    """Texts a second through ImportMemories, and through the embedder alone in this process while no server ran.

    The embedder's rate is the better of two, before and after the import, so that a busy machine flatters no ratio.
    """

    texts: int
    import_per_second: float
    embedder_per_second: float

    @property
    def ratio(self) -> float:
        """How much of the embedder's speed an import has."""
        return self.import_per_second / self.embedder_per_second


@dataclass(frozen=True, slots=True)
class Size:
    """Everything measured on one server. `resident` is MiB after the fill and at the end, None where not known.

    `beside` has searches beside the legs of the engine alone, where the index is one that can be asked by itself.
    """

    memories: int
    users: int
    fill_per_second: float
    resident: tuple[float | None, float | None]
    calls: Sequence[Measurement]
    beside: Sequence[Beside]


@dataclass(frozen=True, slots=True)
class LoadReport:
    """One run. `imports` is None when it was left out; each size had `warm_up` seconds of searches first."""

    processors: int
    seconds: float
    warm_up: float
    imports: ImportRate | None
    sizes: Sequence[Size]

    def as_json(self) -> dict[str, Any]:
        """Times in milliseconds, rates a second, memory in MiB or "unknown"."""
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
    """Measure one after the other; takes at least sizes x callers x 4 x seconds. Raises BenchError, ServerError."""
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
        from recalld_server.bench.legs import prepared  # it needs the extra

        asked = await prepared()
    measured = [await at_size(size, callers, seconds, model, dimension, engines, asked, say) for size in sizes]
    return LoadReport(os.cpu_count() or 1, seconds, WARM_UP, imports, measured)


async def embedder_alone(texts: Sequence[str], say: Say) -> tuple[str, int, float]:
    """The default embedder's model, dimension and texts a second; 0 without texts. Leaves nothing behind."""
    say(f"the embedder alone: {len(texts)} texts in batches of {EMBED_BATCH}")
    folder = await asyncio.to_thread(tempfile.mkdtemp, prefix="recalld-bench-")
    try:
        recalld = await build(Settings(data_dir=Path(folder)))  # defaults, as a local server has them
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
    """Texts a second that a new server stores and embeds."""
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
    """MiB of the server's memory that are in RAM; None on a system that does not tell."""
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
