"""What a commit stores besides revisions: outcomes, conversations and speakers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.contract.ledger_world import (
    ALICE,
    BOB,
    DAY,
    ELSEWHERE,
    HERE,
    SECOND,
    FakeClock,
    added,
    asked,
    deleted,
    one,
    restored,
    said,
    updated,
    write,
)

from recalld_server.domain.errors import OutcomeTaken, RevisionConflict
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.domain.revision import Commit, Conversation, Outcome
from recalld_server.ports.ledger import Ledger

RUN = Scope(user_id="alice", run_id="run")


class Outcomes:
    """Answers under request ids."""

    async def test_an_outcome_is_found_by_who_asked_what(self, ledger: Ledger) -> None:
        answer = {"memories": [["m", 1]], "note": "Grüße 茶", "deep": {"list": [1, 1.5, None, True]}}
        commit = await write(ledger, added("m"), request=asked(fingerprint="abc"), answer=answer)
        stored = Outcome(fingerprint="abc", answer=answer, seq=commit.seq, partial=False)
        assert await ledger.outcome(HERE, "Add", "r") == stored
        assert await ledger.outcome(replace(HERE, pin=BOB), "Add", "r") == stored  # pins bind memories, not answers
        assert await ledger.outcome(Access("default", principal="another"), "Add", "r") is None
        assert await ledger.outcome(ELSEWHERE, "Add", "r") is None
        assert await ledger.outcome(HERE, "Update", "r") is None
        assert await ledger.outcome(HERE, "Add", "R") is None

    async def test_an_id_is_taken_for_its_owner_only(self, ledger: Ledger) -> None:
        await write(ledger, added("m"), request=asked())
        with pytest.raises(OutcomeTaken):
            await write(ledger, added("n"), request=asked())
        with pytest.raises(OutcomeTaken):
            await write(ledger, added("n"), request=asked(fingerprint="another"))
        await write(ledger, added("n"), request=asked(rpc="Update"))
        await write(ledger, added("o"), request=asked(), access=replace(HERE, principal="another"))
        await write(ledger, added("m"), request=asked(), access=ELSEWHERE)
        assert (await ledger.positions(HERE)).head == 3

    async def test_of_the_same_request_at_once_one_is_stored(self, ledger: Ledger) -> None:
        calls = [write(ledger, added(f"m{n}"), request=asked(), answer={"n": n}) for n in range(20)]
        answers = await asyncio.gather(*calls, return_exceptions=True)
        (winner,) = [n for n, answer in enumerate(answers) if isinstance(answer, Commit)]
        assert sum(isinstance(answer, OutcomeTaken) for answer in answers) == 19
        stored = await ledger.outcome(HERE, "Add", "r")
        assert stored is not None
        assert stored.answer == {"n": winner}
        assert (await ledger.positions(HERE)).head == 1

    async def test_a_partial_outcome_is_continued(self, ledger: Ledger) -> None:
        await write(ledger, added("a"), request=asked(), answer={"done": 1}, partial=True)
        with pytest.raises(OutcomeTaken):
            await write(ledger, added("b"), request=asked(fingerprint="another"), partial=True)
        await write(ledger, added("b"), request=asked(), answer={"done": 2}, partial=True, attempt=1)
        half = await ledger.outcome(HERE, "Add", "r")
        assert half == Outcome("f", {"done": 2}, 2, partial=True, attempt=1)
        await write(ledger, added("c"), request=asked(), answer={"done": 3}, attempt=2)
        assert await ledger.outcome(HERE, "Add", "r") == Outcome("f", {"done": 3}, 3, partial=False, attempt=2)
        with pytest.raises(OutcomeTaken):
            await write(ledger, added("d"), request=asked(), answer={"done": 4}, partial=True, attempt=3)

    async def test_of_several_that_go_on_from_a_partial_outcome_one_does(self, ledger: Ledger) -> None:
        """The others would count what they did on top of what they read, and not of what is there by now."""
        await write(ledger, added("first"), request=asked(), answer={"done": 1}, partial=True)

        async def go_on(n: int) -> bool:
            try:
                await write(ledger, added(f"n{n}"), request=asked(), answer={"done": 2}, partial=True, attempt=1)
            except OutcomeTaken:
                return False
            return True

        assert sum(await asyncio.gather(*(go_on(n) for n in range(8)))) == 1
        with pytest.raises(OutcomeTaken):  # as one that began before there was any
            await write(ledger, added("late"), request=asked(), answer={"done": 1}, partial=True)
        assert (await ledger.positions(HERE)).head == 2

    async def test_after_a_day_an_id_is_free(self, ledger: Ledger, clock: FakeClock) -> None:
        await write(ledger, added("m"), request=asked())
        clock.time += DAY - 1
        assert await ledger.outcome(HERE, "Add", "r") is not None
        with pytest.raises(OutcomeTaken):
            await write(ledger, added("n"), request=asked(fingerprint="another"))
        clock.time += 1
        assert await ledger.outcome(HERE, "Add", "r") is None
        await write(ledger, added("n"), request=asked(fingerprint="another"), answer={"k": 2})
        assert await ledger.outcome(HERE, "Add", "r") == Outcome("another", {"k": 2}, 2, partial=False)
        clock.time += DAY - SECOND
        assert await ledger.outcome(HERE, "Add", "r") is not None


class Conversations:
    """Messages, their positions, and the memories taken from them."""

    async def test_adds_of_one_conversation_follow_one_another(self, ledger: Ledger) -> None:
        places = []
        for add_id, told in (("first", ("a", "b", "c")), ("second", ("d", "e")), ("third", ("f", "g"))):
            last = len(told) - 1
            put = added(add_id, scope=RUN, add_id=add_id, position=last, ordinal=1, source_positions=(0, last))
            stored = await one(ledger, put, conversations=[said(*told, add_id=add_id, key="talk")])
            assert stored == (await ledger.memories(HERE, [add_id]))[add_id]
            assert [source.content for source in stored.sources] == [told[0], told[last]]
            places.append((stored.position, stored.ordinal, stored.source_positions))
        assert places == [(2, 1, (0, 2)), (4, 1, (3, 4)), (6, 1, (5, 6))]

    async def test_facts_of_one_message_share_its_place(self, ledger: Ledger) -> None:
        await write(ledger, conversations=[said("earlier", add_id="earlier", key="talk")])
        facts = [added(f"m{n}", scope=RUN, add_id="add", ordinal=n, source_positions=(0,)) for n in range(3)]
        stored = (await write(ledger, *facts, conversations=[said("three facts", key="talk")])).memories
        assert [(m.position, m.ordinal) for m in stored] == [(1, 0), (1, 1), (1, 2)]
        assert {m.sources for m in stored} == {(Message("user", "three facts", position=1),)}

    async def test_messages_keep_every_field(self, ledger: Ledger) -> None:
        messages = [Message("user", "Hallo 👋\n", "Zoë", 17), Message("assistant", "", "", None), Message("tool", "{}")]
        told = Conversation("add", "", messages)
        stored = await one(ledger, added("m", add_id="add", source_positions=(0, 1, 2)), conversations=[told])
        assert stored.sources == tuple(replace(message, position=n) for n, message in enumerate(messages))
        assert (await ledger.memories(HERE, ["m"]))["m"].sources == stored.sources

    async def test_a_conversation_of_one_add_begins_at_zero(self, ledger: Ledger) -> None:
        for add_id in ("one", "two"):
            put = added(add_id, add_id=add_id, position=1, source_positions=(1,))
            stored = await one(ledger, put, conversations=[said("a", "b", add_id=add_id)])
            assert (stored.position, [source.content for source in stored.sources]) == (1, ["b"])

    async def test_adds_at_once_never_share_a_place(self, ledger: Ledger) -> None:
        async def add(n: int) -> list[int]:
            put = added(f"m{n}", scope=RUN, add_id=f"add {n}", source_positions=(0, 1))
            stored = await one(ledger, put, conversations=[said(f"{n} a", f"{n} b", add_id=f"add {n}", key="talk")])
            assert [source.content for source in stored.sources] == [f"{n} a", f"{n} b"]
            return [source.position for source in stored.sources]

        places = await asyncio.gather(*(add(n) for n in range(30)))
        assert sorted(place for pair in places for place in pair) == list(range(60))
        assert all(second == first + 1 for first, second in places)

    async def test_conversations_of_projects_are_their_own(self, ledger: Ledger) -> None:
        for access in (HERE, ELSEWHERE):
            put = added("m", scope=RUN, add_id="add", source_positions=(0,))
            told = [said(f"in {access.project}", key="talk")]
            stored = await one(ledger, put, access, conversations=told)
            assert stored.sources == (Message("user", f"in {access.project}"),)
        assert (await ledger.memories(HERE, ["m"]))["m"].sources[0].content == "in default"

    async def test_sources_stay_with_every_revision(self, ledger: Ledger) -> None:
        told = [said("a", "b", key="talk")]
        put = added("m", scope=RUN, add_id="add", position=1, source_positions=(1,))
        first = await one(ledger, put, conversations=told)
        second = await one(ledger, updated(first, metadata={"k": 1}))
        await write(ledger, deleted(second))
        newest = (await ledger.latest(HERE, ["m"])).get("m")
        assert newest is not None
        back = await one(ledger, restored(newest[0]))
        for found in (second, newest[0], back, (await ledger.memories(HERE, ["m"], 1))["m"]):
            assert (found.position, found.sources) == (1, first.sources)

    async def test_restored_messages_keep_their_places(self, ledger: Ledger) -> None:
        async def bring(name: str, *positions: int) -> tuple[int, list[int]]:
            messages = [Message("user", f"{name} {at}", position=at) for at in positions]
            put = added(name, scope=RUN, add_id=name, position=positions[0], source_positions=positions)
            told = Conversation(name, "talk", messages, restored=True)
            stored = await one(ledger, put, conversations=[told])
            assert stored.sources == tuple(messages)
            assert stored == (await ledger.memories(HERE, [name]))[name]
            return stored.position, [source.position for source in stored.sources]

        async def go_on(name: str) -> int:
            put = added(name, scope=RUN, add_id=name)
            return (await one(ledger, put, conversations=[said(name, add_id=name, key="talk")])).position

        assert await bring("late", 7, 9) == (7, [7, 9])
        assert await go_on("next") == 10
        assert await bring("early", 2) == (2, [2])
        assert await go_on("after") == 11

    async def test_the_same_messages_may_be_restored_again(self, ledger: Ledger) -> None:
        messages = [Message("user", "a", "Ann", 5, 0), Message("user", "b", position=1)]
        for number in range(2):
            put = added(f"m{number}", scope=RUN, add_id="add", source_positions=(number,))
            told = [Conversation("add", "talk", [messages[number]], restored=True)]
            assert (await one(ledger, put, conversations=told)).sources == (messages[number],)
        put = added("both", scope=RUN, add_id="add", source_positions=(0, 1))
        told = [Conversation("add", "talk", messages, restored=True)]
        assert (await one(ledger, put, conversations=told)).sources == tuple(messages)

    async def test_nobody_reads_messages_by_claiming_their_add(self, ledger: Ledger) -> None:
        put = added("m", add_id="add", source_positions=(0,))
        secret = await one(ledger, put, conversations=[said("Alice's secret")])
        bob = replace(HERE, pin=BOB)
        claim = added("claim", scope=BOB, add_id="add", source_positions=(0,))
        forged = Conversation("add", "", [Message("user", "anything")], restored=True)
        with pytest.raises(RevisionConflict):
            await write(ledger, claim, access=bob, conversations=[forged])
        assert await ledger.memories(HERE, ["m", "claim"]) == {"m": secret}


class Speakers:
    """Who said something that is live, in each scope."""

    async def test_a_speaker_is_known_where_all_ids_know_them(self, ledger: Ledger) -> None:
        await write(
            ledger,
            added("1", scope=Scope(user_id="alice", run_id="a"), speaker="Ann"),
            added("2", scope=Scope(user_id="alice", run_id="b"), speaker="Ben"),
            added("3", scope=Scope(user_id="bob", run_id="b"), speaker="Cid"),
            added("4", scope=Scope(agent_id="bot"), speaker="assistant"),
            added("5", scope=Scope(agent_id="bot"), speaker=""),
        )

        async def known(scope: Scope, access: Access = HERE) -> set[str]:
            return set((await ledger.search_state(access, scope)).speakers)

        assert await known(ALICE) == {"Ann", "Ben"}
        assert await known(Scope(run_id="b")) == {"Ben", "Cid"}
        assert await known(Scope(user_id="alice", run_id="b")) == {"Ben"}
        assert await known(Scope(agent_id="bot")) == {"assistant"}
        assert await known(Scope(user_id="bot")) == set()
        assert await known(Scope()) == set()
        assert await known(Scope(), replace(HERE, pin=ALICE)) == {"Ann", "Ben"}
        assert await known(Scope(run_id="b"), replace(HERE, pin=ALICE)) == {"Ben"}
        assert await known(BOB, replace(HERE, pin=ALICE)) == set()
        assert await known(ALICE, ELSEWHERE) == set()

    async def test_speakers_go_and_come_with_their_memories(self, ledger: Ledger) -> None:
        async def known() -> set[str]:
            return set((await ledger.search_state(HERE, ALICE)).speakers)

        first, second = (await write(ledger, added("1", speaker="Ann"), added("2", speaker="Ann"))).memories
        assert await known() == {"Ann"}
        await write(ledger, deleted(first))
        assert await known() == {"Ann"}
        second = await one(ledger, updated(second, metadata={"k": 1}))
        assert await known() == {"Ann"}
        await write(ledger, deleted(second))
        assert await known() == set()
        newest = (await ledger.latest(HERE, ["1"])).get("1")
        assert newest is not None
        back = await one(ledger, restored(newest[0]))
        assert await known() == {"Ann"}
        renamed = await one(ledger, updated(back, speaker="Anna"))
        assert await known() == {"Anna"}
        await write(ledger, deleted(renamed), added("3", speaker="Anna"))
        assert await known() == {"Anna"}
