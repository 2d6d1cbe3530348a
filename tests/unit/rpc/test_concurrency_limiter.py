"""How projects share a class of calls."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable

import pytest

from recalld_server.domain.errors import Overloaded
from recalld_server.rpc.interceptors import concurrency_limiter
from recalld_server.rpc.interceptors.concurrency_limiter import ConcurrencyLimiter


async def begun(*calls: Awaitable[None]) -> list[asyncio.Future[None]]:
    """The calls as tasks that have had their first turn."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    await asyncio.sleep(0)
    return tasks


def run(tasks: list[asyncio.Future[None]]) -> int:
    """How many of the calls run."""
    return sum(task.done() and task.exception() is None for task in tasks)


async def test_a_flood_leaves_room_for_others_and_pays_itself() -> None:
    gate = ConcurrencyLimiter("read", tight=2, crowd=4, most=10)
    flood = await begun(*(gate.enter("a") for _ in range(9)))
    assert run(flood) == 4
    other = await begun(gate.enter("b"), gate.enter("b"))  # the second is one too many
    assert gate.waiting == 2
    results = await asyncio.gather(*flood[4:], return_exceptions=True)
    assert all(isinstance(result, Overloaded) for result in results)
    with pytest.raises(Overloaded):
        await gate.enter("a")
    for _ in range(2):
        gate.leave("a")
    await asyncio.sleep(0)
    assert run(other) == 2
    assert (gate.running, gate.waiting) == (4, 0)
    with pytest.raises(Overloaded):
        await gate.enter("a")  # two of it run still
    gate.leave("a")
    assert run(await begun(gate.enter("a"))) == 1


async def test_projects_take_turns() -> None:
    gate = ConcurrencyLimiter("read", tight=2, crowd=2, most=40)
    flood = await begun(*(gate.enter("a") for _ in range(12)))
    others = await begun(*(gate.enter(name) for name in "bcd"))
    order = []
    for leaving in "aabcd":
        gate.leave(leaving)
        await asyncio.sleep(0)
        order.append((run(flood), run(others)))
    assert order == [(3, 0), (3, 1), (3, 2), (3, 3), (4, 3)]  # the turn of who waited first came first, then theirs


async def test_while_several_call_none_takes_all_places() -> None:
    gate = ConcurrencyLimiter("write", tight=2, crowd=16, most=64)
    await gate.enter("b")
    gate.leave("b")
    flood = await begun(*(gate.enter("a") for _ in range(20)))
    assert run(flood) == 2
    assert run(await begun(gate.enter("b"))) == 1  # at once, though others wait
    gate.leave("b")
    gate.leave("a")
    await asyncio.sleep(0)
    assert run(flood) == 3


async def test_one_project_alone_has_all_places_again(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(concurrency_limiter, "monotonic", lambda: now)
    gate = ConcurrencyLimiter("write", tight=2, crowd=16, most=64)
    await gate.enter("b")
    gate.leave("b")
    flood = await begun(*(gate.enter("a") for _ in range(20)))
    assert run(flood) == 2
    now += concurrency_limiter.CALM
    gate.leave("a")
    await asyncio.sleep(0)
    assert run(flood) == 17
    for task in flood:
        task.cancel()


async def test_nothing_is_remembered_of_who_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(concurrency_limiter, "monotonic", lambda: now)
    gate = ConcurrencyLimiter("read", tight=1, crowd=1, most=3)
    for name in map(str, range(50)):
        calls = await begun(*(gate.enter(name) for _ in range(5)))
        for _ in range(run(calls)):
            gate.leave(name)
        await asyncio.gather(*calls, return_exceptions=True)
        while gate.running:
            gate.leave(name)
            await asyncio.sleep(0)
    now += concurrency_limiter.CALM
    await gate.enter("last")
    while gate.running:
        gate.leave("last")
    now += concurrency_limiter.CALM
    await gate.enter("last")
    gate.leave("last")
    assert (gate.running, gate.waiting, len(gate._shares), len(gate._tight), len(gate._queues)) == (0, 0, 0, 0, 0)
