"""The collections: one for each generation, with a tenant for each project."""

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

SCHEMA = 3  # raise it with any change to the properties, the tokens or the tags: new collections are then filled
PREFIX = "Recalld"
PLAIN = re.compile(r"[A-Za-z0-9_-]{1,64}")
ENCODED = "x-"
# Replicas that missed a change catch up: since 1.38 it is on wherever there are several. This is how often they look.
ASYNC_REPLICATION = Configure.Replication.async_config(
    frequency=2000, frequency_while_propagating=500, propagation_delay=1000
)


def collection(generation: Generation, ledger: str = "") -> str:
    """The name of the collection of a ledger's generation. Ledgers that share an engine must not share one: each would
    take what the other put there for its own, and drop it."""
    return f"{PREFIX}{SCHEMA}{family(ledger)}{digest(generation.name)}"


def family(ledger: str) -> str:
    """What stands in the name of every collection of a ledger, of whatever schema."""
    return f"_{ledger}_" if ledger else "_"


def tenant(project: str) -> str:
    """The project itself where Weaviate allows it as a name, else a digest under a prefix no other tenant has."""
    if PLAIN.fullmatch(project) and not project.startswith(ENCODED):
        return project
    return ENCODED + digest(project)


async def holds(driver: WeaviateAsyncClient, name: str, project: str) -> bool:
    """Whether a collection has a tenant for a project, as the leader of the cluster knows it."""
    return await driver.collections.exists(name) and await driver.collections.use(name).tenants.exists(tenant(project))


async def begin(driver: WeaviateAsyncClient, name: str, project: str) -> None:
    """Make the tenant of a project in a collection; one that is there stays as it is."""
    await driver.collections.use(name).tenants.create([tenant(project)])


async def ensure(driver: WeaviateAsyncClient, name: str, generation: Generation, replication: int) -> None:
    """Make the collection of a generation unless it is there."""
    if await driver.collections.exists(name):
        return
    try:
        await driver.collections.create(
            name,
            description=f"recalld, generation {generation.name}",
            multi_tenancy_config=Configure.multi_tenancy(
                # A tenant that vanished would be made again, empty but for the next put, and nobody would notice.
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
        if not await driver.collections.exists(name):  # or another server was quicker
            raise


def _properties() -> list[Property]:
    """What an object holds; see `objects.py`. Nothing is indexed but what is asked for."""
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
