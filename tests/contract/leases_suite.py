"""The contract of leases: one holder at a time, with fencing numbers, and a durable record of what was done."""

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
        assert await turns.state() == LeaseState()
        taken = await asyncio.gather(*(turns.acquire(LEASE) for _ in range(8)))
        assert sorted(number for number in taken if number) == [1]
        assert await turns.state() == LeaseState(taken=1)
        await turns.release(1, 7)
        assert await turns.state() == LeaseState(taken=1, done=1, watermark=7)
        assert await turns.acquire(LEASE) == 2

    async def test_a_turn_without_work_leaves_no_note(self, turns: Leases) -> None:
        assert await turns.acquire(LEASE) == 1
        await turns.release(1, 7)
        assert await turns.acquire(LEASE) == 2
        await turns.release(2, None)
        assert await turns.state() == LeaseState(taken=2, done=1, watermark=7)

    async def test_a_holder_without_a_sign_of_life_is_fenced_off(self, turns: Leases, clock: FakeClock) -> None:
        assert await turns.acquire(LEASE) == 1
        clock.time += 6 * SECOND
        await turns.renew(1, LEASE)
        clock.time += 6 * SECOND
        assert await turns.acquire(LEASE) is None
        clock.time += 6 * SECOND
        assert await turns.acquire(LEASE) == 2
        for late in (turns.renew(1, LEASE), turns.release(1, 7)):
            with pytest.raises(LeaseLost):
                await late
        assert await turns.acquire(LEASE) is None
        await turns.release(2, 8)
        assert await turns.state() == LeaseState(taken=2, done=2, watermark=8)

    async def test_who_is_alone_frees_what_a_dead_one_held(self, turns: Leases) -> None:
        await turns.acquire(LEASE)
        await turns.free()
        assert await turns.acquire(LEASE) == 2
