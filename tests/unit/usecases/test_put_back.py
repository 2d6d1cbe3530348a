"""A ledger restored from a backup refuses positions that it does not have."""

from __future__ import annotations

import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from recalld_server.domain.commands import AddCommand
from recalld_server.domain.errors import AsOfFuture, PageTokenInvalid, RecalldError, ResumeTokenInvalid
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.domain.revision import EventQuery
from recalld_server.usecases.watch import Position, WatchQuery
from recalld_server.wiring.composition import build
from recalld_server.wiring.settings import Settings

HERE, ANN = Access("default", principal="key"), Scope(user_id="ann")


async def refused(call: Callable[[], Awaitable[object]], error: type[RecalldError]) -> None:
    with pytest.raises(error):
        await call()


async def test_positions_after_the_backup_are_refused(tmp_path: Path) -> None:
    folder, backup = tmp_path / "data", tmp_path / "backup"
    for number in range(2):
        recalld = await build(Settings(data_dir=folder))
        await recalld.add.add(HERE, AddCommand(ANN, [Message("user", f"Box {number}")], infer=False))
        later = (await recalld.ledger.positions(HERE)).head
        await recalld.close()
        if number == 0:
            shutil.copytree(folder, backup)
    recalld = await build(Settings(data_dir=backup))
    try:
        head = (await recalld.ledger.positions(HERE)).head
        assert head < later
        watching = recalld.watch.run(HERE, WatchQuery(after=Position(later, 0)))
        await refused(lambda: anext(watching), ResumeTokenInvalid)
        ahead = EventQuery(after=later, limit=10)
        await refused(lambda: recalld.queries.events(HERE, ahead, begun=True), PageTokenInvalid)
        await refused(lambda: recalld.queries.events(HERE, ahead), AsOfFuture)
        assert await recalld.queries.events(HERE, EventQuery(after=head, limit=10)) == ([], False)
        at_head = recalld.watch.run(HERE, WatchQuery(after=Position(head, 0)))
        assert (await anext(at_head)).position.seq == head
        await at_head.aclose()
    finally:
        await recalld.close()
