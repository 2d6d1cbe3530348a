"""The largest filter that is sent to Weaviate."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from tests.contract.index_suite import FIRST, HERE, both, entry, ids
from tests.contract.own_weaviate import own_index
from tests.weaviate_node import Node

from recalld_server.domain.filters import MAX_VALUES, AnyOf, Comparison, Instant, NoneOf, Operator, violations
from recalld_server.ports.index import Index

pytestmark = pytest.mark.needs_weaviate


@pytest.fixture
async def index(weaviate: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Index]:
    """An index nobody else uses."""
    async with own_index(weaviate, monkeypatch) as index:
        yield index


@pytest.mark.parametrize("field", ["metadata.name", "categories", "user_id", "id", "create_time"])
@pytest.mark.parametrize("negated", [False, True])
async def test_the_largest_filter_is_answered(index: Index, field: str, negated: bool) -> None:
    stored = [entry(f"m{n}", 1, metadata={"name": f"{n}"}, categories=(f"{n}",), create_time=n) for n in range(300)]
    await index.apply(HERE.project, FIRST, stored, [], 1)
    lists = AnyOf(tuple(_lists(field, MAX_VALUES)))
    wanted = NoneOf(lists) if negated else lists
    assert not violations(wanted)
    nominated = await index.nominate(HERE, FIRST, both(condition=wanted), 1000)
    named = {f"m{n}" for n in range(300) if field != "user_id" and n >= 100}
    expected = {f"m{n}" for n in range(300)} - named if negated else named
    assert set(ids(nominated.keyword)) == set(ids(nominated.vector)) == expected


def _lists(field: str, count: int) -> Iterator[Comparison]:
    """Lists of 1,000 values, from 100 on."""
    for first in range(100, 100 + count, 1000):
        numbers = range(first, first + 1000)
        prefix = "m" if field == "id" else ""
        values = tuple(Instant(n) if field == "create_time" else f"{prefix}{n}" for n in numbers)
        yield Comparison(field, Operator.IN, values)
