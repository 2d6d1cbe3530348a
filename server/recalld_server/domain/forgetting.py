"""The model of ForgetMemories: progress, remains, and the legs of the receipt."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from recalld_server.domain.memory import Scope
from recalld_server.domain.revision import Generation

KEPT = 1000  # the largest number of kept messages that a receipt counts


class ErasureState(str, Enum):
    """The state of one storage place in a receipt."""

    EMPTY = "EMPTY"
    PENDING = "PENDING"
    NOT_COVERED = "NOT_COVERED"


@dataclass(frozen=True, slots=True)
class ErasureTarget:
    """One storage place that may have held forgotten data: a leg of the receipt.

    `detail` says what remains and what removes it, or why recalld does not cover the place.
    """

    name: str
    state: ErasureState
    detail: str = ""


@dataclass(frozen=True, slots=True)
class ErasureScope:
    """The number of memories that a scope and a filter match, deleted ones included, and of their revisions."""

    memories: int
    revisions: int


@dataclass(frozen=True, slots=True)
class ErasureCursor:
    """The position of the search for matching memories: the stage, and the key of the last row read in it.

    The last stages read revisions committed after the sequence number `since`.
    """

    since: int
    stage: int = 0
    key: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Forgotten:
    """The progress of a ForgetMemories call.

    `ids` are the memories erased by the last transaction, `place` the position at which the call continues, None at the
    end. `count` (memories), `revisions` and `exports` (withdrawn) are totals since the start of the call, at the
    sequence number `after`. `kept` are up to KEPT messages, by (add id, position), that are also sources of live
    memories. `attempt` is the attempt number of the last stored outcome.
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
    """The remains of the forgotten memories `ids` in the tables of the ledger.

    Counts `rows` with content, `derived` rows (features and facets) and `pending` changes of the index. `upto` is the
    sequence number at which the last of `ids` was forgotten.
    """

    ids: Sequence[str] = ()
    upto: int = 0
    rows: int = 0
    derived: int = 0
    pending: int = 0


def masked(secret: bytes, scope: Scope) -> Scope:
    """Replace each id of a scope by its HMAC-SHA-256, truncated to 128 bits.

    Equal ids have equal values; without the secret a value does not reveal its id.
    """
    return Scope(
        **{
            name: "~" + hmac.digest(secret, f"{name}\0{id}".encode(), hashlib.sha256)[:16].hex()
            for name, id in scope.items()
        }
    )
