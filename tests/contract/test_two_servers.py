"""Two servers on one ledger get the same request at the same time, as when a client retries elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.contract.ledger_world import ALICE, BOB, GENERATION, HERE, FakeClock, added, happened, head, live, write

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.store import open_postgres, open_sqlite
from recalld_server.domain.errors import IndexUnavailable
from recalld_server.domain.memory import Kind, Scope
from recalld_server.domain.revision import Generation, RequestKey
from recalld_server.usecases.commits import CommitCoordinator
from recalld_server.usecases.erasure import Erasure
from recalld_server.usecases.forgetting import ForgetCommand, Forgetting
from recalld_server.usecases.memories import Deletion, MemoryMutations

MEMORIES = 4500
KEY = RequestKey("DeleteMemories", "all", "f" * 64)
Servers = Sequence[SqlLedger]


class NoIndex:
    """A projector with nothing to project to, and an index that is never there."""

    async def apply(self, project: str, generation: Generation, ids: Sequence[str]) -> bool:
        return True

    clears = False

    async def remaining(self, project: str, ids: Sequence[str]) -> int:
        raise IndexUnavailable

    async def compact(self) -> None:
        """Its files, too, are nowhere."""


class NoWork:
    """Operations of which none waits."""

    async def waiting(self, project: str, scope: Scope) -> int:
        return 0


def forgetting(ledger: SqlLedger, clock: FakeClock) -> Forgetting:
    index, writer = NoIndex(), CommitCoordinator(ledger, NoIndex())  # type: ignore[arg-type]
    return Forgetting(ledger, index, writer, Erasure(ledger, index), NoWork(), clock)  # type: ignore[arg-type]


def modifying(ledger: SqlLedger, clock: FakeClock) -> MemoryMutations:
    return MemoryMutations(ledger, None, CommitCoordinator(ledger, NoIndex()), clock, None)  # type: ignore[arg-type]


class SameRequest:
    """The fixture `servers` are two ledgers on one database."""

    @pytest.fixture
    async def filled(self, servers: Servers) -> Servers:
        for start in range(0, MEMORIES, 500):
            await write(servers[0], *(added(f"m{n:05}") for n in range(start, start + 500)))
        await write(servers[1], added("bob's", scope=BOB))
        return servers

    async def test_a_bulk_deletion_is_counted_once(self, filled: Servers, clock: FakeClock) -> None:
        deletion = Deletion(scope=ALICE, request=KEY)
        both = [modifying(ledger, clock).delete_matching(HERE, deletion) for ledger in filled]
        first, second = await asyncio.gather(*both)
        assert (first.count, second.count) == (MEMORIES, MEMORIES)
        events = await happened(filled[0], after=MEMORIES + 1)
        assert [event.kind for event in events] == [Kind.DELETED] * MEMORIES
        assert len({event.memory_id for event in events}) == MEMORIES
        assert await live(filled[0]) == ["bob's"]

    async def test_one_goes_on_where_the_other_broke_off(self, filled: Servers, clock: FakeClock) -> None:
        """Whichever server has the request, and however often they change, every batch counts once."""
        deletion = Deletion(scope=ALICE, request=KEY, expected_count=MEMORIES)
        for ledger in (*filled, *filled):
            task = asyncio.ensure_future(modifying(ledger, clock).delete_matching(HERE, deletion))
            before = await head(filled[0])
            while not task.done() and await head(filled[1]) == before:
                pass
            task.cancel()
            await asyncio.wait([task])
        last = await modifying(filled[0], clock).delete_matching(HERE, deletion)
        assert last.count == MEMORIES
        assert await live(filled[1]) == ["bob's"]
        assert len(await happened(filled[0], after=MEMORIES + 1)) == MEMORIES

    async def test_a_forgetting_is_counted_once(self, filled: Servers, clock: FakeClock) -> None:
        """Both go on from whatever outcome they find, and the receipt of either counts each memory once."""
        asked = ForgetCommand(scope=ALICE, request=RequestKey("ForgetMemories", "all", "f" * 64))
        receipts = await asyncio.gather(*(forgetting(ledger, clock).forget(HERE, asked) for ledger in filled))
        assert {(receipt.memories, receipt.revisions) for receipt in receipts} == {(MEMORIES, MEMORIES)}
        events = await happened(filled[0], after=MEMORIES + 1)
        assert [event.kind for event in events] == [Kind.FORGOTTEN] * MEMORIES


class TestSqlite(SameRequest):
    @pytest.fixture
    async def servers(self, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Servers]:
        ledgers = [SqlLedger(await open_sqlite(tmp_path / "ledger.db"), clock) for _ in range(2)]
        await ledgers[0].ensure_project("default", GENERATION)
        yield ledgers
        for ledger in ledgers:
            await ledger.close()


@pytest.mark.needs_postgres
class TestPostgres(SameRequest):
    @pytest.fixture
    async def servers(self, postgres_url: str, clock: FakeClock) -> AsyncIterator[Servers]:
        ledgers = [SqlLedger(await open_postgres(postgres_url), clock) for _ in range(2)]
        await ledgers[0].ensure_project("default", GENERATION)
        yield ledgers
        for ledger in ledgers:
            await ledger.close()
