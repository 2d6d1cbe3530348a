"""Restores of memories with all their revisions."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from tests.contract.ledger_world import (
    BOB,
    GENERATION,
    HERE,
    SECOND,
    START,
    FakeClock,
    added,
    deleted,
    features,
    happened,
    head,
    live,
    memory,
    one,
    updated,
    write,
)

from recalld_server.domain.errors import GenerationMoved, MemoryNotFound, RevisionConflict
from recalld_server.domain.filters import Comparison, Operator
from recalld_server.domain.memory import Access, Cause, Kind, Scope
from recalld_server.domain.revision import HistoricRevision
from recalld_server.ports.ledger import Ledger


def past(revision: int, kind: Kind, text: str = "", *, text_revision: int = 0, **fields: Any) -> HistoricRevision:
    """A revision of the memory m, said years before the test."""
    times = {"create_time": START // 2, "update_time": START // 2 + revision}
    cause = fields.pop("cause", Cause.NONE)
    made = features(revision) if text_revision in (0, revision) and kind is not Kind.DELETED else None
    given = memory("m", text, revision=revision, text_revision=text_revision or revision, **times | fields)
    return HistoricRevision(given, kind, cause, made)


def story() -> list[HistoricRevision]:
    return [
        past(1, Kind.ADDED, "first", metadata={"k": 1}),
        past(2, Kind.UPDATED, "second", metadata={"k": 2}),
        past(3, Kind.DELETED, "second", text_revision=2, metadata={"k": 2}, cause=Cause.INSTRUCTION),
        past(5, Kind.RESTORED, "second", text_revision=2, metadata={"k": 2}),
    ]


class Restorations:
    """Memories that are restored with all their revisions."""

    async def test_a_history_is_what_it_was(self, ledger: Ledger, clock: FakeClock) -> None:
        await one(ledger, added("other"))
        clock.time += SECOND
        commit = await write(ledger, histories=[story()], request_id="import")
        assert (commit.seq, commit.touched) == (5, ["m"])
        events = (await happened(ledger, memory_id="m"))[:]
        assert [(event.seq, event.kind, event.cause) for event in events] == [
            (2, Kind.ADDED, Cause.NONE),
            (3, Kind.UPDATED, Cause.NONE),
            (4, Kind.DELETED, Cause.INSTRUCTION),
            (5, Kind.RESTORED, Cause.NONE),
        ]
        assert {(event.principal, event.request_id, event.time) for event in events} == {("key", "import", clock.time)}
        assert [event.after and event.after.text for event in events] == ["first", "second", None, "second"]
        assert [event.before and event.before.revision for event in events] == [None, 1, 2, None]
        now = (await ledger.memories(HERE, ["m"]))["m"]
        assert now == story()[-1].memory
        for seq, revision in ((1, None), (2, 1), (3, 2), (4, None), (5, 5)):
            found = await ledger.memories(HERE, ["m"], as_of=seq)
            assert (found["m"].revision if found else None) == revision

    async def test_it_is_found_counted_and_told_to_the_index(self, ledger: Ledger) -> None:
        await write(ledger, histories=[story()])
        assert await ledger.pending("default", GENERATION, 10) == ["m"]
        entries, _ = await ledger.entries("default", GENERATION, ["m"])
        assert (entries["m"].memory.revision, entries["m"].features.terms.tolist()) == (5, [2])
        two = Comparison("metadata.k", Operator.EQ, 2)
        assert await live(ledger, filter=two) == ["m"]
        assert [event.seq for event in await happened(ledger, filter=two)] == [2, 3, 4]
        assert (await ledger.search_state(HERE, Scope(user_id="alice"))).speakers == {"user"}

    async def test_one_that_ended_stays_ended_and_can_be_changed_no_more(self, ledger: Ledger) -> None:
        await write(ledger, histories=[story()[:3]])
        assert await live(ledger) == []
        found = (await ledger.latest(HERE, ["m"])).get("m")
        assert found is not None
        assert (found[0].revision, found[1]) == (3, False)
        back = replace(found[0], update_time=0)
        again = await one(ledger, replace(updated(back), expected=0, kind=Kind.RESTORED))
        assert (again.revision, again.text_revision) == (4, 2)
        assert (await ledger.entries("default", GENERATION, ["m"]))[0]["m"].features.terms.tolist() == [2]

    async def test_a_memory_that_was_there_keeps_its_own(self, ledger: Ledger) -> None:
        mine = await one(ledger, added("m"))
        before = await head(ledger)
        for gone in (False, True):
            if gone:
                await write(ledger, deleted(mine))
                before = await head(ledger)
            with pytest.raises(RevisionConflict):
                await write(ledger, histories=[story()])
            assert await head(ledger) == before
        with pytest.raises(RevisionConflict):
            await write(ledger, added("n"), histories=[[replace(story()[0], memory=memory("n", revision=1))]])

    async def test_pins_and_generations_hold_for_histories_too(self, ledger: Ledger) -> None:
        with pytest.raises(MemoryNotFound):
            await write(ledger, histories=[story()], access=Access("default", pin=BOB))
        later = replace(features(1), generation=GENERATION.number + 1)
        with pytest.raises(GenerationMoved):
            await write(ledger, histories=[[replace(story()[0], features=later)]])
        assert await head(ledger) == 0
