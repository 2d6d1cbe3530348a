"""Exporting: a snapshot becomes a file in chunks, and the file is read by offset."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recalld_server.concurrency.time_slices import LARGE, sliced
from recalld_server.domain.commands import ExportCommand, encoded
from recalld_server.domain.errors import ExportNotFound, FieldInvalid
from recalld_server.domain.exports import CHUNK, Export
from recalld_server.domain.forgetting import ErasureState, ErasureTarget
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.operations import NewOperation, Operation, OperationKind
from recalld_server.domain.revision import RequestKey
from recalld_server.domain.steps import once
from recalld_server.ports.clock import Ids
from recalld_server.ports.commits import CommitLog
from recalld_server.ports.exports import Exports
from recalld_server.usecases.idempotency import repeatable
from recalld_server.usecases.work_signal import WorkSignal


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of an export from `offset` on."""

    data: bytes
    offset: int
    sha256: str
    total: int


class ExportRequests:
    """The use cases behind ExportService."""

    def __init__(self, exports: Exports, ledger: CommitLog, signal: WorkSignal, ids: Ids) -> None:
        self._exports = exports
        self._ledger = ledger
        self._signal = signal
        self._ids = ids

    async def start(self, access: Access, command: ExportCommand, request: RequestKey) -> Operation:
        """Queue an export of the state as it is now. Raises RequestIdReused, Overloaded."""
        payload = await sliced(once(lambda: encoded(command)), 0 if command.filter is None else LARGE + 1)
        new = NewOperation(self._ids.memory(), OperationKind.EXPORT, self._ids.memory(), payload, request=request)
        operation = await self._exports.start(access, new, command.scope)
        self._signal.add()
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

        async def work() -> Mapping[str, Any]:
            await self._exports.delete(access, id, request)
            self._signal.recheck(access.project, id)
            return {}

        await repeatable(self._ledger, access, request, work)

    async def clear(self, project: str) -> None:
        """See usecases.forgetting.Holder."""
        await self._exports.clear(project)

    async def leg(self, project: str) -> ErasureTarget:
        """See usecases.forgetting.Holder."""
        if await self._exports.withdrawn(project):
            return ErasureTarget("exports", ErasureState.PENDING, "Data of withdrawn exports were left; forget again.")
        return ErasureTarget("exports", ErasureState.EMPTY)

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
