"""Many small projects on one PostgreSQL and one Weaviate: each works and sees only its own memories."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import pytest
from tests import profiles
from tests.congruence.small_world import HashEmbedder, OwnClock, opened
from tests.weaviate_node import Node

from recalld_server.adapters.index.weaviate import schema
from recalld_server.domain.commands import ExportCommand, Format
from recalld_server.domain.exports import ExportState
from recalld_server.domain.filters import Comparison, Operator
from recalld_server.domain.memory import Access, Memory, Scope
from recalld_server.domain.ranking import Mode
from recalld_server.domain.revision import ListQuery, RequestKey
from recalld_server.usecases.imports import ImportedMemory
from recalld_server.usecases.search.results import SearchQuery
from recalld_server.wiring.parts import Recalld

pytestmark = [pytest.mark.needs_postgres, pytest.mark.needs_weaviate]

MEMORIES = 10
AT_ONCE = 16
ANN = Scope(user_id="ann")


@pytest.fixture
async def recalld(
    weaviate: Node, postgres_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Recalld]:
    monkeypatch.setattr(schema, "PREFIX", "Tenants")
    recalld = await opened(tmp_path, OwnClock(), postgres_url, weaviate.url)
    working = asyncio.create_task(recalld.worker.run())
    yield recalld
    working.cancel()
    await asyncio.wait([working])
    await recalld.close()


async def lived(recalld: Recalld, project: str) -> None:
    """Memories with the ids, users, vectors and nearly the words of every other project's."""
    access = Access(project, principal="key")
    await recalld.ledger.ensure_project(project, await recalld.ledger.generation("default"))
    await recalld.projection.catch_up(project)
    items = [
        ImportedMemory(
            Memory(f"m{number}", f"{project} keeps hat {number}", ANN, {"of": project}),
            np.eye(HashEmbedder.dimension, dtype=np.float32)[number % HashEmbedder.dimension],
            HashEmbedder.model,
        )
        for number in range(MEMORIES)
    ]
    imported = await recalld.imports.batch(access, items)
    assert (imported.stored, imported.applied) == (MEMORIES, True)


async def asked(recalld: Recalld, project: str, other: str) -> None:
    """Its own memories, all of them, and nothing else in whatever way it is asked."""
    access = Access(project, principal="key")
    own = {f"{project} keeps hat {number}" for number in range(MEMORIES)}
    page = await recalld.queries.list(access, ListQuery(count=True))
    assert ({memory.text for memory in page.memories}, page.total) == (own, MEMORIES)
    for mode in (Mode.HYBRID, Mode.VECTOR, Mode.KEYWORD):
        query = SearchQuery(f"{other} keeps a hat", ANN, limit=1000, mode=mode)
        ranked = await recalld.search.rank(access, query)
        assert {hit.memory.text async for hit in recalld.search.hits(access, ranked, query)} == own, mode
    stranger = SearchQuery("hat", ANN, Comparison("metadata.of", Operator.EQ, other), limit=1000)
    assert (await recalld.search.rank(access, stranger)).hits == []
    rows = [json.loads(line) for line in (await exported(recalld, access)).splitlines()]
    assert sorted(row["memory"] for row in rows) == sorted(own)


async def exported(recalld: Recalld, access: Access) -> bytes:
    """The whole file of an export of the project's user."""
    asked = ExportCommand(ANN, None, Format.JSONL)
    started = await recalld.exports.start(access, asked, RequestKey("CreateExport", "once", "f"))
    async with asyncio.timeout(30):
        while (export := await recalld.exports.get(access, started.subject)).state is not ExportState.READY:  # noqa: ASYNC110 - as callers do
            await asyncio.sleep(0.05)
    return b"".join([piece.data async for piece in recalld.exports.read(access, export.id, 0)])


@pytest.mark.timeout(1200)
async def test_no_project_shows_anothers(recalld: Recalld) -> None:
    count = profiles.chosen().tenants
    projects = [f"tenant{number:04}" for number in range(count)]
    turns = asyncio.Semaphore(AT_ONCE)

    async def live(number: int) -> None:
        async with turns:
            await lived(recalld, projects[number])

    async def ask(number: int) -> None:
        async with turns:
            await asked(recalld, projects[number], projects[number - 1])

    for each in (live, ask):
        await asyncio.gather(*(each(number) for number in range(count)))
