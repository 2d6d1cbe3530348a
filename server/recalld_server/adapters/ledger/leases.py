"""Leases in the ledger: implements ports.leases.Leases on the table `turns`."""

from __future__ import annotations

from sqlalchemy import Connection, and_, select, update
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.errors import LeaseLost
from recalld_server.ports.clock import Clock
from recalld_server.ports.leases import LeaseState

_C = t.turns.c


class SqlLeases:
    """See ports.leases.Leases. `work` names the kind of work."""

    def __init__(self, engine: SqlEngine, clock: Clock, work: str) -> None:
        self._engine = engine
        self._clock = clock
        self._work = work
        self._mine = _C.work == work

    async def state(self) -> LeaseState:
        found = select(_C.taken, _C.done, _C.note).where(self._mine)
        row = await self._engine.read(lambda c: c.execute(found).one_or_none())
        return LeaseState(*row) if row else LeaseState()

    async def acquire(self, seconds: float) -> int | None:
        now = self._clock.now()
        row = {"work": self._work, "taken": 0, "done": 0, "note": 0, "free_from": 0}
        first = insert(t.turns).values(row).on_conflict_do_nothing()
        taking = (
            update(t.turns)
            .where(self._mine, _C.free_from <= now)
            .values(taken=_C.taken + 1, free_from=_later(now, seconds))
            .returning(_C.taken)
        )

        def work(connection: Connection) -> int | None:
            connection.execute(first)
            return connection.execute(taking).scalar_one_or_none()

        return await self._engine.write(work)

    async def renew(self, number: int, seconds: float) -> None:
        await self._fenced(number, free_from=_later(self._clock.now(), seconds))

    async def release(self, number: int, watermark: int | None) -> None:
        done = {} if watermark is None else {"done": number, "note": watermark}
        await self._fenced(number, free_from=0, **done)

    async def free(self) -> None:
        await self._engine.write(lambda c: c.execute(update(t.turns).where(self._mine).values(free_from=0)))

    async def _fenced(self, number: int, **values: int) -> None:
        statement = update(t.turns).where(and_(self._mine, _C.taken == number)).values(**values).returning(_C.taken)
        if await self._engine.write(lambda c: c.execute(statement).first()) is None:
            raise LeaseLost


def _later(now: int, seconds: float) -> int:
    return now + int(seconds * 1_000_000)
