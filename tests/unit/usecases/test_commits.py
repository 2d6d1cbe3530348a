"""Blocking commits, when several callers do so."""

from __future__ import annotations

import asyncio
from typing import Any

from recalld_server.usecases.commits import CommitCoordinator


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


class Work:
    """Holds, or a commit, that stay until told to go."""

    def __init__(self, block: Any) -> None:
        self.inside = False
        self._go = asyncio.Event()
        self._task = asyncio.create_task(self._run(block))

    async def _run(self, block: Any) -> None:
        async with block:
            self.inside = True
            await self._go.wait()
        self.inside = False

    async def end(self) -> None:
        self._go.set()
        await self._task


async def test_the_first_of_two_holders_to_leave_opens_nothing() -> None:
    writer = CommitCoordinator(None, None)  # type: ignore[arg-type] - neither is asked
    first, second = Work(writer.held()), Work(writer.held())
    await settle()
    assert first.inside
    assert second.inside
    commit = Work(writer.committing())
    await first.end()
    await settle()
    assert not commit.inside
    await second.end()
    await settle()
    assert commit.inside
    await commit.end()


async def test_who_holds_again_is_not_met_by_a_commit_that_was_woken_before() -> None:
    writer = CommitCoordinator(None, None)  # type: ignore[arg-type]
    async with writer.held():
        commit = Work(writer.committing())
        await settle()
    async with writer.held():  # nobody else has run since
        await settle()
        assert not commit.inside
    await settle()
    assert commit.inside
    await commit.end()
