"""Exports: a snapshot of memories as a file. Times in µs."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from recalld_server.domain.commands import ExportCommand
from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Cause, Kind, Memory, Scope
from recalld_server.domain.vectors import FloatVector

CHUNK = 1024 * 1024  # bytes of every chunk but the last


class ExportState(str, Enum):
    """How far an export is."""

    PENDING = "PENDING"
    READY = "READY"
    FAILED = "FAILED"
    WITHDRAWN = "WITHDRAWN"


@dataclass(frozen=True, slots=True)
class Export:
    """An export. `seq` is the sequence number of its snapshot."""

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
    """A piece of a file, with its SHA-256 in hexadecimal."""

    number: int
    data: bytes
    sha256: str


@dataclass(frozen=True, slots=True)
class Row:
    """One revision of a memory as exported. `seq_to` is where the revision ended up to the snapshot; None: it had not.

    `vector` is that of its text, where the generation has it.
    """

    memory: Memory
    seq: int
    seq_to: int | None
    kind: Kind
    cause: Cause
    principal: str
    vector: FloatVector | None = None


@dataclass(frozen=True, slots=True)
class Selection:
    """The rows of an export. `now` leaves out what had expired; with history nothing is left out.

    With history a memory that matched at any revision comes with all of them. `generation` names the vectors wanted.
    """

    scope: Scope
    filter: Filter | None
    seq: int
    now: int
    with_history: bool = False
    generation: int | None = None
