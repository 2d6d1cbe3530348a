"""Large exports need little memory, and an interrupted file resumes at any chunk."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from recalld_server.adapters.exports.formats import encoder
from recalld_server.adapters.ledger.exports import SqlExports
from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.operations import SqlOperations
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.adapters.sql.engine import SqliteEngine
from recalld_server.adapters.system import SystemClock
from recalld_server.domain.commands import ExportCommand, Format, encoded
from recalld_server.domain.exports import CHUNK, Chunk, Export
from recalld_server.domain.memory import Access, Kind, Memory, Message, Scope
from recalld_server.domain.operations import NewOperation, Operation, OperationKind
from recalld_server.domain.revision import Change, Conversation, Features, Generation, Put
from recalld_server.usecases.jobs.export import ExportJob

HERE, USER = Access("default"), Scope(user_id="u")
DIMENSION = 384
MANY = 20_000
MEGABYTE = 1024 * 1024


@pytest.fixture
async def engine(tmp_path: Path) -> AsyncIterator[SqliteEngine]:
    engine = await open_sqlite(tmp_path / "ledger.db")
    await SqlLedger(engine, SystemClock()).ensure_project("default", Generation(1, "m", DIMENSION, 1))
    yield engine
    await engine.close()


async def fill(engine: SqliteEngine, count: int, size: int, first: int = 0) -> None:
    ledger = SqlLedger(engine, SystemClock())
    generator = np.random.default_rng(1)
    for start in range(0, count, 1000):
        puts, said = [], []
        for number in range(first + start, first + min(start + 1000, count)):
            text = f"{number} " + "é" * (size // 2)
            memory = Memory(f"{number:08}", text, USER, add_id=f"add {number}", source_positions=(0,), speaker="user")
            vector = generator.standard_normal(DIMENSION).astype(np.float32)
            made = Features(np.array([number], np.uint32), vector / np.linalg.norm(vector))
            puts.append(Put(memory, Kind.ADDED, features=made))
            said.append(Conversation(f"add {number}", "", [Message("user", text)]))
        await ledger.commit(HERE, Change(puts=puts, conversations=said))


def command(format: Format, **options: Any) -> ExportCommand:
    return ExportCommand(USER, None, format, with_vectors=True, **options)


async def exported(engine: SqliteEngine, asked: ExportCommand, exports: SqlExports | None = None) -> Export:
    clock = SystemClock()
    exports = exports or SqlExports(engine, clock)
    id = f"{clock.now()}"
    await exports.start(HERE, NewOperation(f"op {id}", OperationKind.EXPORT, id, encoded(asked)), USER)
    operations = SqlOperations(engine, clock)
    while held := await operations.claim(60):
        job = ExportJob(exports, SqlLedger(engine, clock), encoder, 24)
        try:
            await job.run(held)
        except Broken:
            await operations.free()
    return await exports.get(HERE, id)


async def whole(engine: SqliteEngine, export: Export) -> bytes:
    exports, data = SqlExports(engine, SystemClock()), b""
    for number in range(-(-export.size // CHUNK)):
        _, chunk = await exports.chunk(HERE, export.id, number)
        assert chunk is not None
        assert hashlib.sha256(chunk.data).hexdigest() == chunk.sha256
        data += chunk.data
    assert (len(data), hashlib.sha256(data).hexdigest()) == (export.size, export.sha256)
    return data


class Broken(Exception):
    """The server was killed here."""


class Breaking(SqlExports):
    """Dies right after, or right before, every chunk it keeps."""

    def __init__(self, engine: SqliteEngine) -> None:
        super().__init__(engine, SystemClock())
        self.resumed: list[int] = []
        self._turn = 0

    async def append(
        self, held: Operation, chunks: Sequence[Chunk], checkpoint: Mapping[str, Any], completed: int, total: int
    ) -> None:
        self._turn += 1
        if self._turn % 3 == 1:
            raise Broken
        await super().append(held, chunks, checkpoint, completed, total)
        if self._turn % 3 == 2:
            raise Broken

    async def written(self, held: Operation, number: int) -> bytes | None:
        data = await super().written(held, number)
        if data is not None:
            self.resumed.append(number)
        return data


async def test_an_export_broken_at_every_chunk_is_the_same_file(engine: SqliteEngine) -> None:
    await fill(engine, 2_000, 3_000)
    quiet = await exported(engine, command(Format.JSONL))
    breaking = Breaking(engine)
    broken = await exported(engine, command(Format.JSONL), breaking)
    assert quiet.size > 10 * CHUNK
    assert (broken.sha256, broken.size, broken.memories) == (quiet.sha256, quiet.size, 2_000)
    assert await whole(engine, broken) == await whole(engine, quiet)
    assert max(breaking.resumed) > 3  # it went on from what was kept rather than from the start


async def test_a_generation_that_moved_begins_the_file_anew(engine: SqliteEngine) -> None:
    await fill(engine, 100, 100)
    exports, operations = SqlExports(engine, SystemClock()), SqlOperations(engine, SystemClock())
    asked = encoded(command(Format.JSONL))
    await exports.start(HERE, NewOperation("op", OperationKind.EXPORT, "e", asked), USER)
    held = await operations.claim(60)
    assert held is not None
    foreign = {"after": ["00000050", 1], "rows": 51, "skip": 0, "generation": "2/other/4/1/english"}
    await exports.append(held, [Chunk(0, b"of another model", "")], foreign, 51, 100)
    job = ExportJob(exports, SqlLedger(engine, SystemClock()), encoder, 24)
    await job.run(replace(held, checkpoint=foreign))
    assert len((await whole(engine, await exports.get(HERE, "e"))).splitlines()) == 100


@pytest.mark.parametrize("format", list(Format))
async def test_memory_stays_flat(engine: SqliteEngine, format: Format) -> None:
    await fill(engine, 1_000, 100)
    await exported(engine, command(format))  # what is imported and cached once
    await fill(engine, MANY, 100, first=1_000)
    process, stop, peak = psutil.Process(), threading.Event(), [0]

    def sample() -> None:
        while not stop.wait(0.01):
            peak[0] = max(peak[0], process.memory_info().rss)

    before = process.memory_info().rss
    sampling = threading.Thread(target=sample)
    sampling.start()
    try:
        export = await exported(engine, command(format))
    finally:
        stop.set()
        sampling.join()
    grown = (peak[0] - before) / MEGABYTE
    print(f"{format.value}: {export.size / MEGABYTE:.0f} MB, grown by {grown:.0f} MB")  # noqa: T201 - when it fails
    assert grown < 60
    assert export.memories == MANY + 1_000
