"""The port of exports: snapshots of memories, stored as files in chunks, and the encoders that write them.

Every method is one transaction and may raise LedgerUnavailable. Methods with an `access` see only exports whose scope
is inside the pin. Methods with a `held` operation raise LeaseLost as in ports.operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from recalld_server.domain.exports import Chunk, Export, ExportSelection, Row
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.operations import NewOperation, Operation
from recalld_server.domain.revision import RequestKey


class Exports(Protocol):
    """The exports of all projects. A finished export is kept until its `expire_time`."""

    async def start(self, access: Access, new: NewOperation, scope: Scope) -> Operation:
        """Store an export of the current state, with the id `new.subject`, and its operation.

        Raises RequestIdReused, Overloaded.
        """
        ...

    async def get(self, access: Access, id: str) -> Export:
        """Return an export. Raises ExportNotFound."""
        ...

    async def latest(self, access: Access, scope: Scope) -> Export:
        """Return the latest finished export whose scope equals `scope`. Raises ExportNotFound."""
        ...

    async def page(self, access: Access, after: tuple[int, str] | None, limit: int) -> tuple[Sequence[Export], bool]:
        """Return a page of exports, latest first, and whether more follow.

        `after` is (create time in µs, id) of the last export of the previous page. The page ends early when the
        requests of its exports exceed PAGE_BYTES, but has at least one export if any is left.
        """
        ...

    async def chunk(self, access: Access, id: str, number: int) -> tuple[Export, Chunk | None]:
        """Return a finished export and one of its chunks, None beyond the end.

        Raises ExportNotFound, ExportWithdrawn.
        """
        ...

    async def delete(self, access: Access, id: str, request: RequestKey | None) -> None:
        """Delete an export and its data, cancel its operation if it is running, and store the outcome of the request.

        Raises ExportNotFound, OutcomeTaken.
        """
        ...

    # For forgetting

    async def clear(self, project: str | None = None) -> None:
        """Erase the data of withdrawn, failed, expired and deleted exports of a project, or of all projects if None.

        Uses several small transactions.
        """
        ...

    async def withdrawn(self, project: str) -> bool:
        """Check whether any data of withdrawn exports is left."""
        ...

    # For workers

    async def rows(self, project: str, selection: ExportSelection, after: tuple[str, int], limit: int) -> Sequence[Row]:
        """Return rows ordered by (memory id, revision) that follow `after`. Repeated calls return the same rows.

        The page ends early at PAGE_BYTES, and is empty only if no rows are left.
        """
        ...

    async def restart(self, held: Operation) -> None:
        """Delete the chunks written so far."""
        ...

    async def append(
        self, held: Operation, chunks: Sequence[Chunk], checkpoint: Mapping[str, Any], completed: int, total: int
    ) -> None:
        """Store chunks, the checkpoint from which a new attempt continues, and the progress."""
        ...

    async def written(self, held: Operation, number: int) -> bytes | None:
        """Return the data of a stored chunk, None beyond the last one."""
        ...

    async def complete(
        self, held: Operation, chunks: Sequence[Chunk], *, memories: int, size: int, sha256: str, seconds: float
    ) -> None:
        """Store the last chunks, make the export READY, and end its operation.

        The export is kept for the time in the project's settings, or for `seconds` if they have none.
        """
        ...


class Encoder(Protocol):
    """Encodes the rows of one file. Allows calls from any thread, but only one at a time."""

    resumable: bool  # another encoder can continue the file, because the bytes of a row depend on that row alone

    def encode(self, row: Row) -> bytes:
        """Encode a row and return the bytes that are ready: they may lag behind the rows, and may be empty."""
        ...

    def finish(self) -> bytes:
        """Return the remaining bytes of the file."""
        ...


class Encoders(Protocol):
    """Makes an encoder for a format. `model` is the model of the vectors, empty for an export without vectors."""

    def __call__(self, format: str, *, history: bool, model: str) -> Encoder: ...
