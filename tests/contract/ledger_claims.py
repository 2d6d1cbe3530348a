"""Changes that their writers left pending are shared by the projectors of all servers."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from tests.contract.ledger_world import ELSEWHERE, GENERATION, SECOND, FakeClock, added, head, one, updated, write

from recalld_server.ports.ledger import Ledger


async def claim(ledger: Ledger, limit: int = 100, seconds: float = 30.0) -> list[str]:
    return sorted(await ledger.claim("default", GENERATION, 2.0, seconds, limit))


class Claims:
    """Who gets what, and for how long."""

    async def test_a_change_is_its_writers_at_first(self, ledger: Ledger, clock: FakeClock) -> None:
        await write(ledger, added("m"))
        clock.time += 2 * SECOND - 1
        assert await ledger.behind(2.0) == []
        assert await claim(ledger) == []
        clock.time += 1
        assert await ledger.behind(2.0) == ["default"]
        assert await claim(ledger) == ["m"]

    async def test_what_is_claimed_is_nobody_elses_until_the_lease_ends(self, ledger: Ledger, clock: FakeClock) -> None:
        await write(ledger, added("m"))
        clock.time += 10 * SECOND
        assert await claim(ledger, seconds=5.0) == ["m"]
        assert await ledger.behind(2.0) == await claim(ledger) == []
        clock.time += 5 * SECOND - 1
        assert await claim(ledger) == []
        clock.time += 1
        assert await claim(ledger) == ["m"]

    async def test_what_is_released_is_free_and_what_is_settled_is_gone(self, ledger: Ledger, clock: FakeClock) -> None:
        await write(ledger, added("a"), added("b"), added("c"))
        clock.time += 10 * SECOND
        assert await claim(ledger) == ["a", "b", "c"]
        assert await ledger.settle("default", GENERATION, {"a": 1}, await head(ledger)) == []
        await ledger.release("default", GENERATION, ["a", "b"])
        assert await claim(ledger) == ["b"]

    async def test_the_oldest_changes_come_first_and_a_memory_once(self, ledger: Ledger, clock: FakeClock) -> None:
        first = await one(ledger, added("a"))
        await write(ledger, updated(first, metadata={"k": 1}), added("b"), added("c"))
        clock.time += 10 * SECOND
        assert await claim(ledger, limit=2) == ["a"]
        assert await claim(ledger, limit=1) == ["b"]
        assert await claim(ledger) == ["c"]

    async def test_claims_are_of_one_project_and_generation(self, ledger: Ledger, clock: FakeClock) -> None:
        await write(ledger, added("m"), access=ELSEWHERE)
        clock.time += 10 * SECOND
        assert await claim(ledger) == []
        assert await ledger.claim("other", replace(GENERATION, number=2), 2.0, 30.0, 10) == []
        assert await ledger.behind(2.0) == ["other"]
        assert await ledger.claim("other", GENERATION, 2.0, 30.0, 10) == ["m"]

    async def test_what_is_pending_again_can_be_claimed(self, ledger: Ledger, clock: FakeClock) -> None:
        await write(ledger, added("m"))
        clock.time += 10 * SECOND
        assert await claim(ledger) == ["m"]
        assert await ledger.settle("default", GENERATION, {"m": 1}, 1) == []
        assert await ledger.behind(2.0) == []
        assert await ledger.pend_after("default", GENERATION, 0) == 1
        assert await claim(ledger) == ["m"]

    async def test_claims_at_once_share_everything(self, ledger: Ledger, clock: FakeClock) -> None:
        names = [f"m{n:02}" for n in range(40)]
        await write(ledger, *(added(name) for name in names))
        clock.time += 10 * SECOND
        taken: list[str] = []
        while found := await asyncio.gather(*(claim(ledger, limit=3) for _ in range(4))):
            if not any(found):
                break
            taken += [name for each in found for name in each]
        assert sorted(taken) == names
