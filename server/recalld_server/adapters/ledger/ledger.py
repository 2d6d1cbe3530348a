"""Implements ports.ledger.Ledger with SQLAlchemy Core.

Each method is one transaction, except `trim`, `begin_forgetting` and `forget`, which read first and then write, and
`pend_after`, which writes in parts.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping, Sequence, Set
from contextvars import copy_context
from functools import partial
from typing import TypeVar

from sqlalchemy import Connection, select, update
from sqlalchemy.dialects.postgresql import insert

from recalld_server.adapters.ledger.commits import commit as commit_statements
from recalld_server.adapters.ledger.commits import retention
from recalld_server.adapters.ledger.erasure import file_erasures, forgetting, last_revisions, withdrawals
from recalld_server.adapters.ledger.lines import background_line
from recalld_server.adapters.ledger.projection import pending, recovery
from recalld_server.adapters.ledger.reads import candidates, entities, queries
from recalld_server.adapters.ledger.reads.feature_cache import FeatureCache
from recalld_server.adapters.ledger.reads.search_state_cache import SearchStateCache
from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.filters import Filter
from recalld_server.domain.forgetting import ErasureScope, ErasureTarget, Forgotten, Remains
from recalld_server.domain.memory import Access, Memory, Scope
from recalld_server.domain.ranking import Pool
from recalld_server.domain.revision import (
    Change,
    Commit,
    Entity,
    Event,
    EventQuery,
    Expired,
    Features,
    Generation,
    IndexEntry,
    IndexLag,
    ListQuery,
    Match,
    Outcome,
    Page,
    Positions,
    RequestKey,
    SearchState,
)
from recalld_server.ports.clock import Clock

T = TypeVar("T")


class SqlLedger:
    """See ports.ledger.Ledger."""

    def __init__(self, engine: SqlEngine, clock: Clock) -> None:
        self._engine = engine
        self._clock = clock
        self._cache = FeatureCache()
        self._states = SearchStateCache(engine)

    async def identity(self) -> tuple[str, bytes]:
        """The id of the ledger and the secret that signs its tokens."""
        row = await self._engine.read(lambda c: c.execute(select(t.ledger.c.id, t.ledger.c.secret)).one())
        return row.id, row.secret

    async def sound(self) -> bool | None:
        """Whether the engine's files are intact; None if another program owns them."""
        return await self._engine.sound()

    async def ping(self) -> None:
        """Raise LedgerUnavailable if the ledger is known not to accept changes."""
        await self._engine.ping(lambda c: c.execute(update(t.ledger).values(id=t.ledger.c.id)))

    async def ensure_project(self, project: str, generation: Generation) -> None:
        """Create the project unless it exists."""
        now = self._clock.now()
        row = {
            "project": project,
            "head": 0,
            "last_time": now,
            "oldest": 0,
            "generation": generation.name,
            "settings": json.dumps({}),
            "create_time": now,
        }
        await self._engine.write(lambda c: c.execute(insert(t.projects).values(row).on_conflict_do_nothing()))

    async def generation(self, project: str) -> Generation:
        return (await self._engine.read(lambda c: queries.stand(c, Access(project)), project))[1]

    async def search_state(self, access: Access, scope: Scope) -> SearchState:
        return await self._states.get(access, scope)

    async def commit(self, access: Access, change: Change) -> Commit:
        return await self._engine.write(
            lambda c: commit_statements.commit(c, access, change, self._clock.now()), line=access.project
        )

    async def outcomes(self, access: Access, rpc: str, request_ids: Sequence[str]) -> Mapping[str, Outcome]:
        return await self._engine.read(
            lambda c: queries.outcomes(c, access, rpc, request_ids, self._clock.now()), access.project
        )

    async def outcome(self, access: Access, rpc: str, request_id: str) -> Outcome | None:
        return await self._engine.read(
            lambda c: queries.outcome(c, access, rpc, request_id, self._clock.now()), access.project
        )

    async def memories(self, access: Access, ids: Sequence[str], as_of: int | None = None) -> Mapping[str, Memory]:
        return await self._engine.read(lambda c: queries.memories(c, access, ids, as_of), access.project)

    async def revisions(self, access: Access, named: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], Memory]:
        return await self._engine.read(lambda c: queries.revisions(c, access, named), access.project)

    async def latest(self, access: Access, ids: Sequence[str]) -> Mapping[str, tuple[Memory, bool]]:
        return await self._engine.read(lambda c: queries.latest(c, access, ids), access.project)

    async def repeats(
        self, access: Access, texts: Sequence[tuple[str, str]], now: int
    ) -> Mapping[tuple[str, str], Memory]:
        return await self._engine.read(lambda c: queries.repeats(c, access, texts, now), access.project)

    async def outside(self, access: Access, ids: Sequence[str], add_ids: Sequence[str]) -> frozenset[str]:
        if not access.pin:
            return frozenset()
        return await self._engine.read(lambda c: queries.outside(c, access, ids, add_ids), access.project)

    async def page(self, access: Access, query: ListQuery) -> Page:
        return await self._engine.read(lambda c: queries.page(c, access, query), access.project)

    async def matching(
        self,
        access: Access,
        scope: Scope,
        filter: Filter | None,
        as_of: int,
        after: tuple[int, str] | None,
        limit: int,
    ) -> Sequence[Match]:
        return await self._engine.read(
            lambda c: queries.matching(c, access, scope, filter, as_of, after, limit), access.project
        )

    async def count(self, access: Access, scope: Scope, filter: Filter | None, as_of: int) -> int:
        return await self._engine.read(lambda c: queries.count(c, access, scope, filter, as_of), access.project)

    async def pool(
        self,
        access: Access,
        scope: Scope,
        filter: Filter | None,
        ids: Sequence[str],
        generation: Generation,
        now: int,
        window: int = 2,
    ) -> Pool:
        return await self._engine.read(
            lambda c: candidates.pool(c, self._cache, access, scope, filter, ids, generation, now, window),
            access.project,
        )

    async def chosen(
        self,
        access: Access,
        scope: Scope,
        filter: Filter | None,
        ids: Sequence[str],
        generation: Generation,
        now: int,
        choose: Callable[[Pool], tuple[T, Sequence[str]]],
    ) -> tuple[T, Mapping[str, Memory]]:
        context = copy_context()

        def read(connection: Connection) -> tuple[T, Mapping[str, Memory]]:
            found = candidates.pool(connection, self._cache, access, scope, filter, ids, generation, now)
            made, named = context.run(choose, found)
            return made, queries.memories(connection, access, named)

        return await self._engine.read(read, access.project)

    async def snapshot(
        self,
        access: Access,
        scope: Scope,
        filter: Filter | None,
        generation: Generation,
        as_of: int,
        now: int,
        limit: int,
    ) -> Pool | None:
        return await self._engine.read(
            lambda c: candidates.snapshot(c, self._cache, access, scope, filter, generation, as_of, now, limit),
            access.project,
        )

    async def features(self, access: Access, ids: Sequence[str], generation: Generation) -> Mapping[str, Features]:
        return await self._engine.read(
            lambda c: candidates.features(c, self._cache, access, ids, generation), access.project
        )

    async def events(self, access: Access, query: EventQuery) -> Sequence[Event]:
        return (await self._engine.read(lambda c: queries.events(c, access, query), access.project))[0]

    async def follow(self, access: Access, query: EventQuery) -> tuple[Sequence[Event], bool, Positions]:
        return await self._engine.read(
            lambda c: (*queries.events(c, access, query), queries.stand(c, access)[0]), access.project
        )

    async def entities(
        self, access: Access, types: Sequence[str], after: tuple[str, str] | None, limit: int
    ) -> Sequence[Entity]:
        return await self._engine.read(lambda c: entities.entities(c, access, types, after, limit), access.project)

    async def count_entities(self, access: Access, types: Sequence[str]) -> int:
        return await self._engine.read(lambda c: entities.count_entities(c, access, types), access.project)

    async def known(self, access: Access, scope: Scope) -> bool:
        return await self._engine.read(lambda c: queries.known(c, access, scope), access.project)

    async def positions(self, access: Access) -> Positions:
        return (await self._engine.read(lambda c: queries.stand(c, access), access.project))[0]

    async def sequence_at(self, access: Access, time: int) -> int:
        return await self._engine.read(lambda c: queries.sequence_at(c, access, time), access.project)

    async def time_of(self, access: Access, seq: int) -> int:
        return await self._engine.read(lambda c: queries.time_of(c, access, seq), access.project)

    async def projects(self) -> Sequence[str]:
        statement = select(t.projects.c.project).order_by(t.projects.c.project)
        return await self._engine.read(lambda c: list(c.execute(statement).scalars()))

    async def pending(self, project: str, generation: Generation, limit: int) -> Sequence[str]:
        return await self._engine.read(lambda c: pending.pending(c, project, generation, limit), project)

    async def behind(self, age: float) -> Sequence[str]:
        now = self._clock.now()
        return await self._engine.read(lambda c: pending.behind(c, now - _micros(age), now))

    async def claim(
        self, project: str, generation: Generation, age: float, seconds: float, limit: int
    ) -> Sequence[str]:
        now = self._clock.now()
        before, until = now - _micros(age), now + _micros(seconds)
        work = partial(pending.claim, project=project, generation=generation, before=before, now=now)
        found = await self._engine.write(partial(work, until=until, limit=limit), line=background_line(project))
        return list(dict.fromkeys(found))

    async def release(self, project: str, generation: Generation, ids: Sequence[str]) -> None:
        await self._engine.write(lambda c: pending.release(c, project, generation, ids), line=background_line(project))

    async def lags(self) -> Mapping[str, IndexLag]:
        return await self._engine.read(pending.lags)

    async def backlog(self, project: str) -> int:
        return await self._engine.read(lambda c: pending.backlog(c, project), project)

    @property
    def queued(self) -> int:
        """Number of changes that wait for the writer."""
        return self._engine.queued

    @property
    def cached(self) -> int:
        """Number of memories whose features are cached."""
        return len(self._cache)

    async def expired(
        self, now: int, without: Collection[str], after: tuple[int, str, str] | None, limit: int
    ) -> Sequence[Expired]:
        return await self._engine.read(lambda c: retention.expired(c, now, without, after, limit))

    async def purge_outcomes(self, before: int, limit: int) -> int:
        return await self._engine.write(lambda c: retention.purge_outcomes(c, before, limit))

    async def retentions(self) -> Mapping[str, int]:
        return await self._engine.read(retention.retentions)

    async def retention(self, project: str) -> int | None:
        return await self._engine.read(lambda c: retention.retention(c, project), project)

    async def trim(self, project: str, before: int, limit: int) -> bool:
        if not await self._engine.read(lambda c: retention.due(c, project, before), project):
            return False  # usually nothing is due: a read keeps this project out of the writer's queue
        return await self._engine.write(lambda c: retention.trim(c, project, before, limit), line=project)

    async def extent(self, access: Access, scope: Scope, filter: Filter | None) -> ErasureScope:
        return await self._engine.read(lambda c: last_revisions.extent(c, access, scope, filter), access.project)

    async def begin_forgetting(
        self, access: Access, scope: Scope, filter: Filter | None, request: RequestKey | None
    ) -> Forgotten:
        exports = await self._engine.read(lambda c: withdrawals.holding(c, access, scope, filter), access.project)
        now = self._clock.now()
        return await self._engine.write(
            lambda c: forgetting.begin(c, access, exports, request, now), line=access.project
        )

    async def forget(
        self,
        access: Access,
        scope: Scope,
        filter: Filter | None,
        limit: int,
        request: RequestKey | None,
        done: Forgotten,
    ) -> Forgotten:
        place = done.place
        if place is None:
            return done
        # Found in a read transaction: a filter may scan many rows, which must not block writers.
        found = await self._engine.read(
            lambda c: forgetting.found(c, access, scope, filter, place, limit), access.project
        )
        now = self._clock.now()
        return await self._engine.write(
            lambda c: forgetting.forget(c, access, scope, filter, request, done, found, now), line=access.project
        )

    async def remains(self, project: str, after: int, limit: int) -> Remains:
        return await self._engine.read(lambda c: forgetting.remains(c, project, after, limit), project)

    async def said(self, project: str, messages: Collection[tuple[str, int]]) -> int:
        return await self._engine.read(lambda c: forgetting.said(c, project, messages), project)

    async def answers(self, project: str) -> bool:
        since = self._clock.now() - queries.OUTCOMES_KEPT
        return await self._engine.read(lambda c: forgetting.answers(c, project, since), project)

    async def erasures(self) -> int:
        return await self._engine.read(file_erasures.uncleared)

    async def compact(self) -> bool | None:
        self._cache.clear()
        self._states.clear()
        return await self._engine.compact()

    async def cleared(self, number: int) -> None:
        if number:
            await self._engine.write(lambda c: file_erasures.clear(c, number))

    @property
    def clears(self) -> bool:
        """Whether `compact` can reach the engine's files."""
        return self._engine.clears

    def file_legs(self, cleared: bool) -> Sequence[ErasureTarget]:
        if not self._engine.clears:
            return file_erasures.OUT_OF_REACH
        return file_erasures.CLEARED if cleared else file_erasures.CLEARING

    async def pend_after(self, project: str, generation: Generation, seq: int) -> int | None:
        return await recovery.pend_after(self._engine, self._clock, project, generation, seq)

    async def interrupted(self, project: str, generation: Generation) -> bool:
        now = self._clock.now()
        return await self._engine.read(lambda c: recovery.interrupted(c, project, generation, now), project)

    async def entries(
        self, project: str, generation: Generation, ids: Sequence[str]
    ) -> tuple[Mapping[str, IndexEntry], Positions]:
        return await self._engine.read(lambda c: pending.entries(c, project, generation, ids), project)

    async def add_features(
        self, project: str, generation: Generation, memories: Sequence[Memory], features: Sequence[Features]
    ) -> None:
        await self._engine.write(
            lambda c: pending.add_features(c, project, generation, memories, features), line=background_line(project)
        )

    async def settle(self, project: str, generation: Generation, applied: Mapping[str, int], seq: int) -> Sequence[str]:
        return await self._engine.write(lambda c: pending.settle(c, project, generation, applied, seq), line=project)

    async def live(self, project: str, after: str, limit: int) -> Sequence[tuple[str, int]]:
        return await self._engine.read(lambda c: pending.live(c, project, after, limit), project)

    async def live_among(self, project: str, ids: Sequence[str]) -> Set[str]:
        return await self._engine.read(lambda c: pending.live_among(c, project, ids), project)

    async def pending_among(self, project: str, generation: Generation, ids: Sequence[str]) -> Set[str]:
        return await self._engine.read(lambda c: pending.pending_among(c, project, generation, ids), project)

    async def close(self) -> None:
        await self._engine.close()


def _micros(seconds: float) -> int:
    return int(seconds * 1_000_000)
