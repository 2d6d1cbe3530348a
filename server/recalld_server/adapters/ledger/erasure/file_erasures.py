"""How often rows were erased for good, and up to which time that left nothing in the file.

Only SQLite's: PostgreSQL removes such rows by itself.
"""

from __future__ import annotations

from sqlalchemy import Connection, case, select, update
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.domain.forgetting import ErasureState, ErasureTarget

_C = t.turns.c
_WORK = "erasure"  # not work that servers take turns at, but its rows count alike
_MINE = _C.work == _WORK
_COUNT = insert(t.turns).values(work=_WORK, taken=1, done=0, note=0, free_from=0)
_COUNT = _COUNT.on_conflict_do_update(index_elements=["work"], set_={"taken": _C.taken + 1})

CLEARED = [ErasureTarget("ledger_file", ErasureState.EMPTY), ErasureTarget("caches", ErasureState.EMPTY)]
CLEARING = [
    ErasureTarget(
        "ledger_file",
        ErasureState.PENDING,
        "Its rows are overwritten. Copies that the file or its log may hold in unused places are overwritten in the "
        "background, within minutes; repeat the call to look again.",
    ),
    ErasureTarget("caches", ErasureState.PENDING, "They are cleared with the file."),
]
OUT_OF_REACH = [
    ErasureTarget(
        "ledger_file",
        ErasureState.PENDING,
        "No row holds it any more; PostgreSQL's pages keep bytes of removed rows until they are written over. VACUUM, "
        "which runs in the background, frees them; VACUUM FULL of the ledger's tables clears them.",
    ),
    ErasureTarget(
        "ledger_log",
        ErasureState.NOT_COVERED,
        "PostgreSQL's write-ahead log, its archive and its replicas, which no server of recalld can look into.",
    ),
    ErasureTarget(
        "caches",
        ErasureState.PENDING,
        "Other servers of this ledger, if there are any, may hold vectors and hashes of words in memory, but no texts, "
        "until newer ones take their place or they end.",
    ),
]


def count(connection: Connection) -> None:
    """Note, in the transaction that erases, that the file is not clear."""
    if connection.dialect.name == "sqlite":
        connection.execute(_COUNT)


def uncleared(connection: Connection) -> int:
    """The number of the latest erasure if it is not cleared yet, else 0."""
    latest = select(case((_C.taken > _C.done, _C.taken), else_=0)).where(_MINE)
    return connection.execute(latest).scalar() or 0


def clear(connection: Connection, number: int) -> None:
    """Nothing is left of erasures up to this one."""
    connection.execute(update(t.turns).where(_MINE, _C.done < number).values(done=number))
