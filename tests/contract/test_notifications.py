"""Instance locks and commit notifications between servers on a ledger in PostgreSQL."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager

import pytest
from tests.contract.ledger_world import GENERATION, HERE, FakeClock, added, write
from tests.postgres import PostgresServer

from recalld_server.adapters.ledger.ledger import SqlLedger
from recalld_server.adapters.ledger.store import open_postgres
from recalld_server.adapters.sql.notifications import CommitBus, LedgerTaken
from recalld_server.adapters.sql.postgres import PostgresEngine
from recalld_server.domain.errors import LedgerUnavailable
from recalld_server.usecases import watch as watching
from recalld_server.usecases.commit_notifications import CommitNotifications
from recalld_server.usecases.queries import Queries
from recalld_server.usecases.watch import Watch, WatchQuery

pytestmark = pytest.mark.needs_postgres
WITHIN = 10.0  # seconds
LINES = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    " AND (query LIKE 'LISTEN%%' OR query LIKE '%%pg_notify%%')"
)


class Server:
    """What one hears."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        self.missed = 0
        self.word = asyncio.Event()

    def hear(self, project: str) -> None:
        self.heard.append(project)
        self.word.set()

    def miss(self) -> None:
        self.missed += 1
        self.word.set()

    async def told(self) -> None:
        await asyncio.wait_for(self.word.wait(), WITHIN)
        self.word.clear()


@asynccontextmanager
async def placed(
    engine: PostgresEngine, server: Server | None = None, *, alone: bool = False
) -> AsyncIterator[CommitBus]:
    courier, server = CommitBus(engine.address, alone=alone), server or Server()
    await courier.start(server.hear, server.miss)
    try:
        yield courier
    finally:
        await courier.close()


async def test_the_others_hear_and_the_one_who_speaks_does_not(engine: PostgresEngine) -> None:
    one, two, three = Server(), Server(), Server()
    async with placed(engine, one) as first, placed(engine, two) as second, placed(engine, three):
        first.announce("default")
        await two.told()
        await three.told()
        second.announce("other")
        await one.told()
        await three.told()
    assert (one.heard, two.heard, three.heard) == (["other"], ["default"], ["default", "other"])


async def test_much_talk_is_few_words(engine: PostgresEngine) -> None:
    one, two = Server(), Server()
    async with placed(engine, one) as courier, placed(engine, two):
        for number in range(1000):
            courier.announce(f"project{number % 3}")
            if number % 250 == 249:
                await asyncio.sleep(0)
        courier.announce("last")
        while "last" not in two.heard:
            await two.told()
    assert set(two.heard) == {"project0", "project1", "project2", "last"}
    assert len(two.heard) <= 16


async def test_who_is_cut_off_comes_back_and_looks_at_everything(
    engine: PostgresEngine, postgres: PostgresServer
) -> None:
    one, two = Server(), Server()
    async with placed(engine, one) as courier, placed(engine, two):
        courier.announce("before")
        await two.told()
        found = await engine.read(lambda c: c.exec_driver_sql(LINES).all())
        assert len(found) == 3
        for (pid,) in found:
            postgres.run(f"SELECT pg_terminate_backend({pid})")
        while not (one.missed and two.missed):
            await asyncio.wait([asyncio.ensure_future(s.told()) for s in (one, two) if not s.missed])
        courier.announce("lost")  # finds that its own line is gone
        await asyncio.sleep(0.1)
        courier.announce("after")
        while "after" not in two.heard:
            await two.told()


@pytest.mark.parametrize(
    ("first", "second", "room"), [(False, False, True), (True, False, False), (False, True, False)]
)
async def test_who_is_alone_shares_with_nobody(engine: PostgresEngine, first: bool, second: bool, room: bool) -> None:
    async with placed(engine, alone=first):
        if room:
            async with placed(engine, alone=second):
                pass
        else:
            with pytest.raises(LedgerTaken, match="only server"):
                async with placed(engine, alone=second):
                    pass
    async with placed(engine, alone=second):  # the place is free again
        pass


async def test_ledgers_in_one_database_are_apart(engine: PostgresEngine) -> None:
    await engine.write(lambda c: c.exec_driver_sql("CREATE SCHEMA second"))
    elsewhere = CommitBus({**engine.address, "options": "-c search_path=second"}, alone=True)
    async with placed(engine, alone=True):
        await elsewhere.start(print, lambda: None)
        await elsewhere.close()


async def test_where_nobody_answers(engine: PostgresEngine) -> None:
    courier = CommitBus({**engine.address, "port": 1}, alone=False)
    with pytest.raises(LedgerUnavailable):
        await courier.start(print, lambda: None)
    await courier.close()


async def test_a_watch_hears_of_a_commit_at_another_server(
    engine: PostgresEngine, postgres_url: str, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "LOOK", 3600.0)
    here, there = SqlLedger(engine, clock), SqlLedger(await open_postgres(postgres_url), clock)
    await here.ensure_project("default", GENERATION)
    committed = CommitNotifications()
    hearing = CommitBus(engine.address, alone=False)
    await hearing.start(committed.wake, committed.wake_all)

    watch = Watch(here, Queries(here, clock), committed, clock, checkpoint=3600.0)
    async with placed(engine) as speaking, aclosing(watch.run(HERE, WatchQuery())) as sights:
        announce: Callable[[str], None] = CommitNotifications(speaking.announce).notify
        assert (await anext(sights)).event is None
        waiting = asyncio.ensure_future(anext(sights))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await write(there, added("m"))
        announce("default")
        sight = await asyncio.wait_for(waiting, WITHIN)
        assert sight.event is not None
        assert sight.event.memory_id == "m"
    await hearing.close()
    await there.close()
