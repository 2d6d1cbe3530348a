"""Export requests: queue a snapshot export, list and delete exports, and read their files by offset."""

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
    """A part of an export file: its bytes, their offset and SHA-256, and the size of the whole file in bytes."""

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
        """Queue an export of the current state. Raises RequestIdReused, Overloaded."""
        payload = await sliced(once(lambda: encoded(command)), 0 if command.filter is None else LARGE + 1)
        new = NewOperation(self._ids.memory(), OperationKind.EXPORT, self._ids.memory(), payload, request=request)
        operation = await self._exports.start(access, new, command.scope)
        self._signal.add()
        return operation

    async def get(self, access: Access, id: str) -> Export:
        """Return an export. Raises ExportNotFound."""
        return await self._exports.get(access, id)

    async def latest(self, access: Access, scope: Scope) -> Export:
        """Return the latest finished export whose scope equals `scope`. Raises ExportNotFound."""
        return await self._exports.latest(access, scope)

    async def page(self, access: Access, after: tuple[int, str] | None, limit: int) -> tuple[Sequence[Export], bool]:
        """Return a page of exports, latest first, and whether more follow."""
        return await self._exports.page(access, after, limit)

    async def delete(self, access: Access, id: str, request: RequestKey | None) -> None:
        """Delete an export; repeating the same request succeeds again. Raises ExportNotFound, RequestIdReused."""

        async def work() -> Mapping[str, Any]:
            await self._exports.delete(access, id, request)
            self._signal.recheck(access.project, id)
            return {}

        await repeatable(self._ledger, access, request, work)

    async def clear(self, project: str) -> None:
        """Erase the data of withdrawn exports; see usecases.forgetting.Holder."""
        await self._exports.clear(project)

    async def leg(self, project: str) -> ErasureTarget:
        """Return the leg of exports for the receipt; see usecases.forgetting.Holder."""
        if await self._exports.withdrawn(project):
            text = "Data of withdrawn exports is left; call ForgetMemories again."
            return ErasureTarget("exports", ErasureState.PENDING, text)
        return ErasureTarget("exports", ErasureState.EMPTY)

    async def read(self, access: Access, id: str, offset: int) -> AsyncIterator[Piece]:
        """Yield the bytes from `offset` to the end, one chunk at a time.

        Raises ExportNotFound, ExportWithdrawn (also between two chunks), FieldInvalid (`offset` is beyond the end).
        """
        export, chunk = await self._exports.chunk(access, id, offset // CHUNK)
        if offset > export.size:
            text = f"must be at most {export.size}, the size of the export in bytes"
            raise FieldInvalid.at("offset", text)
        while offset < export.size:
            if chunk is None:
                raise ExportNotFound(export_id=id)  # it has expired or was deleted since the last chunk
            start = offset - chunk.number * CHUNK
            data = chunk.data[start:]
            checksum = hashlib.sha256(data).hexdigest() if start else chunk.sha256
            yield Piece(data, offset, checksum, export.size)
            offset += len(data)
            export, chunk = await self._exports.chunk(access, id, offset // CHUNK)
