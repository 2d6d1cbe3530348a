"""Every store selects what the reference implementation (`domain.filters.matches`) says, for random filters.

A store is any object with `select`. To test another engine or other tables, add it to STORES.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from typing import Any, Protocol

import pytest
import sqlean
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import BigInteger, Column, Engine, Float, Index, MetaData, Table, Text, create_engine, insert, select
from tests.congruence.index_store import IndexStore
from tests.profiles import examples

from recalld_server.adapters.sql.filters import FilterCompiler, facets
from recalld_server.domain.filters import (
    METADATA,
    OPERATORS,
    OPTIONAL_TIMES,
    ORDER,
    SUBSTRING,
    TIME_FIELDS,
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Instant,
    NoneOf,
    Operator,
    kind_of,
    matches,
    scalars,
    violations,
)
from recalld_server.domain.folding import fold, loose
from recalld_server.domain.memory import SCOPE_FIELDS, Memory, Scope


class Store(Protocol):
    """Holds the memories of one example at a time."""

    def select(self, memories: Sequence[Memory], conditions: Sequence[Filter]) -> list[set[str]]:
        """The ids each condition selects when these memories, and no others, are stored."""
        ...

    def close(self) -> None: ...


class PlainTables:
    """The least tables the compiler needs, on any SQLAlchemy engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        schema = MetaData()
        texts = [Column(name, Text, nullable=False) for name in (*SCOPE_FIELDS, "text", "folded")]
        times = [Column(name, BigInteger, nullable=name in OPTIONAL_TIMES) for name in TIME_FIELDS]
        self._memories = Table("memories", schema, Column("id", Text, primary_key=True), *texts, *times)
        self._facets = Table(
            "facets",
            schema,
            Column("memory_id", Text, nullable=False),
            Column("key", Text, nullable=False),
            Column("kind", Text, nullable=False),
            Column("text", Text),
            Column("folded", Text),
            Column("number", Float(53)),
            Index("facets_by_memory", "memory_id", "key"),
        )
        schema.create_all(engine)
        join = self._facets.c.memory_id == self._memories.c.id
        self._compiler = FilterCompiler(dict(self._memories.c.items()), self._facets, join)

    def select(self, memories: Sequence[Memory], conditions: Sequence[Filter]) -> list[set[str]]:
        rows = [
            {"id": memory.id, "text": memory.text, "folded": loose(memory.text)}
            | {name: getattr(memory.scope, name) for name in SCOPE_FIELDS}
            | {name: getattr(memory, name) for name in TIME_FIELDS}
            for memory in memories
        ]
        children = [{"memory_id": memory.id, **asdict(facet)} for memory in memories for facet in facets(memory)]
        with self._engine.connect() as connection:
            connection.execute(insert(self._memories), rows)
            if children:
                connection.execute(insert(self._facets), children)
            ids = select(self._memories.c.id)
            return [set(connection.scalars(ids.where(self._compiler.compile(item)))) for item in conditions]

    def close(self) -> None:
        self._engine.dispose()


def sqlite(_: pytest.FixtureRequest) -> Iterator[Store]:
    store = PlainTables(create_engine("sqlite://", module=sqlean.dbapi2))
    yield store
    store.close()


def postgres(request: pytest.FixtureRequest) -> Iterator[Store]:
    server = request.getfixturevalue("postgres")
    with server.database() as url:
        store = PlainTables(create_engine(url.replace("postgresql", "postgresql+psycopg")))
        yield store
        store.close()


def weaviate(request: pytest.FixtureRequest) -> Iterator[Store]:
    store = IndexStore(request.getfixturevalue("weaviate").url)
    yield store
    store.close()


STORES: dict[str, Callable[[pytest.FixtureRequest], Iterator[Store]]] = {
    "sqlite": sqlite,
    "postgres": postgres,
    "weaviate": weaviate,
}
ELSEWHERE = {"postgres": pytest.mark.needs_postgres, "weaviate": pytest.mark.needs_weaviate}


@pytest.fixture(scope="module", params=[pytest.param(name, marks=ELSEWHERE.get(name, ())) for name in STORES])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    yield from STORES[request.param](request)


# Pieces that meet in case pairs, width, composition, wildcards, quoting and the order of code points.
ATOMS = ("a", "A", "ß", "SS", "ss", "İ", "i\u0307", "i", "ﬀ", "FF", "é", "e\u0301", "\uff21", "\uffff", "\U00010000")
MARKS = ("%", "_", "'", '"', ".", "\\", " ", "*", "ς", "Σ", "한", "1")
KEYS = ("k", "K", "a.b", "q\"'k", "100%", "_", "ключ", "categories", "metadata.k", "e\u0301", "é", "text", "\\")
FIRST, LAST = -62_135_596_800_000_000, 253_402_300_799_999_999  # the years 1 to 9999 in µs
IDS = ("m1", "M1", "m'1", "é", "e\u0301", "m%", "\uff4d1", "\U00010000")
NUMBERS = (0, -0.0, 1, 1.0, -1, 0.1, 2, 2**53, -(2**53), 1e300, 5e-324, -0.5)

texts = st.one_of(
    st.lists(st.sampled_from(ATOMS + MARKS), max_size=4).map("".join),
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6),
)
numbers = st.one_of(
    st.sampled_from(NUMBERS),
    st.integers(-(2**53), 2**53),
    st.floats(allow_nan=False, allow_infinity=False),
)
atoms = st.one_of(texts, numbers, st.booleans())
metadata_values = st.one_of(
    atoms,
    st.none(),
    st.lists(st.one_of(atoms, st.none(), st.just(["a"]), st.just({"k": "a"})), max_size=4),
    st.dictionaries(st.sampled_from(KEYS), atoms, max_size=2),
)
times = st.integers(0, 4) | st.integers(FIRST, LAST)


@st.composite
def memories(draw: st.DrawFn) -> list[Memory]:
    ids = st.lists(st.sampled_from(IDS), min_size=2, max_size=6, unique=True)
    keys = draw(st.lists(st.sampled_from(KEYS), min_size=1, max_size=3, unique=True))
    return [
        Memory(
            id=name,
            text=draw(texts),
            scope=Scope(*(draw(st.sampled_from(("", *IDS[:4]))) for _ in SCOPE_FIELDS)),
            metadata={key: draw(metadata_values) for key in keys if draw(st.integers(0, 3))},
            categories=tuple(draw(st.lists(texts, max_size=3))),
            create_time=draw(times),
            update_time=draw(times),
            **{name: draw(st.none() | times) for name in OPTIONAL_TIMES},
        )
        for name in draw(ids)
    ]


def present(field: str, held: Sequence[Memory]) -> list[Any]:
    """What the memories hold under a field: the values a filter asks for in half of the cases."""
    if field.startswith(METADATA):
        return [value for memory in held for value in scalars(memory.metadata.get(field.removeprefix(METADATA)))]
    if field == "categories":
        return [category for memory in held for category in memory.categories]
    owners: list[Any] = [memory.scope if field in SCOPE_FIELDS else memory for memory in held]
    return [value for owner in owners if (value := getattr(owner, field)) not in (None, "")]


@st.composite
def comparisons(draw: st.DrawFn, held: Sequence[Memory]) -> Comparison:
    used = sorted({METADATA + key for memory in held for key in memory.metadata})
    field = draw(st.sampled_from((*OPERATORS, *used, *used, METADATA + "k")))
    operator = draw(st.sampled_from(OPERATORS.get(field, tuple(Operator))))
    if operator is Operator.EXISTS:
        return Comparison(field, operator, draw(st.booleans()))
    here = present(field, held)
    fresh: st.SearchStrategy[Any] = texts
    if field in TIME_FIELDS:
        fresh = times.map(Instant)
        here = [Instant(moment + step) for moment in here for step in (-1, 0, 1) if FIRST <= moment + step <= LAST]
    elif field.startswith(METADATA):
        kinds = ("string",) if operator in SUBSTRING else ("string", "number", *["bool"] * (operator not in ORDER))
        fresh = atoms.filter(lambda value: kind_of(value) in kinds)
        here = [value for value in here if kind_of(value) in kinds]
        here += [int(value) for value in here if kind_of(value) == "number" and float(value).is_integer()]
        here = [value for value in here if not isinstance(value, int) or abs(value) <= 2**53]
    elif field != "text" and field != "categories":
        fresh = st.sampled_from(IDS)
    values = st.one_of(st.sampled_from(here), fresh) if here else fresh
    if operator is Operator.IN:
        return Comparison(field, operator, tuple(draw(st.lists(values, min_size=1, max_size=4))))
    value = draw(values)
    if operator in SUBSTRING and value:
        start = draw(st.integers(0, len(value) - 1))
        value = value[start : draw(st.integers(start, len(value)))]
        if operator is Operator.ICONTAINS:
            value = draw(st.sampled_from((value, value.upper(), value.lower(), fold(value), loose(value))))
    return Comparison(field, operator, value)


def conditions(held: Sequence[Memory]) -> st.SearchStrategy[Filter]:
    return st.recursive(
        comparisons(held),
        lambda inner: st.one_of(
            st.lists(inner, max_size=3).map(lambda items: AllOf(tuple(items))),
            st.lists(inner, max_size=3).map(lambda items: AnyOf(tuple(items))),
            inner.map(NoneOf),
        ),
        max_leaves=6,
    ).filter(lambda condition: not violations(condition))  # st.recursive bounds leaves, not depth


@st.composite
def cases(draw: st.DrawFn) -> tuple[list[Memory], list[Filter]]:
    held = draw(memories())
    return held, draw(st.lists(conditions(held), min_size=1, max_size=8))


def lawful(held: Sequence[Memory], condition: Filter) -> set[str]:
    return {memory.id for memory in held if matches(condition, memory)}


@settings(max_examples=examples(100), deadline=None)
@given(case=cases())
def test_a_store_selects_what_the_law_says(store: Store, case: tuple[list[Memory], list[Filter]]) -> None:
    held, wanted = case
    for condition, selected in zip(wanted, store.select(held, wanted), strict=True):
        assert selected == lawful(held, condition), condition


def test_the_cases_reach_both_outcomes_of_every_operator_and_field() -> None:
    seen: Counter[tuple[str, bool]] = Counter()

    def leaves(condition: Filter) -> Iterator[Comparison]:
        if isinstance(condition, Comparison):
            yield condition
        else:
            for inner in (condition.filter,) if isinstance(condition, NoneOf) else condition.filters:
                yield from leaves(inner)

    @settings(max_examples=400, deadline=None, derandomize=True, database=None)
    @given(cases())
    def count(case: tuple[list[Memory], list[Filter]]) -> None:
        held, wanted = case
        for leaf in (leaf for condition in wanted for leaf in leaves(condition)):
            name = METADATA if leaf.field.startswith(METADATA) else leaf.field
            for memory in held:
                outcome = matches(leaf, memory)
                seen.update([(leaf.operator.value, outcome), (name, outcome)])

    count()
    for name in (*(operator.value for operator in Operator), *OPERATORS, METADATA):
        share = seen[name, True] / (seen[name, True] + seen[name, False])
        assert 0.05 < share < 0.95, (name, share)


def test_the_largest_filter_the_law_allows(store: Store) -> None:
    fixed: Any = {"text": "x", "scope": Scope("u"), "categories": ("c",), "create_time": 1, "update_time": 1}
    held = [Memory(id=f"m{n}", metadata={"n": n}, **fixed) for n in range(20)]
    many = Comparison("metadata.n", Operator.IN, (*range(10, 800), *(f"s{n}" for n in range(210))))
    deep: Filter = AnyOf((many, *(Comparison("metadata.n", Operator.EQ, n) for n in range(100, 198))))
    for _ in range(4):
        deep = NoneOf(deep)
    widest = AllOf((AllOf((deep,)), *(Comparison("categories", Operator.ICONTAINS, "C") for _ in range(101))))
    assert violations(widest) == []
    assert store.select(held, [widest, AllOf(()), AnyOf(()), NoneOf(AllOf(())), NoneOf(AnyOf(()))]) == [
        {f"m{n}" for n in range(10, 20)},
        {memory.id for memory in held},
        set(),
        set(),
        {memory.id for memory in held},
    ]
