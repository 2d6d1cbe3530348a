"""The collections in Weaviate: one per generation, with one tenant per project."""

from __future__ import annotations

import re
from functools import partial

from weaviate import WeaviateAsyncClient
from weaviate.classes.config import (
    Configure,
    DataType,
    Property,
    StopwordsPreset,
    Tokenization,
    VectorDistances,
    VectorFilterStrategy,
)
from weaviate.exceptions import UnexpectedStatusCodeError

from recalld_server.domain.filters import TIME_FIELDS
from recalld_server.domain.memory import SCOPE_FIELDS, digest
from recalld_server.domain.revision import Generation

SCHEMA = 3  # increase it with any change to the properties, tokens or tags: new collections are then filled
PREFIX = "Recalld"
PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
ENCODED = "x-"
# How often replicas compare their state to catch up on missed changes, ms. Always on with several replicas since 1.38.
ASYNC_REPLICATION = Configure.Replication.async_config(
    frequency=2000, frequency_while_propagating=500, propagation_delay=1000
)


def collection(generation: Generation, ledger: str = "") -> str:
    """The name of the collection for a generation of a ledger.

    Ledgers that share a Weaviate must not share a collection: each would treat the entries of the other as its own and
    drop them.
    """
    return f"{PREFIX}{SCHEMA}{family(ledger)}{digest(generation.name)}"


def family(ledger: str) -> str:
    """The part of a collection's name that identifies the ledger, with any schema version."""
    return f"_{ledger}_" if ledger else "_"


def tenant(project: str) -> str:
    """The project id if Weaviate allows it as a tenant name, else its digest with a prefix that no other tenant has."""
    if PLAIN.fullmatch(project) and not project.startswith(ENCODED):
        return project
    return ENCODED + digest(project)


async def holds(driver: WeaviateAsyncClient, name: str, project: str) -> bool:
    """Whether a collection has a tenant for a project, according to the leader of the cluster."""
    return await driver.collections.exists(name) and await driver.collections.use(name).tenants.exists(tenant(project))


async def begin(driver: WeaviateAsyncClient, name: str, project: str) -> None:
    """Create the tenant of a project in a collection. An existing tenant is not changed."""
    await driver.collections.use(name).tenants.create([tenant(project)])


async def ensure(driver: WeaviateAsyncClient, name: str, generation: Generation, replication: int) -> None:
    """Create the collection of a generation unless it exists."""
    if await driver.collections.exists(name):
        return
    try:
        await driver.collections.create(
            name,
            description=f"recalld, generation {generation.name}",
            multi_tenancy_config=Configure.multi_tenancy(
                # With automatic creation, the next put would recreate a lost tenant and hide the loss.
                enabled=True,
                auto_tenant_creation=False,
                auto_tenant_activation=True,
            ),
            replication_config=Configure.replication(
                factor=replication,
                async_config=ASYNC_REPLICATION if replication > 1 else None,
            ),
            vector_config=Configure.Vectors.self_provided(
                vector_index_config=Configure.VectorIndex.hnsw(
                    distance_metric=VectorDistances.COSINE, filter_strategy=VectorFilterStrategy.ACORN
                )
            ),
            inverted_index_config=Configure.inverted_index(stopwords_preset=StopwordsPreset.NONE),
            properties=_properties(),
        )
    except UnexpectedStatusCodeError:
        if not await driver.collections.exists(name):  # if it exists now, another server has created it
            raise


def _properties() -> list[Property]:
    """The properties of an object; see `objects.py`. Only properties that queries use are indexed."""
    exact = partial(Property, index_filterable=True, index_searchable=False, tokenization=Tokenization.FIELD)
    kept = partial(Property, index_filterable=False, index_searchable=False)
    time = partial(
        Property, data_type=DataType.DATE, index_filterable=True, index_searchable=False, index_range_filters=True
    )
    return [
        Property(
            name="terms",
            data_type=DataType.TEXT,
            tokenization=Tokenization.WHITESPACE,
            index_filterable=False,
            index_searchable=True,
        ),
        *(exact(name=name, data_type=DataType.TEXT) for name in SCOPE_FIELDS),
        exact(name="tags", data_type=DataType.TEXT_ARRAY),
        *(time(name=name) for name in TIME_FIELDS),
        *(kept(name=name, data_type=DataType.TEXT) for name in ("memory", "name")),
        *(kept(name=name, data_type=DataType.INT) for name in ("revision", "mark")),
    ]
