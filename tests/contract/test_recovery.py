"""A lost index is filled again in parts, also if this is interrupted between two of them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.contract.ledger_world import (
    ELSEWHERE,
    GENERATION,
    HERE,
    START,
    FakeClock,
    added,
    deleted,
    updated,
    write,
)

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.projection import recovery
from recalld_server.adapters.ledger.store import open_postgres, open_sqlite
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.background.projector import Projector
from recalld_server.bench.deletion import filling
from recalld_server.domain.revision import Generation, IndexEntry
from recalld_server.usecases.projection import Projection

MANY = 100_000
SPAN = 4
Servers = Sequence[tuple[SqlLedger, SqlEngine]]


class Entries:
    """An index in memory that servers share: what it holds, and how far it says it is."""

    def __init__(self) -> None:
        self.held: dict[str, int] = {}
        self.marked = 0

    def require(self) -> None:
        """It is always there."""

    async def apply(
        self, project: str, generation: Generation, puts: Sequence[IndexEntry], deletes: Sequence[str], mark: int
    ) -> None:
        self.held |= {entry.memory.id: entry.memory.revision for entry in puts}
        for id in deletes:
            self.held.pop(id, None)
        self.marked = max(self.marked, mark)

    async def mark(self, project: str, generation: Generation) -> int:
        return self.marked


def projection(ledger: SqlLedger, index: Entries, clock: FakeClock) -> Projection:
    return Projection(ledger, index, clock, None)  # type: ignore[arg-type]


class Recovery:
    """The fixture `servers` are two ledgers on one database, each with its engine."""

    @pytest.fixture
    async def filled(self, servers: Servers, clock: FakeClock) -> dict[str, int]:
        """Three memories changed, three deleted, all of it once in the index; what is live."""
        ledger = servers[0][0]
        clock.time = START
        stored = (await write(ledger, *(added(f"m{n:02}") for n in range(20)))).memories
        await write(ledger, *(updated(m, metadata={"k": 1}) for m in stored[:3]), *map(deleted, stored[3:6]))
        await projection(ledger, Entries(), clock).catch_up("default")
        assert await ledger.pending("default", GENERATION, 1) == []
        return {f"m{n:02}": 2 if n < 3 else 1 for n in range(20) if n not in (3, 4, 5)}

    @pytest.fixture
    def broken(self, filled: dict[str, int], monkeypatch: pytest.MonkeyPatch) -> None:
        """Whoever makes changes pending fails in the second transaction."""
        parts, real = [0], recovery._pend

        def failing(*given: Any, **named: Any) -> Any:
            parts[0] += 1
            if parts[0] == 2:
                raise ConnectionError("it broke off")
            return real(*given, **named)

        monkeypatch.setattr(recovery, "_pend", failing)
        monkeypatch.setattr(recovery, "SPAN", SPAN)

    async def test_a_memory_is_told_once(self, servers: Servers, clock: FakeClock, filled: dict[str, int]) -> None:
        ledger = servers[0][0]
        assert await ledger.pend_after("default", GENERATION, 0) == len(filled) + 3
        assert sorted(await ledger.pending("default", GENERATION, 100)) == [f"m{n:02}" for n in range(20)]

    @pytest.mark.usefixtures("broken")
    async def test_another_server_does_not_take_the_first_part_for_all(
        self, servers: Servers, clock: FakeClock, filled: dict[str, int]
    ) -> None:
        (one, _), (other, _) = servers
        index = Entries()
        index.held["m04"] = 1  # it never learnt of the deletion
        with pytest.raises(ConnectionError):
            await projection(one, index, clock).catch_up("default")
        late = projection(other, index, clock)
        projector = Projector(late, other, index, clock)  # type: ignore[arg-type]
        late._caught_up.add("default")  # it runs, and knows nothing of the loss
        clock.time += 10_000_000
        await projector._round()
        assert index.held.keys() <= filled.keys() | {"m04"}
        assert index.marked == 0
        assert (await other.positions(HERE)).applied == 0
        assert await other.interrupted("default", GENERATION) is False  # the first may still be at it
        assert await other.pend_after("default", GENERATION, 20) is None

        clock.time += recovery.LEASE
        assert await other.interrupted("default", GENERATION)
        assert await other.behind(2.0) == ["default"]
        await projector._round()
        assert index.held == filled
        assert (await other.positions(HERE)).applied == (await other.positions(HERE)).head
        assert await other.behind(2.0) == []

    async def test_one_at_a_time(
        self, servers: Servers, clock: FakeClock, filled: dict[str, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(recovery, "SPAN", SPAN)
        found = await asyncio.gather(*(ledger.pend_after("default", GENERATION, 0) for ledger, _ in servers))
        assert len(filled) + 3 in found
        head = (await servers[0][0].positions(HERE)).head
        for ledger, _ in servers:
            assert await ledger.pend_after("default", GENERATION, head) == 0
            assert await ledger.interrupted("default", GENERATION) is False

    async def test_others_hardly_wait(self, servers: Servers, clock: FakeClock) -> None:
        ledger, engine = servers[0]
        for statement in filling("default", 1, MANY):
            await engine.write(lambda c, s=statement: c.exec_driver_sql(s))  # type: ignore[misc]
        waits = []
        pending = asyncio.ensure_future(ledger.pend_after("default", GENERATION, 0))
        while not pending.done():
            begun = time.monotonic()
            await write(ledger, added(f"other{len(waits)}"), access=ELSEWHERE)
            waits.append(time.monotonic() - begun)
            await asyncio.sleep(0.02)
        assert await pending == MANY
        assert len(waits) > 3
        assert max(waits) < 0.25, sorted(waits)[-5:]


class TestSqlite(Recovery):
    @pytest.fixture
    async def servers(self, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Servers]:
        engines = [await open_sqlite(tmp_path / "ledger.db") for _ in range(2)]
        async for opened in _opened(engines, clock):
            yield opened


@pytest.mark.needs_postgres
class TestPostgres(Recovery):
    @pytest.fixture
    async def servers(self, postgres_url: str, clock: FakeClock) -> AsyncIterator[Servers]:
        engines = [await open_postgres(postgres_url) for _ in range(2)]
        async for opened in _opened(engines, clock):
            yield opened


async def _opened(engines: Sequence[SqlEngine], clock: FakeClock) -> AsyncIterator[Servers]:
    ledgers = [SqlLedger(engine, clock) for engine in engines]
    for project in ("default", "other"):
        await ledgers[0].ensure_project(project, GENERATION)
    yield list(zip(ledgers, engines, strict=True))
    for ledger in ledgers:
        await ledger.close()
