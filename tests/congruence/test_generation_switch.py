"""Watch, the janitor and the trimming of history, with a controlled clock."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select, update
from tests.congruence.small_world import DAY, SECOND, OwnClock, opened

from recalld_server.adapters.ledger.schema import tables as t
from recalld_server.domain.commands import AddCommand
from recalld_server.domain.errors import HistoryTrimmed, MemoryNotFound
from recalld_server.domain.memory import Access, Cause, Kind, Message, Scope
from recalld_server.domain.revision import EventQuery, ListQuery, RequestKey
from recalld_server.usecases.memories import Update
from recalld_server.usecases.queries import AsOf
from recalld_server.usecases.watch import Position, Watch, WatchMessage, WatchQuery
from recalld_server.wiring.parts import Recalld

HERE = Access("default", principal="key")
ANN = Scope(user_id="ann")


@pytest.fixture
def clock() -> OwnClock:
    return OwnClock()


@pytest.fixture
async def recalld(tmp_path: Path, clock: OwnClock) -> AsyncIterator[Recalld]:
    running = await opened(tmp_path, clock)
    yield running
    await running.close()


async def keep(recalld: Recalld, *texts: str, **fields: Any) -> list[str]:
    said = [Message("user", text) for text in texts]
    added = await recalld.add.add(HERE, AddCommand(ANN, said, infer=False, **fields))
    return [result.memory.id for result in added.results]


def watch(recalld: Recalld, query: WatchQuery, every: float = 60.0) -> AsyncGenerator[WatchMessage, None]:
    made = Watch(recalld.ledger, recalld.queries, recalld.commits.committed, OwnClock(), every)
    return made.run(HERE, query)


async def soon(sights: AsyncGenerator[WatchMessage, None]) -> WatchMessage:
    return await asyncio.wait_for(anext(sights), 5)


async def retain(recalld: Recalld, days: int) -> None:
    settings = json.dumps({"history_retention": days * DAY})
    await recalld.ledger._engine.write(lambda c: c.execute(update(t.projects).values(settings=settings)))


async def rows(recalld: Recalld, table: Any) -> int:
    return await recalld.ledger._engine.read(lambda c: c.execute(select(func.count()).select_from(table)).scalar_one())


async def test_checkpoints_come_without_changes(recalld: Recalld) -> None:
    async with aclosing(watch(recalld, WatchQuery(), every=0.05)) as sights:
        for _ in range(3):
            sight = await soon(sights)
            assert (sight.event, sight.position.seq) == (None, 0)


async def test_checkpoints_come_between_changes_too(recalld: Recalld) -> None:
    await keep(recalld, *(f"Owns hat {n}" for n in range(5)))
    async with aclosing(watch(recalld, WatchQuery(beginning=True), every=0.0)) as sights:
        kinds = [(await soon(sights)).event is None for _ in range(11)]
    assert kinds == [True] + [False, True] * 5


async def test_a_checkpoint_passes_what_does_not_match(recalld: Recalld) -> None:
    async with aclosing(watch(recalld, WatchQuery(scope=Scope(user_id="bob")), every=0.05)) as sights:
        await soon(sights)
        await keep(recalld, "one", "two", "three")
        while not (sight := await soon(sights)).position.seq:
            assert sight.event is None
    assert (sight.event, sight.position.seq) == (None, 3)


async def test_what_another_server_commits_is_seen_without_a_signal(recalld: Recalld) -> None:
    async with aclosing(watch(recalld, WatchQuery())) as sights:
        await soon(sights)
        pending = asyncio.ensure_future(soon(sights))
        await asyncio.sleep(0.05)
        recalld.commits.committed.notify = lambda project: None  # type: ignore[method-assign]
        await keep(recalld, "Likes tea")
        assert (await pending).event is not None


async def test_the_expired_are_deleted_and_say_why(recalld: Recalld, clock: OwnClock) -> None:
    [gone, stays] = [*await keep(recalld, "a", expire_time=clock.time + 30 * SECOND), *await keep(recalld, "b")]
    await recalld.retention.round()
    assert len(await recalld.ledger.events(HERE, EventQuery())) == 2
    clock.time += 30 * SECOND
    await recalld.retention.round()
    last = (await recalld.ledger.events(HERE, EventQuery()))[-1]
    assert (last.memory_id, last.kind, last.cause, last.principal) == (gone, Kind.DELETED, Cause.EXPIRED, "")
    with pytest.raises(MemoryNotFound):
        await recalld.queries.get(HERE, gone)
    assert (await recalld.queries.get(HERE, stays)).text == "b"
    back = (await recalld.memories.restore(HERE, gone, None, None)).memories[0]
    assert back.expire_time is None
    await recalld.retention.round()
    assert (await recalld.queries.get(HERE, gone)).text == "a"


async def test_more_than_a_batch_expires_at_once(recalld: Recalld, clock: OwnClock) -> None:
    for start in range(0, 2500, 500):
        await keep(recalld, *(f"n{n}" for n in range(start, start + 500)), expire_time=clock.time + 60 * SECOND)
    clock.time += 120 * SECOND
    await recalld.retention.round()
    assert await recalld.ledger.count(HERE, ANN, None, await recalld.queries.head(HERE)) == 0


async def test_answers_are_kept_for_a_day(recalld: Recalld, clock: OwnClock) -> None:
    await keep(recalld, "Likes tea", request=RequestKey("Add", "r", "f"))
    clock.time += DAY - SECOND
    await recalld.retention.round()
    assert await recalld.ledger.outcome(HERE, "Add", "r") is not None
    clock.time += 2 * SECOND
    await recalld.retention.round()
    assert await rows(recalld, t.outcomes) == 0


async def test_history_goes_after_its_time_and_what_is_current_stays(recalld: Recalld, clock: OwnClock) -> None:
    await retain(recalld, 10)
    [changed, deleted] = await keep(recalld, "Likes tea", "Likes rain")
    await recalld.memories.update(HERE, [Update(changed, {"text": "Likes coffee"})], None)
    await recalld.memories.delete(HERE, [deleted], None)
    late = WatchQuery(after=Position(1, 0))
    follower = watch(recalld, WatchQuery(after=Position(1, 0)))
    assert (await soon(follower)).position.seq == 1
    clock.time += 9 * DAY
    await recalld.retention.round()
    assert len(await recalld.ledger.events(HERE, EventQuery())) == 4
    clock.time += 2 * DAY
    await recalld.retention.round()
    stand = await recalld.ledger.positions(HERE)
    assert (stand.head, stand.oldest) == (4, 4)
    kept = await recalld.ledger.events(HERE, EventQuery())
    assert [(event.memory_id, event.kind, event.before) for event in kept] == [(changed, Kind.UPDATED, None)]
    assert [await rows(recalld, table) for table in (t.revisions, t.features)] == [1, 1]
    assert (await recalld.queries.get(HERE, changed)).sources[0].content == "Likes tea"
    for asking in (
        recalld.queries.list(HERE, ListQuery(), AsOf(seq=3)),
        recalld.queries.events(HERE, EventQuery(after=2)),
        recalld.memories.restore(HERE, changed, 1, None),
        soon(follower),
        anext(watch(recalld, WatchQuery(as_of=AsOf(seq=3)))),
    ):
        with pytest.raises(HistoryTrimmed) as caught:
            await asking
        assert caught.value.metadata == {"oldest_sequence": "4"}
    async with aclosing(watch(recalld, late)) as sights:
        await soon(sights)
        with pytest.raises(HistoryTrimmed):
            await soon(sights)
    with pytest.raises(MemoryNotFound):
        await recalld.memories.restore(HERE, deleted, None, None)
    async with aclosing(watch(recalld, WatchQuery(beginning=True))) as sights:
        await soon(sights)
        assert (await soon(sights)).event == kept[0]
    assert [m.id for m in (await recalld.queries.list(HERE, ListQuery(), AsOf(seq=4))).memories] == [changed]


async def test_without_the_setting_history_stays(recalld: Recalld, clock: OwnClock) -> None:
    [id] = await keep(recalld, "Likes tea")
    await recalld.memories.delete(HERE, [id], None)
    clock.time += 3650 * DAY
    await recalld.retention.round()
    assert len(await recalld.ledger.events(HERE, EventQuery())) == 2
