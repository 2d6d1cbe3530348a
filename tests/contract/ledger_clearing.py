"""The janitor's queries: over all projects at once, in order, and limited in size."""

from __future__ import annotations

from tests.contract.ledger_world import (
    DAY,
    ELSEWHERE,
    HERE,
    SECOND,
    START,
    FakeClock,
    added,
    asked,
    deleted,
    head,
    one,
    updated,
    write,
)

from recalld_server.domain.revision import Expired
from recalld_server.ports.ledger import Ledger


class Clearing:
    """`expired`, `purge_outcomes`, `retentions` and `trim`."""

    async def test_what_expired_in_all_projects_comes_in_order(self, ledger: Ledger) -> None:
        for access, name, time in ((HERE, "b", 5), (ELSEWHERE, "a", 5), (HERE, "late", 9), (ELSEWHERE, "early", 2)):
            await write(ledger, added(name, expire_time=START + time), access=access)
        await write(ledger, added("for good"), added("still good", expire_time=START + 10))
        expected = [
            Expired(START + 2, "other", "early", 1),
            Expired(START + 5, "default", "b", 1),
            Expired(START + 5, "other", "a", 1),
            Expired(START + 9, "default", "late", 1),
        ]
        assert await ledger.expired(START + 9, (), None, 10) == expected
        assert await ledger.expired(START + 8, (), None, 10) == expected[:3]
        assert await ledger.expired(START + 1, (), None, 10) == []
        assert await ledger.expired(START + 9, ["other"], None, 10) == [expected[1], expected[3]]
        assert await ledger.expired(START + 9, ["other", "default"], None, 10) == []
        found: list[Expired] = []
        while page := await ledger.expired(START + 9, (), found[-1].place if found else None, 3):
            found += page
        assert found == expected

    async def test_what_was_changed_or_deleted_has_not_expired(self, ledger: Ledger) -> None:
        longer = await one(ledger, added("longer", expire_time=START + 1))
        gone = await one(ledger, added("gone", expire_time=START + 1))
        await write(ledger, updated(longer, expire_time=START + DAY), deleted(gone))
        assert await ledger.expired(START + 5, (), None, 10) == []
        assert await ledger.expired(START + DAY, (), None, 10) == [Expired(START + DAY, "default", "longer", 2)]

    async def test_answers_go_in_batches_oldest_first(self, ledger: Ledger, clock: FakeClock) -> None:
        for n in range(5):
            clock.time = START + n * SECOND
            await write(ledger, request=asked(f"r{n}"))
        before = START + 3 * SECOND
        assert [await ledger.purge_outcomes(before, 3) for _ in range(3)] == [3, 1, 0]
        assert [await ledger.outcome(HERE, "Add", f"r{n}") is not None for n in range(5)] == [False] * 4 + [True]

    async def test_history_goes_in_batches_with_what_belongs_to_it(self, ledger: Ledger, clock: FakeClock) -> None:
        now = await one(ledger, added("m"))
        for n in range(5):
            clock.time = START + n * SECOND
            now = await one(ledger, updated(now, metadata={"n": n}))
        assert await ledger.retentions() == {}
        before = START + 3 * SECOND
        applied = {"m": now.revision}
        await ledger.settle("default", await ledger.generation("default"), applied, await head(ledger))
        assert [await ledger.trim("default", before, 2) for _ in range(3)] == [True, True, False]
        assert (await ledger.positions(HERE)).oldest == 5
        assert {revision for _, revision in await ledger.revisions(HERE, [("m", n) for n in range(9)])} == {5, 6}
        assert not await ledger.trim("default", before, 2)
