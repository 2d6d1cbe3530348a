"""Tenants and collections of Weaviate: made once, and never again for a project that has lost its own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.contract.index_suite import FIRST, HERE, both, entry, found, ids, kept
from tests.contract.own_weaviate import own_client, own_index
from tests.weaviate_node import Node

from recalld_server.adapters.index.weaviate import schema
from recalld_server.adapters.index.weaviate.client import Client
from recalld_server.domain.errors import IndexLost
from recalld_server.domain.memory import Access
from recalld_server.ports.index import Index

pytestmark = pytest.mark.needs_weaviate


@pytest.fixture
async def index(weaviate: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Index]:
    """An index nobody else uses: the collections of each test have names of their own."""
    async with own_index(weaviate, monkeypatch) as index:
        yield index


@pytest.fixture
async def client(weaviate: Node) -> AsyncIterator[Client]:
    async with own_client(weaviate) as client:
        yield client


async def test_a_collection_that_vanished_is_made_again(index: Index, client: Client) -> None:
    """An engine that lost its data would refuse all writes of a server that took the collection for made."""
    await index.apply("project", FIRST, [entry("m", 1)], [], 1)
    await client.call(lambda driver: driver.collections.delete(schema.collection(FIRST)), 10)
    assert (await kept(index), await index.mark("project", FIRST)) == ([], 0)
    await index.apply("project", FIRST, [], ["m"], 1)
    await index.apply("project", FIRST, [entry("m", 1)], [], 2)
    assert (await found(index, both()), await index.mark("project", FIRST)) == ({"m"}, 2)


async def test_a_tenant_that_vanished_is_not_made_again_for_the_next_put(index: Index, client: Client) -> None:
    """Else a project would have that one entry, and a mark that vouches for all the others."""
    await index.apply("project", FIRST, [entry("m", 1)], [], 5)
    await index.apply("elsewhere", FIRST, [entry("m", 1)], [], 5)
    used = (schema.collection(FIRST), [schema.tenant("project")])
    await client.call(lambda driver: driver.collections.use(used[0]).tenants.remove(used[1]), 10)
    with pytest.raises(IndexLost):
        await index.apply("project", FIRST, [entry("n", 1)], [], 6)
    await index.apply("project", FIRST, [], ["m"], 6)  # there is nothing to delete
    got = await index.nominate(HERE, FIRST, both(), 10)
    assert (ids(got.keyword), ids(got.vector), got.absent) == ([], [], True)
    assert not (await index.nominate(Access("elsewhere"), FIRST, both(), 10)).absent
    assert await index.mark("project", FIRST) == 0  # whoever was told begins anew
    await index.apply("project", FIRST, [entry("m", 1), entry("n", 1)], [], 6)
    assert (await found(index, both()), await index.mark("project", FIRST)) == ({"m", "n"}, 6)


async def test_two_first_writers_of_a_project_lose_nothing(index: Index, monkeypatch: pytest.MonkeyPatch) -> None:
    """One learns that there is no tenant, and hears it only when the other has made it and set the mark."""
    holds, asked, written = schema.holds, asyncio.Event(), asyncio.Event()

    async def late(*given: Any) -> bool:
        first, _ = not asked.is_set(), asked.set()
        found = await holds(*given)
        if first:
            await written.wait()
        return found

    monkeypatch.setattr(schema, "holds", late)
    slow = asyncio.create_task(index.apply("project", FIRST, [entry("m", 1)], [], 1))
    await asked.wait()
    await index.apply("project", FIRST, [entry("n", 1)], [], 2)
    written.set()
    await slow
    assert await found(index, both()) == {"m", "n"}
