"""Writes with request ids that are interrupted, concurrent or repeated, with a ledger in a temporary file."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.store import open_sqlite
from recalld_server.adapters.system import SystemClock
from recalld_server.domain.errors import LedgerUnavailable, MemoryNotFound, RequestIdReused, WriteConflict
from recalld_server.domain.memory import Access, Kind, Memory, Scope
from recalld_server.domain.revision import (
    Change,
    Commit,
    EventQuery,
    Features,
    Generation,
    ListQuery,
    Outcome,
    Put,
    RequestKey,
)
from recalld_server.usecases.commits import CommitCoordinator, Written
from recalld_server.usecases.memories import Deletion, MemoryMutations

ME = Access("default")
ALEX = Scope(user_id="alex")
KEY = RequestKey("DeleteMemories", "all", "f" * 64)
ANYTHING = Features(np.array([1], np.uint32), np.ones(4, np.float32) / 2)


class Ledger(SqlLedger):
    """A ledger that fails when told: `broken` counts down the commits that still go through."""

    broken = -1
    before_commit: Any = None

    async def commit(self, access: Access, change: Change) -> Commit:
        if self.before_commit:
            await self.before_commit(change)
        if self.broken == 0:
            raise LedgerUnavailable
        self.broken -= 1
        return await super().commit(access, change)


class NoIndex:
    """A projector with nothing to project to."""

    async def apply(self, project: str, generation: Generation, ids: Sequence[str]) -> bool:
        return True


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    opened = Ledger(await open_sqlite(tmp_path / "ledger.db"), SystemClock())
    await opened.ensure_project("default", Generation(1, "test", 4, 1))
    yield opened
    await opened.close()


@pytest.fixture
def writer(ledger: Ledger) -> CommitCoordinator:
    return CommitCoordinator(ledger, NoIndex())  # type: ignore[arg-type]


@pytest.fixture
def modify(ledger: Ledger, writer: CommitCoordinator) -> MemoryMutations:
    return MemoryMutations(ledger, None, writer, SystemClock(), None)  # type: ignore[arg-type]


async def stored(ledger: Ledger, count: int, start: int = 0) -> list[str]:
    """That many memories of alex."""
    memories = [Memory(f"m{start + n:05}", f"Text {start + n}", ALEX) for n in range(count)]
    puts = [Put(memory, Kind.ADDED, features=ANYTHING) for memory in memories]
    await ledger.commit(ME, Change(puts=puts))
    return [memory.id for memory in memories]


async def live(ledger: Ledger) -> int:
    return (await ledger.page(ME, ListQuery(limit=1, count=True))).total or 0


async def test_a_deletion_that_broke_off_is_resumed_with_what_matched_at_its_start(
    ledger: Ledger, modify: MemoryMutations
) -> None:
    ids = await stored(ledger, 1100)
    deletion = Deletion(scope=ALEX, expected_count=1100, request=KEY)
    ledger.broken = 1
    with pytest.raises(LedgerUnavailable):
        await modify.delete_matching(ME, deletion)
    assert await live(ledger) == 850
    ledger.broken = -1
    await stored(ledger, 7, start=9000)  # later than the start
    await modify.restore(ME, ids[0], None, None)  # somebody wanted it back
    changed = await modify.delete_matching(ME, deletion)
    assert changed.count == 1100
    assert await live(ledger) == 8
    again = await modify.delete_matching(ME, deletion)
    assert (again.count, again.seq) == (changed.count, changed.seq)
    assert await live(ledger) == 8


async def test_a_broken_deletion_is_not_resumed_by_another_request(ledger: Ledger, modify: MemoryMutations) -> None:
    await stored(ledger, 400)
    ledger.broken = 1
    with pytest.raises(LedgerUnavailable):
        await modify.delete_matching(ME, Deletion(scope=ALEX, request=KEY))
    ledger.broken = -1
    other = RequestKey(KEY.rpc, KEY.request_id, "0" * 64)
    with pytest.raises(RequestIdReused):
        await modify.delete_matching(ME, Deletion(scope=ALEX, request=other))
    assert await live(ledger) == 150


async def test_each_transaction_of_a_deletion_is_whole(ledger: Ledger, modify: MemoryMutations) -> None:
    await stored(ledger, 750)
    sizes = []

    async def seen(change: Change) -> None:
        sizes.append((len(change.deletes), change.partial))

    ledger.before_commit = seen
    await modify.delete_matching(ME, Deletion(scope=ALEX, request=KEY))
    assert sizes == [(250, True), (250, True), (250, False)]


async def test_a_deletion_meets_memories_that_change_meanwhile(ledger: Ledger, modify: MemoryMutations) -> None:
    ids = await stored(ledger, 3)
    moved = []

    async def meanwhile(change: Change) -> None:
        if change.deletes and not moved:
            moved.append(ids[0])
            current = (await ledger.memories(ME, ids[:1]))[ids[0]]
            await SqlLedger.commit(ledger, ME, Change(puts=[Put(current, Kind.UPDATED, expected=1)]))

    ledger.before_commit = meanwhile
    assert (await modify.delete_matching(ME, Deletion(scope=ALEX, request=KEY))).count == 3
    assert (moved, await live(ledger)) == ([ids[0]], 0)


async def test_a_change_that_always_comes_too_late_gives_up(ledger: Ledger, modify: MemoryMutations) -> None:
    [id] = await stored(ledger, 1)
    tries = []

    async def meanwhile(change: Change) -> None:
        if change.deletes:
            tries.append(id)
            current = (await ledger.memories(ME, [id]))[id]
            put = Put(current, Kind.UPDATED, expected=current.revision)
            await SqlLedger.commit(ledger, ME, Change(puts=[put]))

    ledger.before_commit = meanwhile
    with pytest.raises(WriteConflict):
        await modify.delete(ME, [id], KEY)
    assert len(tries) == 3
    assert (await live(ledger), await ledger.outcome(ME, KEY.rpc, KEY.request_id)) == (1, None)


async def test_the_same_request_at_another_server_is_answered_by_whoever_is_first(
    ledger: Ledger, modify: MemoryMutations
) -> None:
    """Between this server's look for an outcome and its decision the other one deletes the memory."""
    [id] = await stored(ledger, 1)
    other = MemoryMutations(ledger, None, CommitCoordinator(ledger, NoIndex()), SystemClock(), None)  # type: ignore[arg-type]
    first: list[Any] = []
    looked = ledger.outcome

    async def outcome(access: Access, rpc: str, request_id: str) -> Outcome | None:
        found = await looked(access, rpc, request_id)
        if not first:
            first.append(None)
            first[0] = await other.delete(ME, [id], KEY)
        return found

    ledger.outcome = outcome  # type: ignore[method-assign]
    changed = await modify.delete(ME, [id], KEY)
    assert (changed.count, changed.seq) == (first[0].count, first[0].seq)
    assert len(await ledger.events(ME, EventQuery())) == 2


async def test_what_failed_is_tried_again_by_whoever_waited(writer: CommitCoordinator) -> None:
    begun, tries = asyncio.Event(), []

    async def work(outcome: Outcome | None) -> Written:
        tries.append(len(tries))
        if tries == [0]:
            await begun.wait()
            raise MemoryNotFound
        return Written({"memories": []}, 5, True)

    calls = [asyncio.create_task(writer.once(ME, KEY, work)) for _ in range(3)]
    await asyncio.sleep(0.05)
    assert tries == [0]
    begun.set()
    done = await asyncio.gather(*calls, return_exceptions=True)
    assert isinstance(done[0], MemoryNotFound)
    assert [each.seq for each in done[1:]] == [5, 5]  # type: ignore[union-attr]
    assert tries == [0, 1]


async def test_another_request_under_an_id_in_flight_does_not_wait(writer: CommitCoordinator) -> None:
    begun = asyncio.Event()

    async def work(outcome: Outcome | None) -> Written:
        await begun.wait()
        return Written({"memories": []}, 5, True)

    first = asyncio.create_task(writer.once(ME, KEY, work))
    await asyncio.sleep(0.05)
    with pytest.raises(RequestIdReused):
        await writer.once(ME, RequestKey(KEY.rpc, KEY.request_id, "0" * 64), work)
    elsewhere = asyncio.create_task(writer.once(Access("default", principal="somebody"), KEY, work))
    await asyncio.sleep(0.05)
    assert not elsewhere.done()
    begun.set()
    assert (await first).seq == (await elsewhere).seq == 5


async def test_a_call_that_is_cancelled_while_it_commits_is_committed(ledger: Ledger, modify: MemoryMutations) -> None:
    [id] = await stored(ledger, 1)
    committing, go_on = asyncio.Event(), asyncio.Event()

    async def slowly(change: Change) -> None:
        committing.set()
        await go_on.wait()

    ledger.before_commit = slowly
    call = asyncio.create_task(modify.delete(ME, [id], KEY))
    await committing.wait()
    call.cancel()
    with pytest.raises(asyncio.CancelledError):
        await call
    retry = asyncio.create_task(modify.delete(ME, [id], KEY))
    await asyncio.sleep(0.05)
    go_on.set()
    assert (await retry).count == 1
    assert await live(ledger) == 0
    assert len(await ledger.events(ME, EventQuery())) == 2
