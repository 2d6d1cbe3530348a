"""The Weaviate index keeps the contract, and stays clear of the engine's traps."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from tests.contract.index_suite import IndexSuite
from tests.weaviate_node import Node

from recalld_server.adapters.index.weaviate.client import Address
from recalld_server.adapters.index.weaviate.store import WeaviateIndex
from recalld_server.domain.memory import digest
from recalld_server.ports.index import Index

pytestmark = pytest.mark.needs_weaviate


@pytest.fixture
async def index(weaviate: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Index]:
    """An index nobody else uses: the collections of each test have names of their own."""
    monkeypatch.setattr("recalld_server.adapters.index.weaviate.schema.PREFIX", f"T{digest(str(uuid4()))[:8]}x")
    index = WeaviateIndex(Address.parse(weaviate.url))
    yield index
    await index.close()


class TestWeaviateIndex(IndexSuite):
    """On one node."""
