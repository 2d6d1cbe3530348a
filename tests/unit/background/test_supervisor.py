"""A failed background task is restarted and counted, and does not prevent a server from stopping."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

import pytest

from recalld_server.background import supervisor
from recalld_server.background.supervisor import Supervisor
from recalld_server.domain.errors import LedgerUnavailable


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "FIRST_PAUSE", 0.01)
    monkeypatch.setattr(supervisor, "LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(supervisor, "STOP", 0.1)


def failing(times: int, error: Exception | None) -> tuple[Callable[[], Awaitable[None]], asyncio.Event]:
    """A task that fails so many times, or just ends, and then goes on."""
    left, well = times, asyncio.Event()

    async def run() -> None:
        nonlocal left
        if left:
            left -= 1
            if error:
                raise error
            return
        well.set()
        await asyncio.Event().wait()

    return run, well


@pytest.mark.parametrize("error", [ValueError("unforeseen"), LedgerUnavailable(), None])
async def test_a_task_that_fails_is_started_again(error: Exception | None, caplog: pytest.LogCaptureFixture) -> None:
    failures: list[str] = []
    run, well = failing(4, error)
    stop = Supervisor(failures.append).start("janitor", run)
    await asyncio.wait_for(well.wait(), 5)
    await stop()
    assert failures == ["janitor"] * 4
    assert len(caplog.records) == 1, "the same failure is said once"
    traced = caplog.records[0].exc_info is not None
    assert (traced, caplog.records[0].levelno) == (
        (False, logging.WARNING) if isinstance(error, LedgerUnavailable) else (True, logging.ERROR)
    )


async def test_another_failure_is_said_too(caplog: pytest.LogCaptureFixture) -> None:
    errors = iter([ValueError(), ValueError(), KeyError(), ValueError()])
    ended = asyncio.Event()

    async def run() -> None:
        for error in errors:
            raise error
        ended.set()
        await asyncio.Event().wait()

    stop = Supervisor().start("janitor", run)
    await asyncio.wait_for(ended.wait(), 5)
    await stop()
    assert [record.__dict__["error"] for record in caplog.records] == ["ValueError", "KeyError", "ValueError"]


async def test_stopping_waits_for_no_task_that_does_not_end() -> None:
    async def stubborn() -> None:
        while True:
            try:
                await asyncio.sleep(60)
            except asyncio.CancelledError:
                if ended.is_set():
                    raise

    ended = asyncio.Event()
    stop = Supervisor().start("janitor", stubborn)
    await asyncio.sleep(0)
    await asyncio.wait_for(stop(), 5)
    ended.set()
    await stop()


async def test_stopping_raises_nothing_of_a_task_that_fails_while_it_is_cancelled() -> None:
    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while it ends")

    stop = Supervisor().start("janitor", run)
    await asyncio.sleep(0)
    await asyncio.wait_for(stop(), 5)
