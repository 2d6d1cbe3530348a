"""An index on the common Weaviate that no other test sees."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import uuid4

import pytest
from tests.weaviate_node import Node

from recalld_server.adapters.index.weaviate import schema
from recalld_server.adapters.index.weaviate.client import Address, Client
from recalld_server.adapters.index.weaviate.store import WeaviateIndex
from recalld_server.domain.memory import digest


@asynccontextmanager
async def own_index(node: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[WeaviateIndex]:
    """Its collections have names of their own while the test runs."""
    monkeypatch.setattr(schema, "PREFIX", f"T{digest(str(uuid4()))[:8]}x")
    index = WeaviateIndex(Address.parse(node.url))
    yield index
    await index.close()


@asynccontextmanager
async def own_client(node: Node) -> AsyncIterator[Client]:
    """A connection beside that of the index."""
    client = Client(Address.parse(node.url))
    yield client
    await client.close()
