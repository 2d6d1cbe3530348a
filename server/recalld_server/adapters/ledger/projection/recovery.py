"""Makes changes pending again for an index that has lost them.

A project may have millions of changes, so this takes many transactions of SPAN sequence numbers each. Until the last
one, the project has a pending row with sequence number 0. While it exists nothing counts as applied; otherwise a server
that has applied the first part would take the index for complete. The row is also the lease of the recovery:
`free_from` is the time at which it ends.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection, Integer, and_, bindparam, delete, or_, select, update
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger.lines import background_line
from recalld_server.adapters.ledger.reads.queries import stand
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.memory import Access
from recalld_server.domain.revision import Generation
from recalld_server.ports.clock import Clock

SPAN = 1000  # sequence numbers per transaction
LEASE = 30_000_000  # µs; after that another server takes over from one that died between two transactions
_P, _R = t.pending.c, t.revisions.c

_LEASE = and_(_P.project == bindparam("p"), _P.generation == bindparam("g"), _P.seq == 0)
_FREE_FROM = select(_P.free_from).where(_LEASE)
_ROW = insert(t.pending).values(
    project=bindparam("p"), generation=bindparam("g"), seq=0, memory_id="", free_from=bindparam("until")
)
_TAKE = _ROW.on_conflict_do_update(  # take over an expired lease; no row is returned if another server holds it
    index_elements=["project", "generation", "seq"],
    set_={"free_from": _ROW.excluded.free_from},
    where=_P.free_from <= bindparam("now"),
).returning(_P.free_from)
_RENEW = update(t.pending).where(_LEASE, _P.free_from == bindparam("held")).values(free_from=bindparam("until"))
_END = delete(t.pending).where(_LEASE, _P.free_from == bindparam("held"))
# An index needs only the latest change of each memory: the live revision, or the deletion, which ends where it begins.
_CHANGED = select(_R.project, bindparam("g", type_=Integer), _R.seq_from, _R.memory_id).where(
    _R.project == bindparam("p"),
    _R.seq_from > bindparam("after"),
    _R.seq_from <= bindparam("last"),
    or_(_R.seq_to.is_(None), _R.seq_to == _R.seq_from),
)
_PEND = insert(t.pending).from_select(["project", "generation", "seq", "memory_id"], _CHANGED)
_PEND = _PEND.on_conflict_do_nothing()


@dataclass(frozen=True, slots=True)
class Part:
    """Progress of a recovery: the sequence number after which it continues, the rows added so far, and its lease.

    `ended`: all changes are pending. `lost`: another server holds the lease.
    """

    after: int
    added: int = 0
    held: int = 0  # `free_from` of the lease; 0: none
    ended: bool = False
    lost: bool = False


async def pend_after(engine: SqlEngine, clock: Clock, project: str, generation: Generation, seq: int) -> int | None:
    """See ports.ledger.Ledger."""
    done = Part(seq)
    while not (done.ended or done.lost):
        part = partial(_pend, project=project, generation=generation, done=done, now=clock.now())
        done = await engine.write(part, line=background_line(project))
    return None if done.lost else done.added


def _pend(connection: Connection, project: str, generation: Generation, done: Part, now: int) -> Part:
    """Make the changes of the next SPAN sequence numbers pending again, and renew the lease."""
    names = {"p": project, "g": generation.number}
    after, head = done.after, stand(connection, Access(project))[0].head
    held, until = done.held, now + LEASE
    if not held:
        found = connection.execute(_FREE_FROM, names).scalar()
        if found is not None:
            after = 0  # it is unknown where the interrupted recovery began, so start from the beginning
        if found is not None or after + SPAN < head:
            taken = connection.execute(_TAKE, {**names, "until": until, "now": now}).scalar()
            if taken is None:
                return Part(after, lost=True)
            held = taken
    elif connection.execute(_RENEW, {**names, "held": held, "until": until}).rowcount:
        held = until
    else:
        return Part(after, done.added, lost=True)
    last = after + SPAN
    options = {"preserve_rowcount": True}
    added = connection.execute(_PEND, {**names, "after": after, "last": last}, execution_options=options).rowcount
    ended = last >= head
    if ended and held:
        connection.execute(_END, {**names, "held": held})
    return Part(last, done.added + added, held, ended)


def interrupted(connection: Connection, project: str, generation: Generation, now: int) -> bool:
    """Whether a recovery was interrupted (its lease has expired), so that another one is needed."""
    found = connection.execute(_FREE_FROM, {"p": project, "g": generation.number}).scalar()
    return found is not None and found <= now
