"""Reads: pages, the past, events and entities."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.contract.ledger_world import (
    ALICE,
    BOB,
    ELSEWHERE,
    HERE,
    SECOND,
    START,
    FakeClock,
    added,
    deleted,
    happened,
    head,
    live,
    matched,
    memory,
    one,
    repeated,
    restored,
    said,
    updated,
    write,
)

from recalld_server.domain.filters import AllOf, AnyOf, Comparison, Filter, Instant, NoneOf, Operator
from recalld_server.domain.memory import Cause, Kind, Memory, Scope
from recalld_server.domain.revision import Delete, Entity, EventQuery, ListQuery, Match
from recalld_server.ports.ledger import Ledger


def where(field: str, value: str | float | bool | Instant, operator: Operator = Operator.EQ) -> Filter:
    return Comparison(field, operator, value)


RED = where("metadata.colour", "red")


class Pages:
    """`page`."""

    async def test_pages_follow_the_order_both_ways(self, ledger: Ledger) -> None:
        """Equal times are told apart by id, and the pages put together are the whole list."""
        times = (5, 3, 3, 9, 3, 1, 9)
        puts = [added(f"m{n}", create_time=time, update_time=100 - time) for n, time in enumerate(times)]
        await write(ledger, *puts)
        by_time = sorted(range(7), key=lambda n: (times[n], n))
        whole = [f"m{n}" for n in by_time]
        assert await live(ledger) == whole
        assert await live(ledger, descending=True) == whole[::-1]
        backwards = [f"m{n}" for n in sorted(range(7), key=lambda n: (-times[n], n))]
        assert await live(ledger, order="update_time") == backwards
        assert await live(ledger, order="update_time", descending=True) == backwards[::-1]
        for order in ("create_time", "update_time"):
            for descending in (False, True):
                for limit in (1, 2, 3, 7, 8):
                    given: list[Memory] = []
                    after = None
                    more = True
                    while more:
                        page = await ledger.page(
                            HERE, ListQuery(order=order, descending=descending, limit=limit, after=after)
                        )
                        given += page.memories
                        more = page.more
                        assert len(page.memories) == limit or not more
                        after = (getattr(given[-1], order), given[-1].id)
                    assert [m.id for m in given] == await live(ledger, order=order, descending=descending)

    async def test_skip_and_total(self, ledger: Ledger) -> None:
        await write(ledger, *(added(f"m{n}", create_time=n + 1) for n in range(5)), added("bob", scope=BOB))
        assert await live(ledger, scope=ALICE, skip=3) == ["m3", "m4"]
        assert await live(ledger, scope=ALICE, skip=1, limit=2) == ["m1", "m2"]
        page = await ledger.page(HERE, ListQuery(scope=ALICE, skip=4, limit=2, descending=False, count=True))
        assert ([m.id for m in page.memories], page.more, page.total) == (["m4"], False, 5)
        page = await ledger.page(HERE, ListQuery(scope=ALICE, skip=9, count=True))
        assert (list(page.memories), page.more, page.total) == ([], False, 5)
        page = await ledger.page(HERE, ListQuery(after=(3, "m2"), limit=1, descending=False, count=True))
        assert ([m.id for m in page.memories], page.more, page.total) == (["m3"], True, 6)
        assert (await ledger.page(HERE, ListQuery())).total is None

    async def test_scope_and_filter_narrow(self, ledger: Ledger) -> None:
        await write(
            ledger,
            added("1", "Likes red", Scope("alice", "bot"), metadata={"colour": "red"}, create_time=1),
            added("2", "Likes blue", Scope("alice", run_id="r"), metadata={"colour": ["blue", "red"]}, create_time=2),
            added("3", "Likes tea", ALICE, categories=("food",), create_time=3),
            added("4", "Likes red", Scope("bob", "bot"), metadata={"colour": "red"}, create_time=4),
        )
        assert await live(ledger, scope=ALICE) == ["1", "2", "3"]
        assert await live(ledger, scope=Scope("alice", "bot")) == ["1"]
        assert await live(ledger, scope=Scope(agent_id="bot")) == ["1", "4"]
        assert await live(ledger, scope=Scope(app_id="bot")) == []
        assert await live(ledger, filter=RED) == ["1", "2", "4"]
        assert await live(ledger, scope=ALICE, filter=NoneOf(RED)) == ["3"]
        assert await live(ledger, filter=where("categories", "food")) == ["3"]
        either = AnyOf((where("text", "RED", Operator.ICONTAINS), where("id", "3")))
        assert await live(ledger, filter=AllOf((either, where("user_id", "alice")))) == ["1", "3"]
        assert await live(ledger, filter=where("create_time", Instant(2), Operator.GT)) == ["3", "4"]
        page = await ledger.page(HERE, ListQuery(filter=RED, limit=1, count=True))
        assert (page.more, page.total) == (True, 3)

    async def test_the_expired_are_hidden_from_their_moment_on(self, ledger: Ledger, clock: FakeClock) -> None:
        moment = clock.time + SECOND
        await write(ledger, added("m", expire_time=moment), added("n"))
        assert await live(ledger, now=moment - 1, limit=5) == ["m", "n"]
        assert await live(ledger, now=moment) == ["n"]
        page = await ledger.page(HERE, ListQuery(now=moment, count=True))
        assert page.total == 1
        assert "m" in await ledger.memories(HERE, ["m"])  # get still answers

    async def test_the_past_stays_as_it_was(self, ledger: Ledger) -> None:
        first, other = (await write(ledger, added("m", metadata={"colour": "red"}), added("n", scope=BOB))).memories
        second = await one(ledger, updated(first, metadata={"colour": "blue"}, text="blue now"))
        await write(ledger, deleted(other))
        await write(ledger, deleted(second))
        newest = (await ledger.latest(HERE, ["m"])).get("m")
        assert newest is not None
        await one(ledger, restored(newest[0]))
        ids = [set(await live(ledger, as_of=seq)) for seq in range(8)]
        assert ids == [set(), {"m"}, {"m", "n"}, {"m", "n"}, {"m"}, set(), {"m"}, {"m"}]
        red = [await live(ledger, as_of=seq, filter=RED) for seq in range(1, 7)]
        assert red == [["m"], ["m"], [], [], [], []]
        counts = [await ledger.count(HERE, ALICE, RED, seq) for seq in range(7)]
        assert counts == [0, 1, 1, 0, 0, 0, 0]
        assert [await ledger.count(HERE, Scope(), None, seq) for seq in range(7)] == [0, 1, 2, 2, 1, 0, 1]
        page = await ledger.page(HERE, ListQuery(as_of=2, count=True, limit=1, descending=False))
        assert (page.memories[0], page.more, page.total) == (first, True, 2)

    async def test_pages_stay_whole_while_others_write(self, ledger: Ledger) -> None:
        """With cursors, what is there all along is given once, whatever comes and goes beside it."""
        await write(ledger, *(added(f"steady {n}", create_time=10 * n) for n in range(1, 40)))
        done = asyncio.Event()

        async def change() -> None:
            n = 0
            while not done.is_set():
                n += 1
                guest = await one(ledger, added(f"guest {n}", create_time=n * 7 % 400 + 1))
                await write(ledger, deleted(guest))

        changing = asyncio.create_task(change())
        try:
            for descending in (True, False):
                given: list[str] = []
                after, more = None, True
                while more:
                    page = await ledger.page(HERE, ListQuery(limit=3, after=after, descending=descending))
                    given += [m.id for m in page.memories]
                    more = page.more and bool(page.memories)  # what was to follow may have gone
                    if more:
                        after = (page.memories[-1].create_time, page.memories[-1].id)
                steady = [name for name in given if name.startswith("steady")]
                assert len(given) == len(set(given))
                order = range(39, 0, -1) if descending else range(1, 40)
                assert steady == [f"steady {n}" for n in order]
        finally:
            done.set()
            await changing

    async def test_repeats_are_found_by_text_in_exactly_that_scope(self, ledger: Ledger, clock: FakeClock) -> None:
        keys = [memory("m", "Likes tea").text_key, memory("m", "unknown").text_key]
        later = await one(ledger, added("later", "Likes tea", create_time=START + 5))
        oldest = await one(ledger, added("oldest", " Likes tea", create_time=START - 5, expire_time=START + SECOND))
        await write(ledger, added("wider", "Likes tea", Scope("alice", "bot")), added("bob", "Likes tea", BOB))
        await write(ledger, added("m", "Likes tea"), access=ELSEWHERE)
        assert await repeated(ledger, ALICE, keys, START) == {keys[0]: oldest}
        assert await repeated(ledger, ALICE, keys, START + SECOND) == {keys[0]: later}
        assert await repeated(ledger, Scope(agent_id="bot"), keys, START) == {}
        assert await repeated(ledger, ALICE, [], START) == {}
        assert await repeated(ledger, ALICE, keys, START, replace(HERE, pin=BOB)) == {}
        await write(ledger, deleted(later), deleted(oldest))
        assert await repeated(ledger, ALICE, keys, clock.time) == {}

    async def test_repeats_of_many_scopes_are_found_at_once(self, ledger: Ledger) -> None:
        """Each text in its own scope only, however many scopes there are."""
        scopes = [Scope(f"u{n}") for n in range(600)]
        puts = [added(f"m{n}", f"Likes {n % 3}", scope) for n, scope in enumerate(scopes)]
        await write(ledger, *puts)
        key = [memory("m", f"Likes {n}").text_key for n in range(3)]
        asked = [(scope.key(), key[0]) for scope in scopes]
        found = await ledger.repeats(HERE, asked, START)
        assert {at: kept.id for at, kept in found.items()} == {
            (scope.key(), key[0]): f"m{n}" for n, scope in enumerate(scopes) if n % 3 == 0
        }

    async def test_a_scope_is_known_as_long_as_its_history_is_kept(self, ledger: Ledger) -> None:
        first = await one(ledger, added("1", scope=Scope("ann", "bot")))
        await write(ledger, added("2", scope=Scope("bob")))
        assert await ledger.known(HERE, Scope("ann"))
        await write(ledger, deleted(first))
        assert [await ledger.known(HERE, Scope(*ids)) for ids in (("ann",), ("", "bot"), ("ann", "bot"))] == [True] * 3
        assert not await ledger.known(HERE, Scope("ann", "other"))
        assert not await ledger.known(HERE, Scope("Ann"))
        assert not await ledger.known(ELSEWHERE, Scope("ann"))
        assert not await ledger.known(replace(HERE, pin=Scope("bob")), Scope(agent_id="bot"))


class Matching:
    """`matching`: what matched at a moment and still lives."""

    async def test_what_matched_then_at_its_revision_now(self, ledger: Ledger) -> None:
        puts = [added(name, metadata={"colour": "red"}) for name in ("changed", "deleted", "same")]
        changed, gone, _ = (await write(ledger, *puts, added("blue"), added("bob", scope=BOB))).memories[:3]
        then = await head(ledger)
        await write(ledger, updated(changed, metadata={"colour": "blue"}), deleted(gone))
        await write(ledger, added("new", metadata={"colour": "red"}))
        assert await matched(ledger, then, RED) == [("changed", 2), ("same", 1)]
        assert await matched(ledger, then, RED, limit=1) == [("changed", 2), ("same", 1)]
        assert await matched(ledger, then) == [("blue", 1), ("changed", 2), ("same", 1)]
        assert await matched(ledger, await head(ledger), RED) == [("same", 1), ("new", 1)]
        assert await matched(ledger, 0, RED) == []
        assert await matched(ledger, then, RED, ELSEWHERE) == []

    async def test_pages_go_on_where_the_last_one_ended(self, ledger: Ledger) -> None:
        times = {"late": 9, "a": 5, "b": 5, "c": 5, "early": 1}
        await write(ledger, *(added(name, create_time=time) for name, time in times.items()))
        found = await ledger.matching(HERE, ALICE, None, await head(ledger), (5, "a"), 2)
        assert found == [Match("b", 1, 5), Match("c", 1, 5)]
        expected = [(name, 1) for name in ("early", "a", "b", "c", "late")]
        for limit in range(1, 7):
            assert await matched(ledger, await head(ledger), limit=limit) == expected

    async def test_what_came_back_since_is_not_among_them(self, ledger: Ledger) -> None:
        first, second, third = (await write(ledger, added("restored"), added("begun again"), added("early"))).memories
        await write(ledger, deleted(third))
        newest = (await ledger.latest(HERE, ["early"])).get("early")
        assert newest is not None
        early = await one(ledger, restored(newest[0]))
        then = await head(ledger)
        await write(ledger, deleted(first), deleted(second))
        back = await one(ledger, restored(replace(first, revision=2)))
        again = await one(ledger, added("begun again", revision=2))
        assert await matched(ledger, then) == [("early", early.revision)]
        for live_again in (back, again):
            await write(ledger, updated(live_again, metadata={"k": 1}))
        assert await matched(ledger, then) == [("early", early.revision)]
        assert await ledger.count(HERE, ALICE, None, then) == 3
        assert len(await matched(ledger, await head(ledger))) == 3


class Events:
    """`events`."""

    async def test_an_event_shows_before_and_after(self, ledger: Ledger, clock: FakeClock) -> None:
        first = await one(ledger, added("m", add_id="add", source_positions=(0,)), conversations=[said("told")])
        second = await one(ledger, updated(first, metadata={"k": 1}))
        await write(ledger, Delete("m", 2, Cause.EXPIRED))
        newest = (await ledger.latest(HERE, ["m"])).get("m")
        assert newest is not None
        third = await one(ledger, restored(newest[0]), replace(HERE, principal="another"))
        events = await happened(ledger)
        assert [(e.seq, e.kind, e.cause, e.before, e.after) for e in events] == [
            (1, Kind.ADDED, Cause.NONE, None, first),
            (2, Kind.UPDATED, Cause.NONE, first, second),
            (3, Kind.DELETED, Cause.EXPIRED, second, None),
            (4, Kind.RESTORED, Cause.NONE, None, third),
        ]
        assert [(e.memory_id, e.principal, e.time) for e in events] == [
            ("m", "another" if n == 3 else "key", clock.time + n) for n in range(4)
        ]
        assert first.sources[0].content == "told"

    async def test_pages_of_events(self, ledger: Ledger) -> None:
        for n in range(5):
            await write(ledger, added(f"a{n}"), added(f"b{n}", scope=BOB))
        seqs: list[int] = []
        while page := await ledger.events(HERE, EventQuery(after=seqs[-1] if seqs else 0, limit=3)):
            seqs += [event.seq for event in page]
        assert seqs == list(range(1, 11))
        assert [e.seq for e in await happened(ledger, after=7)] == [8, 9, 10]
        assert [e.memory_id for e in await happened(ledger, scope=BOB, limit=2)] == ["b0", "b1"]
        assert [e.seq for e in await happened(ledger, memory_id="b3")] == [8]
        assert await happened(ledger, memory_id="b3", scope=ALICE) == []
        assert await happened(ledger, after=10) == []

    async def test_a_filter_holds_before_or_after(self, ledger: Ledger) -> None:
        first = await one(ledger, added("m", metadata={"colour": "blue"}))
        second = await one(ledger, updated(first, metadata={"colour": "red"}))
        third = await one(ledger, updated(second, metadata={"colour": "red"}, categories=("x",)))
        fourth = await one(ledger, updated(third, metadata={}))
        fifth = await one(ledger, updated(fourth, metadata={"colour": "red"}))
        await write(ledger, deleted(fifth))
        newest = (await ledger.latest(HERE, ["m"])).get("m")
        assert newest is not None
        await one(ledger, restored(newest[0], as_it_was=first))
        await write(ledger, added("never", metadata={"colour": "green"}))

        async def seqs(condition: Filter) -> list[int]:
            return [event.seq for event in await happened(ledger, filter=condition)]

        assert await seqs(RED) == [2, 3, 4, 5, 6]
        assert await seqs(where("metadata.colour", "blue")) == [1, 2, 7]
        assert await seqs(where("metadata.colour", value=False, operator=Operator.EXISTS)) == [4, 5]
        assert await seqs(NoneOf(RED)) == [1, 2, 4, 5, 7, 8]
        assert await seqs(where("categories", "x")) == [3, 4, 5, 6]
        assert await seqs(AllOf((where("categories", "x"), RED))) == [3, 4, 5, 6]
        assert await seqs(where("text", "text of m")) == [1, 2, 3, 4, 5, 6, 7]


class Entities:
    """`entities` and `count_entities`."""

    ALL = ("user_id", "agent_id", "app_id", "run_id")

    async def test_entities_have_live_memories(self, ledger: Ledger) -> None:
        a, b, *_ = (
            await write(
                ledger,
                added("1", scope=Scope("alice", "bot"), create_time=10, update_time=10),
                added("2", scope=Scope("alice", run_id="r1"), create_time=5, update_time=50),
                added("3", scope=Scope("bob", "bot"), create_time=7, update_time=20),
                added("4", scope=Scope("Alice"), create_time=1, update_time=1),
            )
        ).memories
        expected = [
            Entity("agent_id", "bot", 2, 7, 20),
            Entity("run_id", "r1", 1, 5, 50),
            Entity("user_id", "Alice", 1, 1, 1),
            Entity("user_id", "alice", 2, 5, 50),
            Entity("user_id", "bob", 1, 7, 20),
        ]
        assert await ledger.entities(HERE, self.ALL, None, 10) == expected
        assert await ledger.count_entities(HERE, self.ALL) == 5
        given: list[Entity] = []
        while page := await ledger.entities(HERE, self.ALL, (given[-1].type, given[-1].id) if given else None, 2):
            given += page
        assert given == expected
        assert [e.id for e in await ledger.entities(HERE, ["user_id"], None, 10)] == ["Alice", "alice", "bob"]
        assert await ledger.count_entities(HERE, ["run_id", "app_id"]) == 1
        await write(ledger, deleted(a), updated(b, metadata={"k": 1}))
        alice = (await ledger.entities(HERE, ["user_id"], ("user_id", "Alice"), 1))[0]
        assert (alice.count, alice.first_seen, alice.last_seen > 50) == (1, 5, True)
        await write(ledger, Delete("2", 2))
        assert [e.id for e in await ledger.entities(HERE, self.ALL, None, 10)] == ["bot", "Alice", "bob"]
        assert await ledger.entities(ELSEWHERE, self.ALL, None, 10) == []
        assert await ledger.count_entities(ELSEWHERE, self.ALL) == 0

    @pytest.mark.parametrize("names", [("a", "B", "Z", "_", "a-b", "ab", "z", "é", "茶", "🍵")])
    async def test_names_are_ordered_by_code_point(self, ledger: Ledger, names: tuple[str, ...]) -> None:
        await write(ledger, *(added(name, scope=Scope(name), create_time=9) for name in names))
        assert [e.id for e in await ledger.entities(HERE, ["user_id"], None, 20)] == sorted(names)
        assert await live(ledger) == sorted(names)
