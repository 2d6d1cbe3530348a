"""Three Weaviate nodes with three replicas: one of them may be killed at any time."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import suppress

import pytest
from tests.contract.index_suite import FIRST, HERE, both, entry, found, kept
from tests.weaviate_node import Node, cluster

from recalld_server.adapters.index.weaviate.client import Address
from recalld_server.adapters.index.weaviate.store import WeaviateIndex
from recalld_server.domain.errors import IndexUnavailable
from recalld_server.domain.revision import IndexEntry

pytestmark = pytest.mark.needs_weaviate

CAUGHT_UP = 60  # seconds for a node that was away to have what it missed, on a busy machine


@pytest.fixture(scope="module")
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sequence[Node]]:
    with cluster(tmp_path_factory.mktemp("weaviate")) as nodes:
        yield nodes


@pytest.fixture
async def indexes(nodes: Sequence[Node]) -> AsyncIterator[list[WeaviateIndex]]:
    """One for each node."""
    indexes = [WeaviateIndex(Address.parse(f"{node.url}&replication=3")) for node in nodes]
    yield indexes
    for index in indexes:
        await index.close()


async def shows(index: WeaviateIndex, wanted: set[str], seconds: float) -> None:
    """Until both legs of a node find exactly these."""
    until = time.monotonic() + seconds
    while True:
        nominated = await index.nominate(HERE, FIRST, both(), 1000)
        legs = [{memory_id for memory_id, _ in leg} for leg in (nominated.keyword, nominated.vector)]
        if legs == [wanted, wanted]:
            return
        assert time.monotonic() < until, [(len(leg - wanted), len(wanted - leg)) for leg in legs]
        await asyncio.sleep(0.2)


async def whole(index: WeaviateIndex) -> int:
    """The breaks seen, once every node is healthy again."""
    until = time.monotonic() + CAUGHT_UP
    while True:
        try:
            return await index.outage_count()
        except IndexUnavailable:
            assert time.monotonic() < until, "the cluster does not become whole"
            await asyncio.sleep(0.2)


async def noticed(index: WeaviateIndex, before: int) -> None:
    """Looks until a node is not healthy, or is no longer listed."""
    until = time.monotonic() + CAUGHT_UP
    with suppress(IndexUnavailable):
        while await index.outage_count() == before:
            assert time.monotonic() < until
            await asyncio.sleep(0.2)


async def applied(index: WeaviateIndex, puts: Sequence[IndexEntry], deletes: Sequence[str], mark: int) -> None:
    """As the projector does it: again, as long as the cluster has not noticed yet which node is gone."""
    until = time.monotonic() + CAUGHT_UP
    while True:
        try:
            return await index.apply("project", FIRST, puts, deletes, mark)
        except IndexUnavailable:
            assert time.monotonic() < until


async def test_a_node_may_die_and_come_back(nodes: Sequence[Node], indexes: list[WeaviateIndex]) -> None:
    first, _, third = indexes
    await first.apply("project", FIRST, [entry(f"m{i}", 1) for i in range(100)], [], 1)
    for index in indexes:
        await shows(index, {f"m{i}" for i in range(100)}, CAUGHT_UP)
    before = await whole(first)
    nodes[2].kill()
    try:
        with pytest.raises(IndexUnavailable):  # its own link says so at once
            await third.nominate(HERE, FIRST, both(), 10)
        await applied(first, [entry(f"n{i}", 1) for i in range(50)], [f"m{i}" for i in range(20)], 2)
        wanted = {f"m{i}" for i in range(20, 100)} | {f"n{i}" for i in range(50)}
        await shows(first, wanted, CAUGHT_UP)
        assert {name for name, _ in await kept(first)} == wanted
        await noticed(first, before)  # the others do after some seconds
    finally:
        nodes[2].start()
    assert await whole(first) > before
    assert await whole(third) > 0
    # What it missed comes by itself; a vector it lost as it was killed does not, and is the reconciler's to bring back.
    await shows(first, wanted, CAUGHT_UP)
    await first.apply("project", FIRST, [], sorted(wanted), 3)
    await first.apply("project", FIRST, [entry(name, 1) for name in sorted(wanted)], [], 4)
    await shows(third, wanted, CAUGHT_UP)
    assert await found(third, both(), depth=1000) == wanted
