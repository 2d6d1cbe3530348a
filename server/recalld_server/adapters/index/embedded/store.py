"""The embedded index: one SQLite file with filter columns, terms and vectors. Implements ports.index.Index.

Only the process that holds the lock of the data folder opens the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
from sqlalchemy import ColumnElement, Connection, bindparam, or_, select

from recalld_server.adapters.index.embedded import entries as rows
from recalld_server.adapters.index.embedded.blocks import Blocks
from recalld_server.adapters.index.embedded.legs import Hits, KeywordLeg, VectorLeg
from recalld_server.adapters.index.embedded.scan import scan
from recalld_server.adapters.index.embedded.scan_range import ScanRange
from recalld_server.adapters.index.embedded.schema import entries, facets, prepare, set_in_use
from recalld_server.adapters.sql.array_params import in_list
from recalld_server.adapters.sql.engine import SqliteEngine, Work
from recalld_server.adapters.sql.filters import FilterCompiler
from recalld_server.adapters.sql.readers import check
from recalld_server.adapters.sql.store_health import StoreFault
from recalld_server.domain.errors import EntryInvalid, IndexUnavailable
from recalld_server.domain.filters import TIME_FIELDS
from recalld_server.domain.memory import SCOPE_FIELDS, Access, Scope
from recalld_server.domain.revision import Generation, IndexEntry
from recalld_server.domain.vectors import Int64Array
from recalld_server.ports.index import IndexQuery, Nominations

T = TypeVar("T")

CACHE_BYTES = 96 * 2**20  # cache of blocks, for about 60,000 vectors of 384 dimensions
PAGE = 1000  # entries per transaction when all entries of a space are read or deleted

FILTERS = FilterCompiler(
    {
        "id": entries.c.memory_id,
        **{name: entries.c[name] for name in (*SCOPE_FIELDS, "text", "folded", *TIME_FIELDS)},
    },
    facets,
    facets.c.row == entries.c.row,
)

REVISIONS = select(entries.c.memory_id, entries.c.revision).where(
    entries.c.space == bindparam("space"), in_list(entries.c.memory_id, "ids")
)


class EmbeddedIndex:
    """An index in the file at `path`. Creates a missing file and replaces an unusable one.

    The constructor raises IndexUnavailable if the file cannot be opened.
    """

    name = "embedded"

    def __init__(self, path: Path, cache_bytes: int = CACHE_BYTES) -> None:
        prepare(path)
        # Commits are not synced one by one (`durable` False). The write-ahead log keeps their order, so a power failure
        # loses only the latest ones: if a mark survives, everything that was applied before it survives too.
        self._engine = SqliteEngine(path, unavailable=IndexUnavailable, durable=False)
        self._blocks = Blocks(cache_bytes)
        self._spaces: dict[tuple[str, str], int] = {}
        self._failed = False

    @property
    def queued(self) -> int:
        """Number of changes that wait for the writer."""
        return self._engine.queued

    @property
    def held(self) -> int:
        """Bytes of cached blocks."""
        return self._blocks.size

    async def apply(
        self, project: str, generation: Generation, puts: Sequence[IndexEntry], deletes: Sequence[str], mark: int
    ) -> None:
        """See Index.apply. Runs in one transaction.

        The last of several puts of a memory wins, and a put wins over a delete.
        """
        added = {entry.memory.id: entry for entry in puts}
        for entry in added.values():
            if (shape := entry.features.vector.shape) != (generation.dimension,):
                raise EntryInvalid.dimension(entry.memory.id, shape, generation.dimension)

        def work(connection: Connection) -> list[rows.Removed]:
            space = _claim(connection, project, generation, mark)
            removed = rows.remove(connection, space, [*added, *deletes])
            rows.put(connection, space, list(added.values()))
            return removed

        await self._remove(work, project)

    async def mark(self, project: str, generation: Generation) -> int:
        sql = "SELECT mark FROM spaces WHERE project = ? AND generation = ?"
        found = await self._read(lambda c: c.exec_driver_sql(sql, (project, generation.name)).scalar(), project)
        return found or 0

    def require(self) -> None:
        """See Index.require. Does nothing: reads of a local file report its faults."""

    async def check(self) -> None:
        """See Index.check. Does nothing: the constructor has opened the file."""

    async def ping(self) -> None:
        self._engine.file.health.require(StoreFault.DAMAGED)
        await self._read(lambda c: c.exec_driver_sql("SELECT 1 FROM spaces LIMIT 1").first(), "")
        # A write fault does not fail the ping, because searches still work. The ping only retries a write.
        if self._engine.file.health.has(StoreFault.UNWRITABLE):
            with suppress(IndexUnavailable):
                await self._engine.ping(lambda c: set_in_use(c, True))

    async def nominate(self, access: Access, generation: Generation, query: IndexQuery, depth: int) -> Nominations:
        """See Index.nominate. Runs both legs in one pass over one snapshot.

        Vectors are stored as float16, so cosines are accurate to 0.001.
        """
        scope = query.scope.narrowed(access.pin)
        if scope is None or depth < 1:
            return Nominations((), (), exhausted=scope is None)
        condition = FILTERS.compile(query.filter) if query.filter else None

        def work(connection: Connection) -> Nominations:
            version = self._blocks.version  # read before the first statement, which fixes the snapshot
            space = self._space(connection, access.project, generation)
            if space is None:
                return Nominations((), (), exhausted=True, absent=True)
            admitted = None if condition is None else _admitted(connection, space, scope, condition, query.now)
            extent = ScanRange(space, scope, query.now, admitted)
            keyword, vector = KeywordLeg(query.terms, depth), VectorLeg(query.vector, depth)
            for block in scan(connection, self._blocks, version, extent):
                check()
                meant = extent.meant(block)
                keyword.offer(block, meant)
                vector.offer(block, meant)
            by_words, by_meaning = keyword.best_first(), vector.best_first()
            exhausted = len(by_words) < depth and len(by_meaning) < depth
            return Nominations(_distinct(by_words), _distinct(by_meaning), exhausted)

        return await self._read(work, access.project)

    async def entries(self, project: str, generation: Generation) -> AsyncIterator[tuple[str, int]]:
        after = ""
        while page := await self._read(
            partial(self._page, project=project, generation=generation, after=after), project
        ):
            for memory_id, revision in page:
                yield memory_id, revision
            after = page[-1][0]

    async def revisions(self, project: str, generation: Generation, ids: Sequence[str]) -> Mapping[str, int]:
        def work(connection: Connection) -> dict[str, int]:
            asked = {"space": self._space(connection, project, generation), "ids": list(ids)}
            return {row[0]: row[1] for row in connection.execute(REVISIONS, asked)}

        return await self._read(work, project)

    async def remaining(self, project: str, ids: Sequence[str]) -> int:
        return await self._read(lambda c: rows.count(c, project, ids), project)

    @property
    def clears(self) -> bool:
        """True: the files belong to this process."""
        return True

    async def compact(self) -> bool | None:
        self._blocks.clear()
        return await self._engine.compact()

    async def outage_count(self) -> int:
        """Always 0: the engine runs in this process and cannot lose a committed entry."""
        return 0

    async def drop(self, project: str, generation: Generation) -> None:
        """See Index.drop. Deletes 1,000 entries per transaction.

        The mark is reset first, so that a partly dropped index does not count as complete.
        """
        sql = "UPDATE spaces SET mark = 0 WHERE project = ? AND generation = ? RETURNING space"
        space = await self._write(lambda c: c.exec_driver_sql(sql, (project, generation.name)).scalar(), project)
        while space is not None and await self._remove(lambda c: rows.remove_oldest(c, space, PAGE), project):
            pass

    async def close(self) -> None:
        if not self._failed:
            with suppress(IndexUnavailable):  # the file stays marked as in use, so the next start checks it
                await self._write(lambda c: set_in_use(c, False))
        await self._engine.close()

    def _space(self, connection: Connection, project: str, generation: Generation) -> int | None:
        """The number of a space; None before the first `apply` to it. Numbers never change, so they are cached."""
        name = (project, generation.name)
        space = self._spaces.get(name)
        if space is None:
            sql = "SELECT space FROM spaces WHERE project = ? AND generation = ?"
            space = connection.exec_driver_sql(sql, name).scalar()
            if space is not None:
                self._spaces[name] = space
        return space

    def _page(self, connection: Connection, project: str, generation: Generation, after: str) -> list[tuple[str, int]]:
        sql = "SELECT memory_id, revision FROM entries WHERE space = ? AND memory_id > ? ORDER BY memory_id LIMIT ?"
        found = connection.exec_driver_sql(sql, (self._space(connection, project, generation), after, PAGE))
        return [(memory_id, revision) for memory_id, revision in found]

    async def _remove(self, work: Work[list[rows.Removed]], line: str) -> list[rows.Removed]:
        """Delete rows, then discard them from the cache.

        Shielded from cancellation between the two, because the cache would otherwise keep deleted rows.
        """

        async def both() -> list[rows.Removed]:
            removed = await self._write(work, line)
            if removed:
                self._blocks.discard(removed)
            return removed

        return await asyncio.shield(asyncio.ensure_future(both()))

    async def _read(self, work: Work[T], line: str = "") -> T:
        try:
            return await self._engine.read(work, line)
        except IndexUnavailable:
            self._failed = True
            raise

    async def _write(self, work: Work[T], line: str = "") -> T:
        try:
            return await self._engine.write(work, line)
        except IndexUnavailable:
            self._failed = True
            raise


def _claim(connection: Connection, project: str, generation: Generation, mark: int) -> int:
    """Create the space if it is missing, raise its mark, and return its number."""
    sql = """
        INSERT INTO spaces (project, generation, mark) VALUES (?, ?, ?)
        ON CONFLICT (project, generation) DO UPDATE SET mark = max(mark, excluded.mark) RETURNING space"""
    return int(connection.exec_driver_sql(sql, (project, generation.name, mark)).scalar_one())


def _admitted(connection: Connection, space: int, scope: Scope, condition: ColumnElement[bool], now: int) -> Int64Array:
    """The numbers of the unexpired rows of a scope that match a filter, ascending."""
    ids = [test for name, value in scope.items() for test in (entries.c[name] == value, entries.c[name] != "")]
    statement = (
        select(entries.c.row)
        .where(entries.c.space == space, *ids, condition)
        .where(or_(entries.c.expire_time.is_(None), entries.c.expire_time > now))
        .order_by(entries.c.row)
    )
    return np.array(connection.execute(statement).scalars().all(), np.int64)


def _distinct(found: Hits) -> Hits:
    """Each memory once, with its best score: after a change its old and new rows are both cached for a moment."""
    best: dict[str, float] = {}
    for memory_id, score in found:
        best.setdefault(memory_id, score)
    return list(best.items())
