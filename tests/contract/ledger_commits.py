"""What a commit writes: sequence numbers, times and revisions."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
from tests.contract.ledger_world import (
    ALICE,
    DAY,
    ELSEWHERE,
    GENERATION,
    HERE,
    SECOND,
    START,
    FakeClock,
    added,
    asked,
    deleted,
    features,
    happened,
    head,
    live,
    memory,
    one,
    restored,
    said,
    updated,
    write,
)

from recalld_server.domain.errors import (
    DuplicateText,
    ProjectNotFound,
    RecalldError,
    RevisionConflict,
)
from recalld_server.domain.memory import Access, Cause, Kind, Scope
from recalld_server.domain.revision import Change, Commit, Delete, Put
from recalld_server.ports.ledger import Ledger


class Commits:
    """`commit` when nothing stands in its way."""

    async def test_a_fresh_project_is_at_zero(self, ledger: Ledger) -> None:
        stand = await ledger.positions(HERE)
        assert (stand.head, stand.applied, stand.oldest) == (0, 0, 0)
        assert await ledger.generation("default") == GENERATION
        assert list(await ledger.projects()) == ["default", "other"]
        assert await live(ledger) == []
        assert await happened(ledger) == []

    async def test_an_unknown_project_is_named(self, ledger: Ledger) -> None:
        nowhere = Access("nowhere")
        for call in (
            ledger.commit(nowhere, Change(puts=[added("m")])),
            ledger.generation("nowhere"),
            ledger.positions(nowhere),
            ledger.search_state(nowhere, ALICE),
        ):
            with pytest.raises(ProjectNotFound):
                await call
        assert list(await ledger.projects()) == ["default", "other"]

    async def test_what_is_returned_is_what_is_stored(self, ledger: Ledger, clock: FakeClock) -> None:
        clock.time += DAY
        full = memory(
            "full",
            'Likes "tea" – 茶 🍵',
            Scope("alice", "bot", "app", "run"),
            metadata={"n": 1, "f": 1.0, "list": ["a", None, {"k": True}], "": "ключ"},
            categories=("food", "café"),
            expire_time=clock.time + SECOND,
            event_time=START - DAY,
            speaker="Alice",
            named=True,
            source_positions=(0, 1),
            position=1,
            ordinal=2,
            said_time=START - SECOND,
            immutable=True,
            feedback="POSITIVE",
            feedback_reason="right",
        )
        put = replace(added("full"), memory=full)
        told = said("one", "two", add_id=full.add_id)
        commit = await write(ledger, put, added("plain"), conversations=[told])
        stored, plain = commit.memories
        assert stored == replace(
            full,
            revision=1,
            text_revision=1,
            create_time=clock.time,
            update_time=clock.time,
            sources=(told.messages[0], replace(told.messages[1], position=1)),
        )
        assert type(stored.metadata["n"]) is int
        assert (commit.seq, list(commit.touched)) == (2, ["full", "plain"])
        assert await ledger.memories(HERE, ["plain", "full", "other"]) == {"full": stored, "plain": plain}
        assert (await ledger.latest(HERE, ["full"])).get("full") == (stored, True)
        assert await ledger.revisions(HERE, [("full", 1), ("full", 2), ("plain", 0)]) == {("full", 1): stored}

    async def test_claimed_times_and_revisions_are_kept_at_first(self, ledger: Ledger, clock: FakeClock) -> None:
        claimed = await one(ledger, added("old", create_time=5, update_time=6, revision=4))
        assert (claimed.create_time, claimed.update_time, claimed.revision, claimed.text_revision) == (5, 6, 5, 5)
        assert (await ledger.memories(HERE, ["old"]))["old"] == claimed
        later = await one(ledger, updated(claimed, metadata={"k": 1}))
        assert (later.create_time, later.update_time, later.revision) == (5, clock.time + 1, 6)
        assert (await happened(ledger))[0].before is None

    async def test_an_update_is_the_next_revision(self, ledger: Ledger, clock: FakeClock) -> None:
        first = await one(ledger, added("m", metadata={"a": 1}, categories=("x",)))
        clock.time += SECOND
        second = await one(ledger, updated(first, metadata={"b": 2}))
        third = await one(ledger, updated(second, text="another text"))
        assert second == replace(first, metadata={"b": 2}, revision=2, update_time=clock.time)
        assert (second.text_revision, third.text_revision) == (1, 3)
        assert third.update_time > second.update_time
        assert third.create_time == first.create_time
        assert await ledger.memories(HERE, ["m"]) == {"m": third}
        named = await ledger.revisions(HERE, [("m", r) for r in (1, 2, 3)])
        assert named == {("m", 1): first, ("m", 2): second, ("m", 3): third}
        assert [(await ledger.memories(HERE, ["m"], seq)).get("m") for seq in range(5)] == [
            None,
            first,
            second,
            third,
            third,
        ]

    async def test_a_delete_ends_and_a_restore_begins_again(self, ledger: Ledger) -> None:
        first = await one(ledger, added("m"))
        gone = await write(ledger, Delete("m", 1, Cause.INSTRUCTION))
        assert (list(gone.memories), list(gone.touched), gone.seq) == ([], ["m"], 2)
        assert await ledger.memories(HERE, ["m"]) == {}
        newest = (await ledger.latest(HERE, ["m"])).get("m")
        assert newest == (replace(first, revision=2), False)
        back = await one(ledger, restored(newest[0]))
        assert back == replace(first, revision=3, update_time=back.update_time)
        assert back.update_time > first.update_time
        assert (await ledger.latest(HERE, ["m"])).get("m") == (back, True)
        was = [(await ledger.memories(HERE, ["m"], seq)).get("m") for seq in range(1, 4)]
        assert was == [first, None, back]

    async def test_an_earlier_revision_comes_back_with_its_features(self, ledger: Ledger) -> None:
        first = await one(ledger, added("m", "before", features=features(1, 2)))
        second = await one(ledger, updated(first, text="after", features=features(3)))
        back = await one(ledger, restored(second, live=True, as_it_was=first))
        assert (back.text, back.revision, back.text_revision) == ("before", 3, 1)
        made = await ledger.features(HERE, ["m"], GENERATION)
        assert made["m"].terms.tolist() == [1, 2]

    async def test_a_change_of_many_takes_one_number_each(self, ledger: Ledger) -> None:
        a, b, c = (await write(ledger, added("a"), added("b"), added("c"))).memories
        commit = await write(ledger, updated(c, metadata={"k": 1}), added("d"), deleted(a), deleted(b))
        assert (commit.seq, list(commit.touched)) == (7, ["c", "d", "a", "b"])
        assert [(e.seq, e.memory_id, e.kind) for e in await happened(ledger, after=3)] == [
            (4, "c", Kind.UPDATED),
            (5, "d", Kind.ADDED),
            (6, "a", Kind.DELETED),
            (7, "b", Kind.DELETED),
        ]
        assert set(await live(ledger)) == {"c", "d"}

    async def test_a_change_of_nothing_takes_no_number(self, ledger: Ledger) -> None:
        await write(ledger, added("m"))
        commit = await write(ledger, request=asked(), answer={"said": "nothing new"})
        assert (commit.seq, list(commit.touched)) == (1, [])
        stored = await ledger.outcome(HERE, "Add", "r")
        assert stored is not None
        assert (stored.answer, stored.seq) == ({"said": "nothing new"}, 1)

    async def test_projects_count_for_themselves(self, ledger: Ledger) -> None:
        assert (await write(ledger, added("m"), added("n"))).seq == 2
        assert (await write(ledger, added("m", "another"), access=ELSEWHERE)).seq == 1
        assert (await ledger.memories(HERE, ["m"]))["m"].text == "text of m"
        assert (await ledger.memories(ELSEWHERE, ["m", "n"]))["m"].text == "another"
        assert await live(ledger, ELSEWHERE) == ["m"]


class Order:
    """Sequence numbers and times."""

    async def test_times_rise_whatever_the_clock_does(self, ledger: Ledger, clock: FakeClock) -> None:
        for step in (0, 0, 0, -DAY, 0, 2 * DAY, 0, -SECOND):
            clock.time += step
            await write(ledger, added(f"m{await head(ledger)}"))
        times = [event.time for event in await happened(ledger)]
        assert all(early < late for early, late in pairwise(times))
        assert times == [START + n for n in range(5)] + [START + DAY + n for n in range(3)]
        assert [m.create_time for m in (await ledger.memories(HERE, ["m0", "m4", "m5"])).values()] == [
            times[0],
            times[4],
            times[5],
        ]

    async def test_the_last_number_at_a_time(self, ledger: Ledger, clock: FakeClock) -> None:
        assert await ledger.sequence_at(HERE, START + DAY) == 0
        for step in range(3):
            clock.time = START + step * SECOND
            await write(ledger, added(f"a{step}"), added(f"b{step}"))
        at = {START - 1: 0, START: 2, START + SECOND - 1: 2, START + SECOND: 4, START + 2 * SECOND: 6, START + DAY: 6}
        assert {time: await ledger.sequence_at(HERE, time) for time in at} == at
        assert await ledger.sequence_at(ELSEWHERE, START + DAY) == 0

    async def test_the_time_of_a_number(self, ledger: Ledger, clock: FakeClock) -> None:
        for step in range(3):
            clock.time = START + step * SECOND
            await write(ledger, added(f"a{step}"), added(f"b{step}"))
        times = [await ledger.time_of(HERE, seq) for seq in range(8)]
        assert times == [0, *(START + step * SECOND for step in (0, 0, 1, 1, 2, 2)), 0]
        assert [await ledger.sequence_at(HERE, time) for time in times[1:7]] == [2, 2, 4, 4, 6, 6]
        assert await ledger.time_of(ELSEWHERE, 1) == 0

    async def test_changes_at_once_stand_in_one_order(self, ledger: Ledger) -> None:
        """Two hundred changes of different sizes, some of which can't be."""
        await write(ledger, added("live", "taken"))

        async def change(n: int) -> Commit | RecalldError:
            names = [f"{n}-{part}" for part in range(n % 3 + 1)]
            puts = [added(name) for name in names]
            wrong: dict[int, list[Put | Delete]] = {
                3: [Delete("live", 7)],
                5: [updated(memory("live", revision=9))],
                7: [added("live", "again")],
                8: [added(f"{n}-twin", "taken", unique=True)],
            }
            try:
                return await write(ledger, *puts, *wrong.get(n % 10, []), request=asked(f"request {n}"))
            except (RevisionConflict, DuplicateText) as error:
                return error

        answers = await asyncio.gather(*(change(n) for n in range(200)))
        failed = {n for n, answer in enumerate(answers) if isinstance(answer, RecalldError)}
        assert failed == {n for n in range(200) if n % 10 in (3, 5, 7, 8)}
        stored = {n: answer for n, answer in enumerate(answers) if isinstance(answer, Commit)}
        events = await happened(ledger, after=1)
        assert [event.seq for event in events] == list(range(2, 2 + len(events)))
        assert len(events) == sum(n % 3 + 1 for n in stored)
        for n, commit in stored.items():
            own = [event for event in events if event.request_id == f"request {n}"]
            assert [event.memory_id for event in own] == list(commit.touched) == [f"{n}-{p}" for p in range(n % 3 + 1)]
            assert [event.seq for event in own] == list(range(commit.seq - n % 3, commit.seq + 1))
            assert {event.time for event in own} == {commit.memories[0].create_time}
        assert await head(ledger) == 1 + len(events)
        assert {n for n in range(200) if await ledger.outcome(HERE, "Add", f"request {n}") is None} == failed
        assert len(await live(ledger)) == 1 + len(events)

    async def test_reads_see_whole_changes(self, ledger: Ledger) -> None:
        """While pairs change together, nobody ever reads them apart."""
        a, b = (await write(ledger, added("a", metadata={"n": 0}), added("b", metadata={"n": 0}))).memories
        done = asyncio.Event()

        async def change() -> None:
            nonlocal a, b
            for n in range(1, 40):
                changes = [updated(a, metadata={"n": n}), updated(b, metadata={"n": n})]
                a, b = (await write(ledger, *changes)).memories
            done.set()

        async def watch() -> int:
            looks = 0
            while not done.is_set():
                found = await ledger.memories(HERE, ["a", "b"])
                assert found["a"].metadata == found["b"].metadata
                looks += 1
            return looks

        _, *looks = await asyncio.gather(change(), watch(), watch())
        assert min(looks) > 0
        assert (await ledger.memories(HERE, ["a"]))["a"].metadata == {"n": 39}
