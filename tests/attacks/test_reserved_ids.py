"""A caller uses ids that are reserved internally: memories are stored and found, also after a restart."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from tests.congruence.small_world import HashEmbedder, OwnClock, opened

from recalld_server.domain.memory import Access, Memory, Scope
from recalld_server.usecases.imports import ImportedMemory
from recalld_server.usecases.search.results import SearchQuery
from recalld_server.wiring.parts import Recalld

ELSEWHERE = [pytest.mark.needs_postgres, pytest.mark.needs_weaviate]
HERE, ANN = Access("default", principal="key"), Scope(user_id="ann")
MARK = "7b1b5ed0-1e30-58e8-ac01-de0bcc926531"  # uuid5(NAMESPACE_URL, "recalld:mark")
IDS = [MARK, "plain", "1a7e1ce7-1d3c-5a4f-9f0e-0d4f0f6f9a11", "default", "embedded", "~" + 32 * "0", "x-default"]


@pytest.fixture(params=["embedded", pytest.param("elsewhere", marks=ELSEWHERE)])
def engines(request: pytest.FixtureRequest) -> Sequence[str]:
    if request.param == "embedded":
        return ()
    return (request.getfixturevalue("postgres_url"), request.getfixturevalue("weaviate").url)


async def found(recalld: Recalld) -> set[str]:
    ranked = await recalld.search.rank(HERE, SearchQuery("keeps a hat", ANN, limit=50))
    return {place.id for place in ranked.hits}


async def test_ids_of_ours_are_kept_and_found(tmp_path: Path, engines: Sequence[str]) -> None:
    clock = OwnClock()
    recalld = await opened(tmp_path, clock, *engines)
    try:
        await recalld.projector._round()
        vector = np.eye(HashEmbedder.dimension, dtype=np.float32)
        items = [
            ImportedMemory(Memory(id, f"Keeps hat {at}", ANN), vector[at], HashEmbedder.model)
            for at, id in enumerate(IDS)
        ]
        imported = await recalld.imports.batch(HERE, items)
        assert (imported.stored, imported.applied) == (len(IDS), True)
        assert await found(recalld) == set(IDS)
    finally:
        await recalld.close()
    recalld = await opened(tmp_path, clock, *engines)
    try:
        await recalld.projector._round()
        assert (await recalld.readiness.look()).searches
        assert await found(recalld) == set(IDS)
        report = await recalld.index_audit.examine("default")
        assert (report.wrong, report.pending, report.live) == (0, 0, len(IDS))
    finally:
        await recalld.close()
