"""Forgetting works at any size, in small transactions, until nothing matches."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from tests.contract.ledger_world import (
    ALICE,
    BOB,
    GENERATION,
    HERE,
    added,
    asked,
    deleted,
    happened,
    head,
    live,
    one,
    said,
    updated,
    write,
)

from recalld_server.domain.filters import Comparison, Operator
from recalld_server.domain.forgetting import ErasureScope, Forgotten, Remains
from recalld_server.domain.memory import Kind, Scope
from recalld_server.domain.revision import Outcome
from recalld_server.ports.ledger import Ledger

Meanwhile = Callable[[], Awaitable[object]]


async def forgotten(
    ledger: Ledger, scope: Scope = ALICE, *, limit: int = 3, meanwhile: Meanwhile | None = None, **asking: object
) -> Forgotten:
    """Forget all of it, with something else happening after the first transaction."""
    filter, request = asking.get("filter"), asking.get("request")
    done = await ledger.begin_forgetting(HERE, scope, filter, request)  # type: ignore[arg-type]
    while done.place:
        done = await ledger.forget(HERE, scope, filter, limit, request, done)  # type: ignore[arg-type]
        if meanwhile:
            await meanwhile()
            meanwhile = None
    return done


class ForgetCommand:
    """ForgetMemories in the tables."""

    async def test_live_and_deleted_ones_go_with_all_revisions(self, ledger: Ledger) -> None:
        await write(ledger, *(added(f"m{n}") for n in range(10)), added("kept", scope=BOB))
        for n in range(0, 10, 3):
            [ended] = (await ledger.memories(HERE, [f"m{n}"])).values()
            await write(ledger, deleted(ended))
        changed = (await ledger.memories(HERE, ["m1"]))["m1"]
        await one(ledger, updated(changed, text="other words"))
        assert await ledger.extent(HERE, ALICE, None) == ErasureScope(10, 15)
        done = await forgotten(ledger)
        assert (done.count, done.revisions, done.place) == (10, 15, None)
        assert await live(ledger) == ["kept"]
        assert await ledger.extent(HERE, ALICE, None) == ErasureScope(0, 0)
        assert [event.kind for event in await happened(ledger, memory_id="m0")] == [
            Kind.ADDED,
            Kind.DELETED,
            Kind.FORGOTTEN,
        ]

    @pytest.mark.parametrize("limit", [1, 2, 5])
    async def test_a_transaction_has_few_revisions_however_long_histories_are(self, ledger: Ledger, limit: int) -> None:
        for name in ("a", "b", "c"):
            kept = await one(ledger, added(name))
            for number in range(4):
                kept = await one(ledger, updated(kept, metadata={"n": number}))
        done = await ledger.begin_forgetting(HERE, ALICE, None, None)
        counts = []
        while done.place:
            before = done.revisions
            done = await ledger.forget(HERE, ALICE, None, limit, None, done)
            counts.append(done.revisions - before)
        assert [count for count in counts if count] == [5, 5, 5]

    async def test_what_comes_to_match_meanwhile_goes_too(self, ledger: Ledger) -> None:
        """Also where the search has been already: an import brings old times, an update brings a word."""
        wanted = Comparison("metadata.tag", Operator.EQ, "red")
        await write(ledger, *(added(f"m{n}", metadata={"tag": "red"}, create_time=10 + n) for n in range(9)))
        blue = await one(ledger, added("blue", metadata={"tag": "blue"}, create_time=5))
        kept = await one(ledger, added("kept", metadata={"tag": "blue"}))

        async def meanwhile() -> None:
            await write(ledger, added("late", metadata={"tag": "red"}, create_time=1))
            turned = await one(ledger, updated(blue, metadata={"tag": "red"}))
            gone = await one(ledger, added("gone", metadata={"tag": "red"}, create_time=2))
            await write(ledger, deleted(gone))
            assert turned.revision == 2

        done = await forgotten(ledger, filter=wanted, meanwhile=meanwhile)
        assert done.count == 12
        assert await live(ledger) == [kept.id]

    async def test_what_ceases_to_match_meanwhile_stays(self, ledger: Ledger) -> None:
        wanted = Comparison("metadata.tag", Operator.EQ, "red")
        await write(ledger, *(added(f"m{n}", metadata={"tag": "red"}, create_time=10 + n) for n in range(9)))
        last = (await ledger.memories(HERE, ["m8"]))["m8"]

        async def meanwhile() -> None:
            await one(ledger, updated(last, metadata={"tag": "blue"}))

        assert (await forgotten(ledger, filter=wanted, meanwhile=meanwhile)).count == 8
        assert await live(ledger) == ["m8"]

    async def test_a_call_that_broke_off_goes_on_with_its_sums(self, ledger: Ledger) -> None:
        request = asked("r", "ForgetMemories")
        await write(ledger, *(added(f"m{n}") for n in range(5)))
        done = await ledger.begin_forgetting(HERE, ALICE, None, request)
        kept = await ledger.outcome(HERE, request.rpc, request.request_id)
        assert isinstance(kept, Outcome)
        assert kept.partial
        done = await ledger.forget(HERE, ALICE, None, 3, request, done)
        kept = await ledger.outcome(HERE, request.rpc, request.request_id)
        assert isinstance(kept, Outcome)
        assert kept.partial
        sums = {"count": 3, "revisions": 3, "exports": 0, "after": 5, "kept": []}
        assert kept.answer == sums

    async def test_a_message_stays_for_as_long_as_a_live_memory_came_from_it(self, ledger: Ledger) -> None:
        talk = said("I like tea and rain", add_id="add")
        pair = [
            added(name, add_id="add", source_positions=(0,), metadata={"tag": name}, conversation="c")
            for name in ("tea", "rain")
        ]
        await write(ledger, *pair, conversations=[talk])
        first = await forgotten(ledger, filter=Comparison("metadata.tag", Operator.EQ, "tea"))
        assert first.kept == {("add", 0)}
        assert await ledger.said("default", first.kept) == 1
        assert len((await ledger.memories(HERE, ["rain"]))["rain"].sources) == 1
        assert (await forgotten(ledger)).kept == frozenset()
        assert await ledger.said("default", first.kept) == 0

    async def test_a_message_is_kept_only_until_the_same_call_erases_what_needed_it(self, ledger: Ledger) -> None:
        several = [added(f"m{n}", add_id="add", source_positions=(0,), conversation="c") for n in range(5)]
        await write(ledger, *several, conversations=[said("one message", add_id="add")])
        done = await ledger.begin_forgetting(HERE, ALICE, None, None)
        done = await ledger.forget(HERE, ALICE, None, 2, None, done)
        assert done.kept == {("add", 0)}
        while done.place:
            done = await ledger.forget(HERE, ALICE, None, 2, None, done)
        assert done.kept == frozenset()

    async def test_what_remains_is_told_in_pages(self, ledger: Ledger) -> None:
        await write(ledger, *(added(f"m{n}") for n in range(5)), added("kept", scope=BOB))
        after = await head(ledger)
        assert await ledger.remains("default", after, 10) == Remains()
        await forgotten(ledger)
        seen = []
        while (found := await ledger.remains("default", after, 2)).ids:
            assert (found.rows, found.derived, found.pending) == (0, 0, 2 * len(found.ids))
            seen += found.ids
            after = found.upto
        assert sorted(seen) == [f"m{n}" for n in range(5)]
        await ledger.settle("default", GENERATION, {}, await head(ledger))

    async def test_answers_are_there_for_a_day(self, ledger: Ledger) -> None:
        assert not await ledger.answers("default")
        await write(ledger, added("m"), request=asked())
        assert await ledger.answers("default")
        assert not await ledger.answers("other")
