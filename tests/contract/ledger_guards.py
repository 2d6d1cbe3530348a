"""Commits that are refused write nothing."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.ledger_world import (
    ALICE,
    BOB,
    ELSEWHERE,
    GENERATION,
    HERE,
    SECOND,
    START,
    FakeClock,
    added,
    asked,
    deleted,
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
    MemoryNotFound,
    OutcomeTaken,
    RevisionConflict,
)
from recalld_server.domain.memory import Scope
from recalld_server.domain.revision import Commit, Delete
from recalld_server.ports.ledger import Ledger


class Guards:
    """What a commit refuses, and that it then wrote nothing."""

    async def test_the_revision_must_be_the_expected_one(self, ledger: Ledger) -> None:
        first = await one(ledger, added("m"))
        second = await one(ledger, updated(first, metadata={"k": 1}))
        gone = await one(ledger, added("gone"))
        await write(ledger, deleted(gone))
        unknown = memory("unknown", revision=1)
        for change in (
            updated(first),
            updated(replace(second, revision=3)),
            updated(gone),
            updated(unknown),
            deleted(first),
            deleted(gone),
            deleted(unknown),
            Delete("m", 0),
            restored(first, live=True),
        ):
            with pytest.raises(RevisionConflict) as caught:
                await write(ledger, added("innocent"), change)
            assert len(caught.value.memory_ids) == 1
        assert await head(ledger) == 4
        assert await ledger.memories(HERE, ["m", "gone", "innocent"]) == {"m": second}

    async def test_a_memory_that_lives_is_not_begun_again(self, ledger: Ledger) -> None:
        first = await one(ledger, added("m"))
        for change in (added("m"), added("m", revision=1), added("m", revision=7), restored(first)):
            with pytest.raises(RevisionConflict) as caught:
                await write(ledger, change)
            assert caught.value.memory_ids == ("m",)
        assert await ledger.memories(HERE, ["m"]) == {"m": first}

    async def test_a_memory_that_was_there_goes_on_where_it_ended(self, ledger: Ledger) -> None:
        await write(ledger, deleted(await one(ledger, added("m"))))
        for change in (
            added("m"),
            added("m", revision=1),
            added("m", revision=3),
            added("m", revision=2, scope=BOB),
            added("m", revision=7, scope=BOB),
        ):
            with pytest.raises(RevisionConflict):
                await write(ledger, change)
        assert (await ledger.latest(HERE, ["m"])).get("m") == (
            memory("m", **_times(START), revision=2, text_revision=1),
            False,
        )
        assert (await one(ledger, added("m", revision=2))).revision == 3

    async def test_a_change_touches_a_memory_once(self, ledger: Ledger) -> None:
        first = await one(ledger, added("m"))
        stale = updated(replace(first, revision=7))
        for pair in (
            (deleted(first), deleted(first)),
            (updated(first, metadata={"k": 1}), deleted(first)),
            (stale, deleted(first)),
            (updated(first), updated(first)),
            (added("new"), added("new")),
        ):
            with pytest.raises(RevisionConflict):
                await write(ledger, *pair)
        assert await ledger.memories(HERE, ["m", "new"]) == {"m": first}

    async def test_two_rivals_one_winner(self, ledger: Ledger) -> None:
        first = await one(ledger, added("m"))
        rivals = [write(ledger, updated(first, metadata={"n": n})) for n in range(8)]
        answers = await asyncio.gather(*rivals, return_exceptions=True)
        (winner,) = [answer for answer in answers if isinstance(answer, Commit)]
        assert sum(isinstance(answer, RevisionConflict) for answer in answers) == 7
        assert await ledger.memories(HERE, ["m"]) == {"m": winner.memories[0]}

    @pytest.mark.parametrize("again", ["Likes tea", " Likes tea\n", "\u00a0\u2003Likes tea\t"])
    async def test_a_text_that_is_there_in_any_dress(self, ledger: Ledger, again: str) -> None:
        await write(ledger, added("m", "Likes tea"))
        with pytest.raises(DuplicateText) as caught:
            await write(ledger, added("innocent"), added("n", again, unique=True))
        assert caught.value.memory_ids == ("m",)
        assert await live(ledger) == ["m"]
        await write(ledger, added("n", again))  # a put that does not ask to be unique
        assert set(await live(ledger)) == {"m", "n"}

    @pytest.mark.parametrize("other", ["likes tea", "Likes  tea", "Ｌikes tea", "Likes\ttea", "Likes tea."])
    async def test_a_text_in_another_dress_is_another_text(self, ledger: Ledger, other: str) -> None:
        await write(ledger, added("m", "Likes tea"))
        await write(ledger, added("n", other, unique=True))
        assert set(await live(ledger)) == {"m", "n"}

    async def test_what_is_said_at_two_times_is_said_twice(self, ledger: Ledger) -> None:
        for number, time in enumerate((None, 0, 1)):
            await write(ledger, added(f"m{number}", "Took 10 units", said_time=time, unique=True))
            with pytest.raises(DuplicateText) as caught:
                await write(ledger, added("again", "Took 10 units", said_time=time, unique=True))
            assert caught.value.memory_ids == (f"m{number}",)

    async def test_two_named_speakers_say_two_things(self, ledger: Ledger) -> None:
        text = "I like tea"
        await write(ledger, added("nobody", text, unique=True))
        for name in ("Ann", "Ben"):
            await write(ledger, added(name, text, speaker=name, named=True, unique=True))
            with pytest.raises(DuplicateText) as caught:
                await write(ledger, added("again", text, speaker=name, named=True, unique=True))
            assert caught.value.memory_ids == (name,)
        await write(ledger, added("role", text, speaker="assistant", unique=True))

    async def test_the_same_text_elsewhere_does_not_count(self, ledger: Ledger, clock: FakeClock) -> None:
        text = "Likes tea"
        gone = await one(ledger, added("gone", text))
        await write(ledger, deleted(gone))
        changed = await one(ledger, added("changed", text))
        await write(ledger, updated(changed, text="Likes coffee"))
        await write(ledger, added("bob", text, BOB))
        await write(ledger, added("wider", text, Scope(user_id="alice", run_id="1")))
        await write(ledger, added("agent", text, Scope(agent_id="alice")))
        await write(ledger, added("m", text), access=ELSEWHERE)
        await write(ledger, added("expired", text, expire_time=clock.time))
        await write(ledger, added("m", text, unique=True))
        with pytest.raises(DuplicateText):
            await write(ledger, added("n", text, unique=True))

    async def test_what_has_not_expired_yet_counts(self, ledger: Ledger, clock: FakeClock) -> None:
        await write(ledger, added("m", "Likes tea", expire_time=clock.time + SECOND))
        clock.time += SECOND - 1
        with pytest.raises(DuplicateText):
            await write(ledger, added("n", "Likes tea", unique=True))
        clock.time += 1
        await write(ledger, added("n", "Likes tea", unique=True))

    async def test_unique_puts_of_one_change_are_different(self, ledger: Ledger) -> None:
        with pytest.raises(DuplicateText):
            await write(ledger, added("m", "Likes tea", unique=True), added("n", "Likes tea", unique=True))
        await write(ledger, added("m", "Likes tea", unique=True), added("n", "Likes tea", BOB, unique=True))
        assert await head(ledger) == 2

    async def test_of_adders_of_one_text_one_wins(self, ledger: Ledger) -> None:
        adders = [write(ledger, added(f"m{n}", "Likes tea", unique=True)) for n in range(20)]
        answers = await asyncio.gather(*adders, return_exceptions=True)
        assert sum(isinstance(answer, DuplicateText) for answer in answers) == 19
        assert len(await live(ledger)) == 1

    async def test_all_or_nothing(self, ledger: Ledger) -> None:
        """A change that fails late leaves no revision, message, position, speaker, outcome or pending row."""
        run = Scope(user_id="alice", run_id="run")
        first = await one(ledger, added("m", "Likes tea", run), conversations=[said("Likes tea", key="talk")])
        await write(ledger, added("other", scope=BOB), request=asked("taken"))
        before = (await head(ledger), await ledger.pending("default", GENERATION, 100))
        fresh = added("fresh", "Likes milk", run, add_id="second", speaker="Carol", source_positions=(0,))
        told = said("Likes milk", add_id="second", key="talk")
        pinned = replace(HERE, pin=ALICE)
        failing = [
            (HERE, [updated(memory("unknown", revision=7))], "r", RevisionConflict),
            (HERE, [added("other", scope=BOB, revision=1)], "r", RevisionConflict),
            (HERE, [fresh], "r", RevisionConflict),
            (HERE, [added("twin", "Likes tea", run, unique=True)], "r", DuplicateText),
            (HERE, [], "taken", OutcomeTaken),
            (pinned, [added("bob", scope=BOB)], "r", MemoryNotFound),
        ]
        for access, wrong, request_id, error in failing:
            with pytest.raises(error):
                await write(
                    ledger,
                    fresh,
                    deleted(first),
                    *wrong,
                    access=access,
                    conversations=[told],
                    request=asked(request_id),
                )
        assert (await head(ledger), await ledger.pending("default", GENERATION, 100)) == before
        assert await ledger.memories(HERE, ["m", "fresh"]) == {"m": first}
        assert (await ledger.latest(HERE, ["fresh"])).get("fresh") is None
        assert await ledger.outcome(HERE, "Add", "r") is None
        assert (await ledger.search_state(HERE, ALICE)).speakers == {"user"}
        assert await ledger.features(HERE, ["fresh"], GENERATION) == {}
        stored = await one(ledger, fresh, conversations=[told])
        assert [source.position for source in stored.sources] == [1]


def _times(time: int) -> dict[str, Any]:
    return {"create_time": time, "update_time": time}
