"""Computations in steps, and the thread that gives each of them slices of time."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from recalld_server.concurrency.time_slices import LARGE, sliced
from recalld_server.domain.steps import Steps, advanced, completed


def counting(to: int, seconds: float, seen: list[str]) -> Steps[int]:
    for _ in range(to):
        seen.append(threading.current_thread().name)
        until = time.thread_time() + seconds
        while time.thread_time() < until:
            pass
        yield
    return to


def test_steps_are_computed_at_once_or_a_part_at_a_time() -> None:
    assert completed(counting(3, 0, [])) == 3
    steps = counting(3, 0.01, [])
    assert [advanced(steps, 0), advanced(steps, 0), advanced(steps, 0), advanced(steps, 0)] == [None, None, None, (3,)]


async def test_a_small_computation_stays_where_it_is() -> None:
    seen: list[str] = []
    assert await sliced(counting(5, 0, seen)) == 5
    assert set(seen) == {threading.current_thread().name}


async def test_a_long_one_leaves_the_event_loop_and_a_large_one_never_is_there() -> None:
    seen: list[str] = []
    assert await sliced(counting(3, 0.01, seen)) == 3
    assert seen[0] == threading.current_thread().name not in seen[1:]
    seen.clear()
    assert await sliced(counting(3, 0, seen), LARGE + 1) == 3
    assert threading.current_thread().name not in seen


async def test_long_computations_take_turns_and_the_loop_goes_on() -> None:
    ended: list[str] = []

    async def computed(name: str, steps: int) -> None:
        await sliced(counting(steps, 0.005, []), LARGE + 1)
        ended.append(name)

    ticks, begun = 0, time.monotonic()
    both = asyncio.gather(computed("long", 60), computed("short", 10))
    while not both.done():
        await asyncio.sleep(0.01)
        ticks += 1
    assert ended == ["short", "long"]
    assert ticks > (time.monotonic() - begun) / 0.01 / 4


async def test_what_a_computation_raises_is_raised_and_who_leaves_does_not_wait() -> None:
    def broken() -> Steps[None]:
        yield
        raise ValueError("broken")

    for size in (0, LARGE + 1):
        with pytest.raises(ValueError, match="broken"):
            await sliced(broken(), size)
    seen: list[str] = []
    task = asyncio.create_task(sliced(counting(10_000, 0.005, seen), LARGE + 1))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await asyncio.sleep(0.05)
    count = len(seen)
    await asyncio.sleep(0.05)
    assert len(seen) == count > 0
