"""Erasing memories for good: what stands in for their ids, and what can be said afterwards of each place."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum

from recalld_server.domain.memory import Scope
from recalld_server.domain.revision import Generation


class LegState(str, Enum):
    """What a receipt can say of one place."""

    EMPTY = "EMPTY"
    PENDING = "PENDING"
    NOT_COVERED = "NOT_COVERED"


@dataclass(frozen=True, slots=True)
class Leg:
    """One place that could have held what was forgotten. `detail`: what clears it, or why nobody here can know."""

    name: str
    state: LegState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Extent:
    """How much a scope and filter match: memories at their last revision, deleted ones included, and revisions."""

    memories: int
    revisions: int


@dataclass(frozen=True, slots=True)
class Forgotten:
    """How far forgetting is. `ids`: what the last transaction erased; `more` if it stopped at its limit.

    `count`, `revisions` and `kept_messages` are totals since the call began, at the sequence number `after`.
    `kept_messages` are those that live memories, too, were taken from. `attempt`: of the outcome stored last.
    """

    ids: Sequence[str]
    count: int
    revisions: int
    kept_messages: int
    after: int
    more: bool
    generation: Generation | None = None
    attempt: int = -1


@dataclass(frozen=True, slots=True)
class Remains:
    """What the ledger's tables still hold of the memories `ids`, counted.

    `rows` with content, `derived` features and facets, `pending` changes the index was not told of, and `outcomes`:
    answers kept for retries, of ids and hashes of requests.
    """

    ids: Sequence[str]
    rows: int
    derived: int
    pending: int
    outcomes: int


def masked(secret: bytes, scope: Scope) -> Scope:
    """The scope with each id replaced by its HMAC-SHA-256: equal for equal ids, telling nothing without the secret."""
    return Scope(
        **{
            name: "~" + hmac.digest(secret, f"{name}\0{id}".encode(), hashlib.sha256)[:16].hex()
            for name, id in scope.items()
        }
    )
