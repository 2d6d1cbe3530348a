"""The port of exports: snapshots of memories as files in chunks, and the encoders that write them.

Every method is one transaction and may raise LedgerUnavailable. Callers' methods see exports whose scope lies inside
the pin. Workers' methods take the operation as claimed and raise LeaseLost like those of ports.operations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from recalld_server.domain.exports import Chunk, Export, Row, Selection
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.operations import NewOperation, Operation
from recalld_server.domain.revision import RequestKey


class Exports(Protocol):
    """Exports of all projects. A finished one is there until its `expire_time`."""

    async def start(self, access: Access, new: NewOperation, scope: Scope) -> Operation:
        """Write down an export, `new.subject`, of the state as it is now, and its operation.

        Raises RequestIdReused.
        """
        ...

    async def get(self, access: Access, id: str) -> Export:
        """Raises ExportNotFound."""
        ...

    async def latest(self, access: Access, scope: Scope) -> Export:
        """The latest finished export of exactly this scope. Raises ExportNotFound."""
        ...

    async def page(self, access: Access, after: tuple[int, str] | None, limit: int) -> tuple[Sequence[Export], bool]:
        """Latest first, and whether more follow; `after` is (create time, id) of the last one given.

        One at least, and no more than make a page of PAGE_BYTES by what was asked for.
        """
        ...

    async def chunk(self, access: Access, id: str, number: int) -> tuple[Export, Chunk | None]:
        """A finished export and one of its chunks, None beyond its end. Raises ExportNotFound, ExportWithdrawn."""
        ...

    async def delete(self, access: Access, id: str, request: RequestKey | None) -> None:
        """Drop an export and its data, cancel its operation if that runs, and keep the outcome under the request.

        Raises ExportNotFound, OutcomeTaken.
        """
        ...

    # For forgetting

    async def clear(self, project: str | None = None) -> None:
        """Erase the data that nobody can read any more, in small transactions: of withdrawn, failed, expired and
        deleted exports of a project, or of all.
        """
        ...

    async def withdrawn(self, project: str) -> bool:
        """Whether data is left of withdrawn exports, by looking."""
        ...

    # For workers

    async def rows(self, project: str, selection: Selection, after: tuple[str, int], limit: int) -> Sequence[Row]:
        """Rows ordered by (memory id, revision), from the first above `after` on. The same whenever it is asked.

        Fewer than the limit where they have PAGE_BYTES together, but none only where none are left.
        """
        ...

    async def restart(self, held: Operation) -> None:
        """Drop the chunks written so far."""
        ...

    async def append(
        self, held: Operation, chunks: Sequence[Chunk], checkpoint: Mapping[str, Any], completed: int, total: int
    ) -> None:
        """Keep chunks together with the place to go on from."""
        ...

    async def written(self, held: Operation, number: int) -> bytes | None:
        """The data of a chunk that was kept, None beyond the last."""
        ...

    async def complete(
        self, held: Operation, chunks: Sequence[Chunk], *, memories: int, size: int, sha256: str, seconds: float
    ) -> None:
        """Keep the last chunks, make the export READY, and end its operation.

        It is kept for as long as its project's settings say, or else for `seconds`.
        """
        ...


class Encoder(Protocol):
    """Writes rows into one file. Not safe to share; may be called in any thread, one call at a time."""

    resumable: bool  # a file may be continued by another encoder: what is written of a row depends on that row alone

    def encode(self, row: Row) -> bytes:
        """The bytes of one row, or some bytes of rows before it, or none yet."""
        ...

    def finish(self) -> bytes:
        """What is left."""
        ...


class Encoders(Protocol):
    """Makes an encoder for a format; `model` names the vectors, empty without vectors."""

    def __call__(self, format: str, *, history: bool, model: str) -> Encoder: ...
