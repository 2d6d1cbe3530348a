"""The largest valid filters give correct results, at a cost linear in their length."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from tests.contract.ledger_world import HERE, START, added, write

from recalld_server.domain.filters import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Instant,
    NoneOf,
    Operator,
    Scalar,
    matches,
    violations,
)
from recalld_server.domain.memory import Memory, Scope
from recalld_server.domain.revision import ListQuery
from recalld_server.ports.ledger import Ledger

LEAVES, VALUES = 100, 100  # of a filter and of a list: 10,000 values, as many as the API allows
ODD = 0.1 + 0.2  # a number that decimals of fewer digits than seventeen do not tell


def texts(leaf: int) -> tuple[Scalar, ...]:
    return tuple(f"{leaf}-{n}" for n in range(VALUES))


def numbers(leaf: int) -> tuple[Scalar, ...]:
    return (*((leaf * VALUES + n) / 7 for n in range(VALUES - 1)), ODD)


def whole(leaf: int) -> tuple[Scalar, ...]:
    return tuple(leaf * VALUES + n for n in range(VALUES))


def moments(leaf: int) -> tuple[Scalar, ...]:
    return tuple(Instant(START + leaf * VALUES + n - 1) for n in range(VALUES))


LISTS: dict[str, tuple[str, Callable[[int], tuple[Scalar, ...]]]] = {
    "metadata texts": ("metadata.name", texts),
    "metadata numbers": ("metadata.size", numbers),
    "metadata integers": ("metadata.count", whole),
    "categories": ("categories", texts),
    "times": ("create_time", moments),
    "ids": ("id", texts),
    "users": ("user_id", texts),
}


def large(field: str, values: Callable[[int], tuple[Scalar, ...]]) -> Filter:
    return AnyOf(tuple(Comparison(field, Operator.IN, values(leaf)) for leaf in range(LEAVES)))


class LargeFilters:
    """Of filters that hold 10,000 values."""

    @pytest.mark.parametrize("kind", LISTS)
    async def test_a_large_filter_finds_what_it_names(self, ledger: Ledger, kind: str) -> None:
        field, values = LISTS[kind]
        last = values(LEAVES - 1)
        fields = {
            "metadata texts": {"metadata": {"name": last[-1]}},
            "metadata numbers": {"metadata": {"size": ODD}},
            "metadata integers": {"metadata": {"count": last[-1]}},
            "categories": {"categories": (str(last[-1]),)},
            "users": {"scope": Scope(user_id=str(last[-1]))},
        }.get(kind, {})
        named = str(last[-1])
        wanted = added(named if kind == "ids" else "wanted", **fields)
        await write(ledger, wanted, added("other", scope=Scope(agent_id="nobody"), create_time=START - 10))
        asked = large(field, values)
        assert not violations(asked)
        stored = (await self.in_list(ledger, None)).values()
        for condition in (asked, NoneOf(asked), AllOf((asked, NoneOf(NoneOf(asked))))):
            found = await self.in_list(ledger, condition)
            assert set(found) == {memory.id for memory in stored if matches(condition, memory)}
        assert len(await self.in_list(ledger, asked)) == 1

    @pytest.mark.parametrize("kind", LISTS)
    async def test_its_cost_grows_as_it_does(self, ledger: Ledger, kind: str) -> None:
        """Ten times the values: less than forty times the time, where n² would need a hundred times."""
        field, values = LISTS[kind]
        await write(ledger, *(added(f"m{n}", metadata={"name": str(n), "size": n, "count": n}) for n in range(50)))

        async def took(leaves: int) -> float:
            condition = AnyOf(tuple(Comparison(field, Operator.IN, values(leaf)) for leaf in range(leaves)))
            best = 60.0
            for _ in range(3):
                begun = time.perf_counter()
                await self.in_list(ledger, condition)
                best = min(best, time.perf_counter() - begun)
            return best

        await took(1)
        assert await took(100) < max(40 * await took(10), 0.5)

    async def in_list(self, ledger: Ledger, condition: Filter | None) -> dict[str, Memory]:
        found = await ledger.page(HERE, ListQuery(filter=condition, now=START))
        return {memory.id: memory for memory in found.memories}
