"""Exporting: a snapshot becomes a file in chunks, and the file is read by offset."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recalld_server.background.worker import Worker
from recalld_server.domain.errors import ExportNotFound, FieldInvalid, OutcomeTaken, RequestIdReused
from recalld_server.domain.exports import CHUNK, Chunk, Export, ExportCommand, Row, Selection
from recalld_server.domain.forgetting import Leg, LegState
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.operations import NewOperation, Operation, OperationKind
from recalld_server.domain.revision import Generation, RequestKey
from recalld_server.ports.clock import Ids
from recalld_server.ports.exports import Encoder, Encoders, Exports
from recalld_server.ports.ledger import Ledger

PAGE = 500  # rows in memory at once
KEEP = 4  # pages between checkpoints at most, so that progress is seen


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an export from `offset` on."""

    data: bytes
    offset: int
    sha256: str
    total: int


class Exporting:
    """The use cases behind ExportService."""

    def __init__(self, exports: Exports, ledger: Ledger, worker: Worker, ids: Ids) -> None:
        self._exports = exports
        self._ledger = ledger
        self._worker = worker
        self._ids = ids

    async def start(self, access: Access, scope: Scope, payload: bytes, request: RequestKey) -> Operation:
        """Write down an export of the state as it is now. `payload` is what was asked. Raises RequestIdReused."""
        new = NewOperation(self._ids.memory(), OperationKind.EXPORT, self._ids.memory(), payload, request=request)
        operation = await self._exports.start(access, new, scope)
        self._worker.nudge()
        return operation

    async def get(self, access: Access, id: str) -> Export:
        """Raises ExportNotFound."""
        return await self._exports.get(access, id)

    async def latest(self, access: Access, scope: Scope) -> Export:
        """The latest finished export of exactly a scope. Raises ExportNotFound."""
        return await self._exports.latest(access, scope)

    async def page(self, access: Access, after: tuple[int, str] | None, limit: int) -> tuple[Sequence[Export], bool]:
        """Latest first, and whether more follow."""
        return await self._exports.page(access, after, limit)

    async def delete(self, access: Access, id: str, request: RequestKey | None) -> None:
        """Drop an export. Raises ExportNotFound, RequestIdReused; the same request again is as the first."""
        known = await self._ledger.outcome(access, request.rpc, request.request_id) if request else None
        if known is None:
            try:
                await self._exports.delete(access, id, request)
            except OutcomeTaken:
                return await self.delete(access, id, request)
            self._worker.stir(access.project, id)
        elif request and known.fingerprint != request.fingerprint:
            raise RequestIdReused(request_id=request.request_id)
        return None

    async def clear(self, project: str) -> None:
        """See usecases.forgetting.Holder."""
        await self._exports.clear(project)

    async def leg(self, project: str) -> Leg:
        """See usecases.forgetting.Holder."""
        if await self._exports.withdrawn(project):
            return Leg("exports", LegState.PENDING, "Data of withdrawn exports were left; forget again.")
        return Leg("exports", LegState.EMPTY)

    async def read(self, access: Access, id: str, offset: int) -> AsyncIterator[Piece]:
        """The bytes from `offset` on, a chunk at a time.

        Raises ExportNotFound, ExportWithdrawn (also midway), FieldInvalid for an offset beyond the end.
        """
        export, chunk = await self._exports.chunk(access, id, offset // CHUNK)
        if offset > export.size:
            text = f"must be at most {export.size}, the length of the export"
            raise FieldInvalid.at("offset", text)
        while offset < export.size:
            if chunk is None:
                raise ExportNotFound(export_id=id)  # it expired, or was deleted, since the last chunk
            start = offset - chunk.number * CHUNK
            data = chunk.data[start:]
            checksum = hashlib.sha256(data).hexdigest() if start else chunk.sha256
            yield Piece(data, offset, checksum, export.size)
            offset += len(data)
            export, chunk = await self._exports.chunk(access, id, offset // CHUNK)


class ExportJob:
    """Writes an export. With an encoder that allows it a new attempt goes on where the last one kept its place."""

    def __init__(
        self,
        exports: Exports,
        ledger: Ledger,
        encoders: Encoders,
        read: Callable[[Operation], ExportCommand],
        hours: float,
    ) -> None:
        self._exports = exports
        self._ledger = ledger
        self._encoders = encoders
        self._read = read
        self._seconds = hours * 3600

    async def run(self, held: Operation) -> Mapping[str, Any] | None:
        """Write the file; see background.worker.Job. Raises LeaseLost, ExportWithdrawn."""
        command = self._read(held)
        access = Access(held.access.project)
        export = await self._exports.get(access, held.subject)
        generation = await self._ledger.generation(access.project)
        total = 0
        if not command.with_history:
            total = await self._ledger.count(access, command.scope, command.filter, export.seq)
        file = _File(held, self._exports, self._encoder(command, generation), generation.name, total)
        await file.resume()
        selection = Selection(
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
    """A file under way. What is kept is whole chunks, and which row the last of them ends in."""

    def __init__(self, held: Operation, exports: Exports, encoder: Encoder, generation: str, total: int) -> None:
        self.after = ("", 0)  # the last row that was encoded
        self._held = held
        self._exports = exports
        self._encoder = encoder
        self._generation = generation  # vectors of two generations must not stand in one file
        self._total = total
        self._rest = bytearray()
        self._hash = hashlib.sha256()
        self._number = 0
        self._rows = 0
        self._skip = 0  # bytes of the next row that are in the last chunk already
        self._place: tuple[tuple[str, int], int, int] = (("", 0), 0, 0)
        self._pages = 0

    async def resume(self) -> None:
        """Go on after the kept chunks, or begin anew where that can't be."""
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
        """Encode rows, off the event loop, and keep the chunks they fill."""
        chunks = await asyncio.to_thread(self._encoded, rows)
        self._pages += 1
        if chunks or self._pages % KEEP == 0:
            (id, revision), count, skip = self._place
            place = {"after": [id, revision], "rows": count, "skip": skip, "generation": self._generation}
            await self._exports.append(self._held, chunks, place, self._rows, self._total)

    async def complete(self, seconds: float) -> None:
        """Keep what is left and end the work."""
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
