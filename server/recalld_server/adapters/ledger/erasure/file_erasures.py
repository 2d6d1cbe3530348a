"""Numbers the erasures of rows, and records up to which number the file holds no remains of them.

Applies to SQLite only: PostgreSQL removes the remains of deleted rows by itself.
"""

from __future__ import annotations

from sqlalchemy import Connection, case, select, update
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.domain.forgetting import ErasureState, ErasureTarget

_C = t.turns.c
_WORK = "erasure"  # not a lease: this row only uses the counters `taken` and `done`
_MINE = _C.work == _WORK
_COUNT = insert(t.turns).values(work=_WORK, taken=1, done=0, note=0, free_from=0)
_COUNT = _COUNT.on_conflict_do_update(index_elements=["work"], set_={"taken": _C.taken + 1})

CLEARED = [ErasureTarget("ledger_file", ErasureState.EMPTY), ErasureTarget("caches", ErasureState.EMPTY)]
CLEARING = [
    ErasureTarget(
        "ledger_file",
        ErasureState.PENDING,
        "The rows are overwritten. Copies in unused parts of the file or of its log are overwritten in the background "
        "within minutes; repeat the call to check again.",
    ),
    ErasureTarget("caches", ErasureState.PENDING, "The caches are cleared together with the file."),
]
OUT_OF_REACH = [
    ErasureTarget(
        "ledger_file",
        ErasureState.PENDING,
        "No row holds the content any more. PostgreSQL's pages keep bytes of removed rows until they are overwritten: "
        "VACUUM, which runs in the background, frees them, and VACUUM FULL of the ledger's tables clears them.",
    ),
    ErasureTarget(
        "ledger_log",
        ErasureState.NOT_COVERED,
        "PostgreSQL's write-ahead log, its archives and its replicas: recalld cannot check them.",
    ),
    ErasureTarget(
        "caches",
        ErasureState.PENDING,
        "Other servers of this ledger may hold vectors and word hashes in memory, but no texts, until newer entries "
        "replace them or the servers stop.",
    ),
]


def count(connection: Connection) -> None:
    """Record, in the transaction of an erasure, that the file may hold remains. Does nothing on PostgreSQL."""
    if connection.dialect.name == "sqlite":
        connection.execute(_COUNT)


def uncleared(connection: Connection) -> int:
    """The number of the latest erasure if the file may still hold its remains, else 0."""
    latest = select(case((_C.taken > _C.done, _C.taken), else_=0)).where(_MINE)
    return connection.execute(latest).scalar() or 0


def clear(connection: Connection, number: int) -> None:
    """Record that the file holds no remains of erasures up to `number`."""
    connection.execute(update(t.turns).where(_MINE, _C.done < number).values(done=number))
