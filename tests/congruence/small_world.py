"""A whole recalld in this process: real engines in a folder, a controlled clock, and a cheap embedder."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recalld_server.wiring.composition import build
from recalld_server.wiring.parts import Recalld
from recalld_server.wiring.settings import Settings

SECOND = 1_000_000
DAY = 24 * 3600 * SECOND
START = 1_700_000_000 * SECOND


class OwnClock:
    """Stands still until it is moved. Sleeping takes no time and moves nothing."""

    def __init__(self) -> None:
        self.time = START

    def now(self) -> int:
        """µs since the epoch."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """At once."""


class HashEmbedder:
    """A unit vector for each text, from its hash."""

    model, dimension = "hash", 8

    async def embed(self, texts: Sequence[str], **_: object) -> np.ndarray:
        """(n, 8) float32."""
        found = [np.frombuffer(hashlib.sha256(text.encode()).digest(), np.uint8)[:8] - 127.5 for text in texts]
        vectors = np.array(found, np.float32).reshape(len(texts), 8)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    async def close(self) -> None:
        """Nothing to let go of."""


async def opened(folder: Path, clock: OwnClock, ledger: str = "embedded", index: str = "embedded") -> Recalld:
    """A recalld on a folder; close it before opening the next one there."""
    return await build(Settings(data_dir=folder, ledger=ledger, index=index), clock, model=HashEmbedder())
