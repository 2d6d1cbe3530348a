"""The export job: writes a snapshot of a project to a file in chunks."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.commands import ExportCommand, export_command
from recalld_server.domain.exports import CHUNK, Chunk, ExportSelection, Row
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import Operation
from recalld_server.domain.revision import Generation
from recalld_server.domain.steps import once
from recalld_server.ports.exports import Encoder, Encoders, Exports
from recalld_server.ports.memories import MemoryReader

PAGE = 500  # rows in one read
KEEP = 4  # pages between checkpoints at most, so that callers see progress


class ExportJob:
    """Writes an export. With a resumable encoder, a new attempt continues at the last checkpoint."""

    def __init__(
        self,
        exports: Exports,
        ledger: MemoryReader,
        encoders: Encoders,
        hours: float,
    ) -> None:
        self._exports = exports
        self._ledger = ledger
        self._encoders = encoders
        self._seconds = hours * 3600

    async def run(self, held: Operation) -> Mapping[str, Any] | None:
        """Write the file; see background.worker.Job. Raises LeaseLost, ExportWithdrawn."""
        command = await sliced(once(lambda: export_command(held.payload)), len(held.payload))
        access = Access(held.access.project)
        export = await self._exports.get(access, held.subject)
        generation = await self._ledger.generation(access.project)
        total = 0
        if not command.with_history:
            total = await self._ledger.count(access, command.scope, command.filter, export.seq)
        file = _File(held, self._exports, self._encoder(command, generation), generation.name, total)
        await file.resume()
        selection = ExportSelection(
            scope=command.scope,
            filter=command.filter,
            seq=export.seq,
            now=held.create_time,
            with_history=command.with_history,
            generation=generation.number if command.with_vectors else None,
        )
        while rows := await self._exports.rows(access.project, selection, file.after, PAGE):
            await file.write(rows)
        await file.complete(self._seconds)
        return None

    def _encoder(self, command: ExportCommand, generation: Generation) -> Encoder:
        model = generation.model if command.with_vectors else ""
        return self._encoders(command.format.value, history=command.with_history, model=model)


class _File:
    """An unfinished file. The ledger stores its full chunks and a checkpoint: the row in which the last chunk ends."""

    def __init__(self, held: Operation, exports: Exports, encoder: Encoder, generation: str, total: int) -> None:
        self.after = ("", 0)  # the last row that was encoded
        self._held = held
        self._exports = exports
        self._encoder = encoder
        self._generation = generation  # a file must not mix vectors of two generations
        self._total = total
        self._rest = bytearray()
        self._hash = hashlib.sha256()
        self._number = 0
        self._rows = 0
        self._skip = 0  # bytes of the next row that the last stored chunk already holds
        self._place: tuple[tuple[str, int], int, int] = (("", 0), 0, 0)
        self._pages = 0

    async def resume(self) -> None:
        """Continue after the stored chunks, or start over if the encoder or the generation does not allow that."""
        kept = self._held.checkpoint
        if not kept or not self._encoder.resumable or kept["generation"] != self._generation:
            await self._exports.restart(self._held)
            return
        self.after, self._rows, self._skip = (kept["after"][0], kept["after"][1]), kept["rows"], kept["skip"]
        self._place = (self.after, self._rows, self._skip)
        while (data := await self._exports.written(self._held, self._number)) is not None:
            self._hash.update(data)
            self._number += 1

    async def write(self, rows: Sequence[Row]) -> None:
        """Encode rows in a thread and store the chunks they fill."""
        chunks = await asyncio.to_thread(self._encoded, rows)
        self._pages += 1
        if chunks or self._pages % KEEP == 0:
            (id, revision), count, skip = self._place
            place = {"after": [id, revision], "rows": count, "skip": skip, "generation": self._generation}
            await self._exports.append(self._held, chunks, place, self._rows, self._total)

    async def complete(self, seconds: float) -> None:
        """Store the remaining bytes and finish the operation. The export is kept for `seconds` by default."""
        self._rest += await asyncio.to_thread(self._encoder.finish)
        chunks = self._filled()
        if self._rest:
            chunks.append(self._chunk(bytes(self._rest)))
            self._rest.clear()
        size = (self._number - 1) * CHUNK + len(chunks[-1].data) if chunks else self._number * CHUNK
        await self._exports.complete(
            self._held, chunks, memories=self._rows, size=size, sha256=self._hash.hexdigest(), seconds=seconds
        )

    def _encoded(self, rows: Sequence[Row]) -> list[Chunk]:
        chunks: list[Chunk] = []
        for row in rows:
            data = self._encoder.encode(row)
            self._rest += data[self._skip :]
            self._skip = 0
            before, self.after = (self.after, self._rows), (row.memory.id, row.memory.revision)
            self._rows += 1
            if len(self._rest) >= CHUNK:
                chunks += self._filled()
                self._place = (*before, len(data) - len(self._rest))
        return chunks

    def _filled(self) -> list[Chunk]:
        chunks = []
        while len(self._rest) >= CHUNK:
            chunks.append(self._chunk(bytes(self._rest[:CHUNK])))
            del self._rest[:CHUNK]
        return chunks

    def _chunk(self, data: bytes) -> Chunk:
        self._hash.update(data)
        self._number += 1
        return Chunk(self._number - 1, data, hashlib.sha256(data).hexdigest())
