"""Exports: snapshots of memories as files. Times are in µs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from recalld_server.domain.commands import ExportCommand
from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Cause, Kind, Memory, Scope
from recalld_server.domain.vectors import FloatVector

CHUNK = 1024 * 1024  # bytes of each chunk except the last


class ExportState(str, Enum):
    """The state of an export."""

    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True, slots=True)
class Export:
    """An export. `seq` is the sequence number of its snapshot, `size` its bytes, `sha256` hexadecimal."""

    id: str
    scope: Scope
    operation: str
    command: ExportCommand | None  # None for one that was withdrawn
    state: ExportState
    seq: int
    memories: int
    size: int
    sha256: str
    create_time: int
    expire_time: int | None


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a file with its SHA-256 in hexadecimal. Numbers begin at 0."""

    number: int
    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Row:
    """One revision of a memory in an export.

    `seq_to` is the sequence number that ended the revision, None if it was current at the snapshot. `vector` belongs to
    its text; None if the generation has none or vectors were not requested.
    """

    memory: Memory
    seq: int
    seq_to: int | None
    kind: Kind
    cause: Cause
    principal: str
    vector: FloatVector | None = None


@dataclass(frozen=True, slots=True)
class ExportSelection:
    """Which rows to export: the memories at the sequence number `seq` that match and had not expired at `now`.

    With history, a memory that matched at any revision is exported with all its revisions, even if it had expired.
    `generation` is the number of the generation whose vectors are exported, None for no vectors.
    """

    scope: Scope
    filter: Filter | None
    seq: int
    now: int
    with_history: bool = False
    generation: int | None = None
