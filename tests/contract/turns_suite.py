"""What every store of turns promises: one holder at a time, fenced, and what was done stays known."""

from __future__ import annotations

import asyncio

import pytest
from tests.contract.ledger_world import FakeClock

from recalld_server.domain.errors import LeaseLost
from recalld_server.ports.leases import Leases, LeaseState

LEASE = 10.0
SECOND = 1_000_000


class TurnsSuite:
    """Fixtures `turns` (none taken yet) and `clock` come from the engine."""

    async def test_one_turn_at_a_time(self, turns: Leases) -> None:
        assert await turns.stand() == LeaseState()
        taken = await asyncio.gather(*(turns.take(LEASE) for _ in range(8)))
        assert sorted(number for number in taken if number) == [1]
        assert await turns.stand() == LeaseState(taken=1)
        await turns.end(1, 7)
        assert await turns.stand() == LeaseState(taken=1, done=1, note=7)
        assert await turns.take(LEASE) == 2

    async def test_a_turn_without_work_leaves_no_note(self, turns: Leases) -> None:
        assert await turns.take(LEASE) == 1
        await turns.end(1, 7)
        assert await turns.take(LEASE) == 2
        await turns.end(2, None)
        assert await turns.stand() == LeaseState(taken=2, done=1, note=7)

    async def test_a_holder_without_a_sign_of_life_is_fenced_off(self, turns: Leases, clock: FakeClock) -> None:
        assert await turns.take(LEASE) == 1
        clock.time += 6 * SECOND
        await turns.beat(1, LEASE)
        clock.time += 6 * SECOND
        assert await turns.take(LEASE) is None
        clock.time += 6 * SECOND
        assert await turns.take(LEASE) == 2
        for late in (turns.beat(1, LEASE), turns.end(1, 7)):
            with pytest.raises(LeaseLost):
                await late
        assert await turns.take(LEASE) is None
        await turns.end(2, 8)
        assert await turns.stand() == LeaseState(taken=2, done=2, note=8)

    async def test_who_is_alone_frees_what_a_dead_one_held(self, turns: Leases) -> None:
        await turns.take(LEASE)
        await turns.free()
        assert await turns.take(LEASE) == 2
