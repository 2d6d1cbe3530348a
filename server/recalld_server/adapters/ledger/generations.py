"""Generations in the ledger: ports.generations.Generations."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, delete, exists, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger import tables as t
from recalld_server.adapters.ledger.operations import fenced
from recalld_server.adapters.ledger.reads import stand
from recalld_server.adapters.ledger.rows import feature_row, features_of, memory_columns, memory_of
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.adapters.sql.lists import listed, paired
from recalld_server.domain.memory import Access, Kind, Memory
from recalld_server.domain.operations import Operation
from recalld_server.domain.revision import Features, Generation, Positions
from recalld_server.ports.clock import Clock

_P, _R, _F = t.projects.c, t.revisions.c, t.features.c


class SqlGenerations:
    """See ports.generations.Generations."""

    def __init__(self, engine: SqlEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock

    async def begin(self, held: Operation, generation: Generation) -> Generation:
        project = held.access.project

        def work(connection: Connection) -> Generation:
            fenced(connection, held, self._clock.now())
            begun = connection.execute(select(_P.next_generation).where(_P.project == project)).scalar_one()
            if begun:
                return Generation.parse(begun)
            connection.execute(update(t.projects).where(_P.project == project).values(next_generation=generation.name))
            return generation

        return await self._engine.write(work)

    async def ids(self, project: str, after: str, last: str, limit: int) -> Sequence[str]:
        within = and_(_R.project == project, _R.memory_id > after, _R.memory_id <= last)
        statement = select(_R.memory_id).where(within).distinct().order_by(_R.memory_id).limit(limit)
        return await self._engine.read(lambda c: list(c.execute(statement).scalars()), project)

    async def unfeatured(self, project: str, generation: Generation, ids: Sequence[str]) -> Sequence[Memory]:
        has = exists().where(
            _F.project == _R.project,
            _F.memory_id == _R.memory_id,
            _F.text_revision == _R.text_revision,
            _F.generation == generation.number,
        )
        # Any revision that says a text stands for all that do: the one that brought it may have been trimmed.
        said = and_(_R.text != "", _R.kind != Kind.DELETED.value)  # of what was forgotten no text is left
        statement = select(*memory_columns()).where(_R.project == project, listed(_R.memory_id, ids), said, ~has)
        rows = await self._engine.read(lambda c: [memory_of(row) for row in c.execute(statement)], project)
        return list({(memory.id, memory.text_revision): memory for memory in rows}.values())

    async def known(
        self, project: str, generation: Generation, memories: Sequence[Memory]
    ) -> Sequence[Features | None]:
        keys = [(memory.id, memory.text_revision) for memory in memories]
        statement = select(_F.memory_id, _F.text_revision, _F.terms, _F.vector).where(
            _F.project == project,
            _F.generation == generation.number,
            paired(_F.memory_id, _F.text_revision, keys),
        )
        rows = await self._engine.read(lambda c: c.execute(statement).all(), project)
        found = {(row[0], row[1]): features_of(row[2], row[3]) for row in rows}
        return [found.get(key) for key in keys]

    async def feature(
        self, held: Operation, generation: Generation, memories: Sequence[Memory], features: Sequence[Features]
    ) -> None:
        owner = {"project": held.access.project, "generation": generation.number}
        rows = [
            {**owner, "memory_id": memory.id, "text_revision": memory.text_revision, **feature_row(found)}
            for memory, found in zip(memories, features, strict=True)
        ]

        def work(connection: Connection) -> None:
            fenced(connection, held, self._clock.now())
            # What was forgotten while its text was embedded must not come back as a vector.
            ids = list({memory.id for memory in memories})
            said = select(_R.memory_id).where(
                _R.project == held.access.project, listed(_R.memory_id, ids), _R.text != ""
            )
            kept = set(connection.execute(said).scalars())
            if left := [row for row in rows if row["memory_id"] in kept]:
                connection.execute(insert(t.features).on_conflict_do_nothing(), left)

        if rows:
            await self._engine.write(work)

    async def switch(self, held: Operation, generation: Generation) -> Positions | None:
        project = held.access.project

        def work(connection: Connection) -> Positions | None:
            fenced(connection, held, self._clock.now())
            # The project's row first, as every commit does: from here on none can come between.
            mine = update(t.projects).where(_P.project == project).values(next_generation=_P.next_generation)
            connection.execute(mine)
            waiting = select(t.pending.c.seq).where(
                t.pending.c.project == project, t.pending.c.generation == generation.number
            )
            if connection.execute(waiting.limit(1)).first() is not None:
                return None
            values = {"generation": generation.name, "generation_number": generation.number, "next_generation": ""}
            connection.execute(update(t.projects).where(_P.project == project).values(**values))
            return stand(connection, Access(project))[0]

        return await self._engine.write(work)

    async def drop(self, held: Operation, limit: int) -> int:
        project = held.access.project

        def work(connection: Connection) -> int:
            fenced(connection, held, self._clock.now())
            used = select(_P.generation_number).where(_P.project == project).scalar_subquery()
            connection.execute(delete(t.pending).where(t.pending.c.project == project, t.pending.c.generation != used))
            old = select(_F.memory_id, _F.text_revision, _F.generation)
            old = old.where(_F.project == project, _F.generation != used).limit(limit)
            gone = tuple_(_F.memory_id, _F.text_revision, _F.generation).in_(old)
            return connection.execute(delete(t.features).where(_F.project == project, gone)).rowcount

        return await self._engine.write(work)

    async def extent(self, project: str) -> tuple[int, str]:
        statement = select(func.count(_R.memory_id.distinct()), func.max(_R.memory_id)).where(_R.project == project)
        total, last = await self._engine.read(lambda c: c.execute(statement).one(), project)
        return total, last or ""
