"""A change of a project's language builds a new index; searches use the old one until then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from recalld_server.domain.commands import AddCommand
from recalld_server.domain.errors import WriteConflict
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.domain.operations import OperationKind, OperationState
from recalld_server.domain.revision import RequestKey
from recalld_server.usecases.search.live import Mode
from recalld_server.usecases.search.results import SearchQuery
from recalld_server.wiring.composition import build
from recalld_server.wiring.parts import Recalld
from recalld_server.wiring.settings import Settings

HERE, USER = Access("default", principal="key"), Scope(user_id="u")


@pytest.fixture
async def recalld(tmp_path: Path) -> AsyncIterator[Recalld]:
    """Nobody works on operations until a test says so."""
    wired = await build(Settings(data_dir=tmp_path))
    projecting = asyncio.create_task(wired.projector.run())
    yield wired
    projecting.cancel()
    with suppress(asyncio.CancelledError):
        await projecting
    await wired.close()


async def found(recalld: Recalld, words: str) -> list[str]:
    query = SearchQuery(words, scope=USER, limit=5, mode=Mode.KEYWORD)
    return [place.id for place in (await recalld.search.rank(HERE, query)).hits]


async def change(recalld: Recalld, language: str) -> None:
    await recalld.projects.change_settings(HERE, "default", {"language": language}, None)


async def standing(recalld: Recalld) -> tuple[int, str, str]:
    stand = await recalld.projects.index_standing(HERE, "default")
    return stand.generation.number, stand.generation.language, stand.backlog.operation


async def worked(recalld: Recalld, operation: str) -> OperationState:
    working = asyncio.create_task(recalld.worker.run())
    done = await recalld.operations.wait(HERE, operation, 30)
    working.cancel()
    with suppress(asyncio.CancelledError):
        await working
    return done.state


async def test_a_new_language_is_a_new_index(recalld: Recalld) -> None:
    added = await recalld.add.add(HERE, AddCommand(USER, [Message("user", "Drei Häuser am See")], infer=False))
    id = added.results[0].memory.id
    await change(recalld, "german")
    number, language, operation = await standing(recalld)
    assert (number, language) == (1, "english")
    assert operation
    assert await found(recalld, "Haus") == []
    for other in ("french", "english", ""):  # while it is built none may come between
        with pytest.raises(WriteConflict):
            await change(recalld, other)
    with pytest.raises(WriteConflict):
        await recalld.operations.start(HERE, OperationKind.REEMBED_PROJECT, RequestKey("ReembedProject", "", "model"))
    assert await worked(recalld, operation) is OperationState.SUCCEEDED
    assert await standing(recalld) == (2, "german", "")
    assert await found(recalld, "Haus") == [id]
    await change(recalld, "german")
    assert await standing(recalld) == (2, "german", "")
    await change(recalld, "")
    _, _, operation = await standing(recalld)
    assert await worked(recalld, operation) is OperationState.SUCCEEDED
    assert await standing(recalld) == (3, "english", "")


async def test_a_cancelled_change_is_made_up_for_by_the_next_rebuild(recalld: Recalld) -> None:
    await change(recalld, "german")
    _, _, operation = await standing(recalld)
    await recalld.operations.cancel(HERE, operation)
    assert await standing(recalld) == (1, "english", "")
    again = await recalld.operations.start(HERE, OperationKind.REBUILD_INDEX, RequestKey("RebuildIndex", "", ""))
    assert await worked(recalld, again.id) is OperationState.SUCCEEDED
    assert await standing(recalld) == (2, "german", "")
