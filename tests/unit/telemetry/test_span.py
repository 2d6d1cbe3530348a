"""Spans of the stages of a call."""

from __future__ import annotations

import asyncio
import time

import pytest

from recalld_server.telemetry.span import current, span, stages


def test_stages_are_summed_by_name() -> None:
    with stages() as collected:
        for _ in range(2):
            with span("embed"):
                time.sleep(0.005)
        with span("rank"):
            pass
        assert current() == collected
    assert 0.01 <= collected["embed"] < 1
    assert list(collected) == ["embed", "rank"]
    assert current() == {}


def test_a_span_counts_when_its_work_fails() -> None:
    with stages() as collected, pytest.raises(KeyError), span("ledger"):
        raise KeyError
    assert "ledger" in collected


def test_a_stage_inside_another_is_its_own() -> None:
    start = time.perf_counter()
    with stages() as collected, span("ledger"):
        with span("rank"):
            time.sleep(0.02)
            with span("embed"):
                time.sleep(0.02)
        time.sleep(0.02)
    assert set(collected) == {"ledger", "rank", "embed"}
    assert min(collected.values()) >= 0.02
    assert sum(collected.values()) <= time.perf_counter() - start


def test_nobody_collects_outside_of_a_call() -> None:
    with span("embed"):
        assert current() == {}


def test_an_inner_collection_hides_the_outer_one() -> None:
    with stages() as outer:
        with stages() as inner, span("embed"):
            pass
        assert (list(inner), list(outer)) == (["embed"], [])


async def test_calls_collect_apart_and_their_tasks_with_them() -> None:
    async def call(name: str) -> dict[str, float]:
        with stages() as collected:
            async with asyncio.TaskGroup() as group:
                for _ in range(2):
                    group.create_task(work(name))
        return collected

    async def work(name: str) -> None:
        with span(name):
            await asyncio.sleep(0.01)

    first, second = await asyncio.gather(call("embed"), call("index"))
    assert (list(first), list(second)) == (["embed"], ["index"])
    assert first["embed"] >= 0.02
