"""Erasing memories for good: what stands in for their ids, and what can be said afterwards of each place."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from recalld_server.domain.memory import Scope
from recalld_server.domain.revision import Generation

KEPT = 1000  # messages that a receipt can count


class ErasureState(str, Enum):
    """What a receipt can say of one place."""

    EMPTY = "EMPTY"
    PENDING = "PENDING"
    NOT_COVERED = "NOT_COVERED"


@dataclass(frozen=True, slots=True)
class ErasureTarget:
    """One place that could have held what was forgotten. `detail`: what clears it, or why nobody here can know."""

    name: str
    state: ErasureState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ErasureScope:
    """How much a scope and filter match: memories at their last revision, deleted ones included, and revisions."""

    memories: int
    revisions: int


@dataclass(frozen=True, slots=True)
class ErasureCursor:
    """Where the search for what matches is: in which of its stages, and after which row of it.

    The last stages look at what was committed after the sequence number `since`.
    """

    since: int
    stage: int = 0
    key: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How far forgetting is. `ids`: what the last transaction erased; `place`: where it goes on, None at the end.

    `count`, `revisions` and `exports`, which were withdrawn, are totals since the call began, at the sequence number
    `after`. `kept` are messages, by add and position, that live memories, too, were taken from: at most KEPT of them.
    `attempt`: of the outcome stored last.
    """

    after: int
    place: ErasureCursor | None
    ids: Sequence[str] = ()
    count: int = 0
    revisions: int = 0
    kept: frozenset[tuple[str, int]] = frozenset()
    exports: int = 0
    generation: Generation | None = None
    attempt: int = -1


@dataclass(frozen=True, slots=True)
class Remains:
    """What the ledger's tables still hold of some forgotten memories, counted.

    `rows` with content, `derived` features and facets, `pending` changes the index was not told of. `upto` is the
    sequence number at which the last of `ids` was forgotten.
    """

    ids: Sequence[str] = ()
    upto: int = 0
    rows: int = 0
    derived: int = 0
    pending: int = 0


def masked(secret: bytes, scope: Scope) -> Scope:
    """The scope with each id replaced by its HMAC-SHA-256: equal for equal ids, telling nothing without the secret."""
    return Scope(
        **{
            name: "~" + hmac.digest(secret, f"{name}\0{id}".encode(), hashlib.sha256)[:16].hex()
            for name, id in scope.items()
        }
    )
