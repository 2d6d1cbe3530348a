"""Tenants of idle projects are offloaded in Weaviate and loaded again on the next use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from tests.contract.index_suite import FIRST, HERE, both, entry, found, kept
from tests.contract.own_weaviate import own_index
from tests.weaviate_node import Node

from recalld_server.adapters.index.weaviate import schema, tenant_offload
from recalld_server.adapters.index.weaviate.store import WeaviateIndex

pytestmark = pytest.mark.needs_weaviate

THERE = replace(HERE, project="other")


@pytest.fixture
async def index(weaviate: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WeaviateIndex]:
    async with own_index(weaviate, monkeypatch) as index:
        for access in (HERE, THERE):
            await index.apply(access.project, FIRST, [entry("a", 1), entry("b", 1)], [], 1)
        yield index
        await index._client.call(lambda driver: driver.collections.delete(schema.collection(FIRST)), 10)


async def active(index: WeaviateIndex) -> set[str]:
    """Tenants that cost something now."""
    name = schema.collection(FIRST)
    tenants = await index._client.call(lambda driver: driver.collections.use(name).tenants.get(), 10)
    return {
        name for name, tenant in tenants.items() if tenant.activity_status is tenant_offload.TenantActivityStatus.ACTIVE
    }


async def test_every_use_brings_a_resting_project_back(index: WeaviateIndex) -> None:
    uses = {
        "search": lambda: found(index, both()),
        "compare": lambda: kept(index),
        "mark": lambda: index.mark(HERE.project, FIRST),
        "put": lambda: index.apply(HERE.project, FIRST, [entry("a", 1)], [], 2),
        "delete": lambda: index.apply(HERE.project, FIRST, [], ["c"], 2),
        "remaining": lambda: index.remaining(HERE.project, ["c"]),
    }
    assert await active(index) == {HERE.project, THERE.project}
    assert await index._idle.rest(60) == 0
    assert await index._idle.rest(0) == 2
    for name, use in uses.items():
        assert await active(index) == set(), name
        await use()
        assert await active(index) >= {HERE.project}, name
        await index._idle.rest(0)
    assert await found(index, both()) == {"a", "b"}


async def test_only_the_idle_rest_and_only_once(index: WeaviateIndex) -> None:
    await asyncio.sleep(0.2)
    await index.mark(THERE.project, FIRST)
    assert await index._idle.rest(0.15) == 1
    assert await active(index) == {THERE.project}
    another = WeaviateIndex(index._client.address)
    assert await another.mark(HERE.project, FIRST) == 1
    assert await index._idle.rest(0) == 1  # the other server's is its own to rest
    assert await active(index) == {HERE.project}
    await another.close()


async def test_what_is_gone_keeps_nothing_from_resting(index: WeaviateIndex) -> None:
    other = replace(FIRST, model="gone")
    await index.apply(HERE.project, other, [entry("a", 1)], [], 1)
    await index._client.call(lambda driver: driver.collections.delete(schema.collection(other)), 10)
    await index.mark(HERE.project, other)
    await index.drop(HERE.project, FIRST)
    await index.mark(THERE.project, FIRST)
    assert await index._idle.rest(0) == 1
    assert await active(index) == set()


async def test_it_happens_by_itself(index: WeaviateIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tenant_offload, "PAUSE", 0.05)
    monkeypatch.setattr(tenant_offload.TenantOffload.rest, "__defaults__", (0.1,))
    another = WeaviateIndex(index._client.address)
    await another.mark(HERE.project, FIRST)
    async with asyncio.timeout(10):
        while HERE.project in await active(index):  # noqa: ASYNC110 - the engine tells nobody
            await asyncio.sleep(0.05)
    await another.close()
