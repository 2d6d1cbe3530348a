"""Implements ports.generations.Generations with SQLAlchemy Core."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, delete, exists, func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger.lines import background_line
from recalld_server.adapters.ledger.operations import fenced
from recalld_server.adapters.ledger.reads.queries import stand
from recalld_server.adapters.ledger.rows import feature_row, features_of, memory_columns, memory_of
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.array_params import in_list, in_pairs
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.memory import Access, Kind, Memory
from recalld_server.domain.operations import Operation
from recalld_server.domain.revision import Features, Generation, Positions
from recalld_server.ports.clock import Clock

_P, _R, _F, _N = t.projects.c, t.revisions.c, t.features.c, t.pending.c


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

        return await self._engine.write(work, line=background_line(held.access.project))

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
        # Features belong to a text, so any revision with that text will do: retention may have dropped the first one.
        said = and_(_R.text != "", _R.kind != Kind.DELETED.value)  # forgotten revisions have an empty text
        statement = select(*memory_columns()).where(_R.project == project, in_list(_R.memory_id, ids), said, ~has)
        rows = await self._engine.read(lambda c: [memory_of(row) for row in c.execute(statement)], project)
        return list({(memory.id, memory.text_revision): memory for memory in rows}.values())

    async def known(
        self, project: str, generation: Generation, memories: Sequence[Memory]
    ) -> Sequence[Features | None]:
        keys = [(memory.id, memory.text_revision) for memory in memories]
        statement = select(_F.memory_id, _F.text_revision, _F.terms, _F.vector).where(
            _F.project == project,
            _F.generation == generation.number,
            in_pairs(_F.memory_id, _F.text_revision, keys),
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
            # A memory may have been forgotten while its text was embedded: it must not get a vector now.
            ids = list({memory.id for memory in memories})
            said = select(_R.memory_id).where(
                _R.project == held.access.project, in_list(_R.memory_id, ids), _R.text != ""
            )
            kept = set(connection.execute(said).scalars())
            if left := [row for row in rows if row["memory_id"] in kept]:
                connection.execute(insert(t.features).on_conflict_do_nothing(), left)

        if rows:
            await self._engine.write(work, line=background_line(held.access.project))

    async def switch(self, held: Operation, generation: Generation) -> Positions | None:
        project = held.access.project

        def work(connection: Connection) -> Positions | None:
            fenced(connection, held, self._clock.now())
            # Lock the project's row, as every commit does: no commit can happen before this transaction ends.
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

        return await self._engine.write(work, line=background_line(held.access.project))

    async def drop(self, held: Operation, after: str, limit: int) -> str | None:
        project, line = held.access.project, background_line(held.access.project)
        # Start after the previous part: otherwise each part would scan all the features that stay.
        part = select(_F.memory_id).where(_F.project == project, _F.memory_id > after)
        part = part.order_by(_F.memory_id).limit(limit)
        ids = await self._engine.read(lambda c: c.execute(part).scalars().all(), project)

        def work(connection: Connection) -> int:
            fenced(connection, held, self._clock.now())
            used = select(_P.generation_number).where(_P.project == project).scalar_subquery()
            if ids:
                within = and_(_F.project == project, _F.memory_id > after, _F.memory_id <= ids[-1])
                connection.execute(delete(t.features).where(within, _F.generation != used))
            return sum(
                _unpend(connection, project, other, limit) for other in (_N.generation < used, _N.generation > used)
            )

        while await self._engine.write(work, line=line) and not ids:
            pass  # the last part repeats until no other generation has pending changes
        return ids[-1] if ids else None

    async def extent(self, project: str) -> tuple[int, str]:
        statement = select(func.count(_R.memory_id.distinct()), func.max(_R.memory_id)).where(_R.project == project)
        total, last = await self._engine.read(lambda c: c.execute(statement).one(), project)
        return total, last or ""


def _unpend(connection: Connection, project: str, others: ColumnElement[bool], limit: int) -> int:
    """Delete at most `limit` pending changes of the generations `others`. Returns how many."""
    some = select(_N.generation, _N.seq).where(_N.project == project, others).limit(limit)
    gone = delete(t.pending).where(_N.project == project, tuple_(_N.generation, _N.seq).in_(some))
    return connection.execute(gone).rowcount
