"""The Weaviate index fulfils the contract and avoids known problems of the engine."""

from __future__ import annotations

import asyncio
import logging
import socket
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from uuid import uuid4

import numpy as np
import pytest
from tests.contract.index_suite import FIRST, HERE, IndexSuite, both, entry, found, ids, kept, query, unit
from tests.contract.own_weaviate import own_client, own_index
from tests.weaviate_node import Node, free_ports
from weaviate import WeaviateAsyncClient
from weaviate.collections.query import _FetchObjectByIDQueryAsync

from recalld_server.adapters.index.weaviate import schema
from recalld_server.adapters.index.weaviate.client import Address, Client
from recalld_server.adapters.index.weaviate.objects import FIRST as FIRST_MOMENT
from recalld_server.adapters.index.weaviate.objects import LAST as LAST_MOMENT
from recalld_server.adapters.index.weaviate.objects import MARK, key
from recalld_server.adapters.index.weaviate.store import WeaviateIndex
from recalld_server.domain.errors import EntryInvalid, IndexUnavailable, SettingMissing
from recalld_server.domain.filters import (
    FIRST_MICROS,
    LAST_MICROS,
    AllOf,
    Comparison,
    Filter,
    Instant,
    NoneOf,
    Operator,
    matches,
)
from recalld_server.domain.memory import Access, Scope
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


class TestWeaviateIndex(IndexSuite):
    """On one node."""


async def test_a_node_that_lags_behind_does_not_answer_that_there_is_nothing(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The leader knows a tenant that the node asked does not: searches, marks, deletes and comparisons say so."""

    async def holds(*_: object) -> bool:
        return True

    assert await index.mark("project", FIRST) == 0
    monkeypatch.setattr(schema, "holds", holds)
    for call in (
        index.nominate(HERE, FIRST, both(), 10),
        index.mark("project", FIRST),
        index.apply("project", FIRST, [], ["m"], 1),
        kept(index),
    ):
        with pytest.raises(IndexUnavailable):
            await call


async def test_a_node_without_the_mark_is_not_believed_while_others_have_it(
    index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A query asks one node whatever its level, so finding nothing there means little."""

    async def nothing(*_: object, **__: object) -> None:
        return None

    await index.apply("project", FIRST, [entry("m", 1)], [], 0)
    assert await index.mark("project", FIRST) == 0
    await index.apply("project", FIRST, [], [], 7)
    assert await index.mark("project", FIRST) == 7
    monkeypatch.setattr(_FetchObjectByIDQueryAsync, "fetch_object_by_id", nothing)
    with pytest.raises(IndexUnavailable):
        await index.mark("project", FIRST)


async def test_ids_of_every_form_stay_apart(index: Index) -> None:
    """An id that is a UUID names its object; whatever is not, or not in the usual form, is kept beside it."""
    plain = str(uuid4())
    names = [plain, plain.upper(), f"{{{plain}}}", plain.replace("-", ""), " a", "a", "a\u00a0", "é", "x" * 256]
    await index.apply("project", FIRST, [entry(name, 1) for name in names], [], 1)
    assert {name for name, _ in await kept(index)} == await found(index, both()) == set(names)
    wanted = Comparison("id", Operator.IN, (plain.upper(), "a"))
    assert await found(index, both(condition=wanted)) == {plain.upper(), "a"}
    await index.apply("project", FIRST, [], names[1:], 2)
    assert await kept(index) == [(plain, 1)]
    assert str(key(plain)) == plain


@pytest.mark.parametrize("projects", [("a.b", "a b", "a/b", "é"), ("p" * 64, "p" * 65, "p" * 256), ("A", "a")])
async def test_projects_of_any_name_are_tenants_of_their_own(index: Index, projects: tuple[str, ...]) -> None:
    taken = list(dict.fromkeys([*projects, *map(schema.tenant, projects)]))  # also called as the tenants of others
    for number, project in enumerate(taken):
        await index.apply(project, FIRST, [entry(f"m{number}", 1)], [], 1)
    for number, project in enumerate(taken):
        assert await found(index, both(), Access(project)) == {f"m{number}"}


async def test_an_absent_id_is_not_an_empty_one(index: Index) -> None:
    """`not_equal` and `not_` of the engine include objects that lack the property; NE includes them too."""
    await index.apply(
        "project", FIRST, [entry("none", 1, scope=Scope("u")), entry("x", 1, scope=Scope("u", "x"))], [], 1
    )
    for condition, expected in (
        (Comparison("agent_id", Operator.EXISTS, True), {"x"}),
        (Comparison("agent_id", Operator.EXISTS, False), {"none"}),
        (Comparison("agent_id", Operator.NE, "x"), {"none"}),
        (NoneOf(Comparison("agent_id", Operator.EQ, "y")), {"none", "x"}),
    ):
        assert await found(index, both(Scope(), condition)) == expected


async def test_times_of_all_years_compare_to_the_microsecond(index: Index) -> None:
    """The engine orders moments by nanoseconds in 64 bits, which wrap around beyond the years 1677 to 2262."""
    edges = (
        FIRST_MICROS,
        FIRST_MOMENT - 1,
        FIRST_MOMENT,
        FIRST_MOMENT + 1,
        LAST_MOMENT - 1,
        LAST_MOMENT,
        LAST_MOMENT + 1,
    )
    times = (*edges, LAST_MICROS, -1, 0, 1, 1_700_000_000_123_456, 1_700_000_000_123_457)
    puts = [entry(f"m{i}", 1, create_time=time, expire_time=time) for i, time in enumerate(times)]
    puts.append(entry("never", 1, create_time=0))
    await index.apply("project", FIRST, puts, [], 1)
    orders = (Operator.EQ, Operator.NE, Operator.GT, Operator.GTE, Operator.LT, Operator.LTE)
    cases: list[Filter] = [
        Comparison(field, operator, Instant(time))
        for field in ("create_time", "expire_time")
        for operator in orders
        for time in times
    ]
    now = FIRST_MOMENT
    for condition in (*cases, Comparison("expire_time", Operator.IN, tuple(map(Instant, times)))):
        live = [put.memory for put in puts if put.memory.live_at(now)]
        expected = {memory.id for memory in live if matches(condition, memory)}
        assert await found(index, both(condition=condition, now=now)) == expected, condition


async def test_what_the_engine_cannot_say_is_found_beyond_the_depth(index: Index) -> None:
    """The few that fit lie behind thousands that the engine takes for as good."""
    puts = [
        entry(
            f"m{i:04}", 1, *range(10, 10 + i // 100), vector=unit(1, i), text=f"{'rare' if i >= 1190 else 'usual'} {i}"
        )
        for i in range(1200)
    ]
    await index.apply("project", FIRST, puts, [], 1)
    rare = {f"m{i}" for i in range(1190, 1200)}
    contains = Comparison("text", Operator.CONTAINS, "rare")
    for condition in (contains, NoneOf(NoneOf(contains)), AllOf((contains, Comparison("text", Operator.NE, "x")))):
        assert await found(index, both(condition=condition), depth=10) == rare
        shallow = await index.nominate(HERE, FIRST, both(condition=condition), 4)
        assert (len(shallow.keyword), len(shallow.vector), shallow.exhausted) == (4, 4, False)
        deep = await index.nominate(HERE, FIRST, both(condition=condition), 11)
        assert (len(deep.vector), deep.exhausted) == (10, True)
    most = await index.nominate(HERE, FIRST, both(condition=NoneOf(contains)), 50)
    assert (len(most.keyword), len(most.vector), most.exhausted) == (50, 50, False)


async def test_depth_beyond_what_the_engine_gives(index: Index) -> None:
    """It refuses more than 10,000 at once: then it gives these and says that there may be more."""
    await index.apply("project", FIRST, [entry("m", 1)], [], 1)
    got = await index.nominate(HERE, FIRST, both(), 20_000)
    assert (ids(got.keyword), ids(got.vector), got.exhausted) == (["m"], ["m"], True)


@pytest.mark.parametrize("vector", [np.full(8, np.nan), np.full(8, np.inf), np.ones(4)])
async def test_vectors_that_nothing_finds_are_refused(index: Index, vector: np.ndarray) -> None:
    with pytest.raises(EntryInvalid, match="vector"):
        await index.apply("project", FIRST, [entry("m", 1, vector=vector.astype(np.float32))], [], 1)
    assert await kept(index) == []


async def test_large_entries_go_in_pieces(index: Index) -> None:
    """Tokens of five scopes make a long text a hundred times as long; the engine refuses 100 MB."""
    words, scope = range(3000), Scope("u", "a", "p", "r")
    await index.apply(
        "project", FIRST, [entry(f"m{i}", *words, scope=scope, text="x" * 16_384) for i in range(40)], [], 1
    )
    assert len(await found(index, both(Scope("u")))) == 40


async def test_a_refused_object_is_no_success(
    index: Index, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The engine raises nothing when it refuses single objects, and its driver's log would print them."""
    await index.apply("project", FIRST, [entry("m", 1)], [], 1)
    monkeypatch.setattr("recalld_server.adapters.index.weaviate.store.check", lambda *_: None)
    put = entry("secretid", 1, text="secrettext", scope=Scope("secretuser"), vector=np.ones(3, np.float32))
    with caplog.at_level(logging.DEBUG), pytest.raises(IndexUnavailable):
        await index.apply("project", FIRST, [entry("n", 1), put], [], 2)
    assert "refused" in caplog.text
    assert "secret" not in caplog.text


async def test_no_id_of_a_caller_is_an_object_of_ours(index: Index) -> None:
    """The mark's own id, and the id of the object that another memory's id leads to."""
    names = [str(MARK), "a", str(key("a")), str(key(str(MARK))), str(uuid4())]
    await index.apply("project", FIRST, [entry(name, 1) for name in names], [], 3)
    assert await found(index, both()) == {name for name, _ in await kept(index)} == set(names)
    assert await index.mark("project", FIRST) == 3
    assert await index.revisions("project", FIRST, [*names, "none"]) == dict.fromkeys(names, 1)
    wanted = Comparison("id", Operator.IN, (str(MARK), "a"))
    assert await found(index, both(condition=wanted)) == {str(MARK), "a"}
    await index.apply("project", FIRST, [], [str(MARK), "a"], 4)
    assert await found(index, both()) == set(names[2:])
    assert await index.mark("project", FIRST) == 4


async def test_a_mark_that_is_no_number_is_none(index: Index, client: Client, caplog: pytest.LogCaptureFixture) -> None:
    await index.apply("project", FIRST, [entry("m", 1)], [], 5)

    async def poison(driver: WeaviateAsyncClient) -> None:
        tenant = driver.collections.use(schema.collection(FIRST)).with_tenant(schema.tenant("project"))
        await tenant.data.replace(MARK, {"revision": 1})

    await client.call(poison, 10)
    assert await index.mark("project", FIRST) == 0
    assert "not a number" in caplog.text


async def test_two_servers_make_one_collection(index: Index, weaviate: Node) -> None:
    others = [WeaviateIndex(Address.parse(weaviate.url)) for _ in range(4)]
    try:
        await asyncio.gather(
            *(one.apply("project", FIRST, [entry(f"m{n}", 1)], [], 1) for n, one in enumerate([index, *others]))
        )
        assert await found(index, both()) == {f"m{n}" for n in range(5)}
    finally:
        for one in others:
            await one.close()


async def test_what_remains_is_looked_for_in_every_generation(index: Index) -> None:
    second = replace(FIRST, number=2)
    for generation in (FIRST, second):
        await index.apply("project", generation, [entry("a", 1), entry("b", 1)], [], 1)
    await index.apply("elsewhere", FIRST, [entry("a", 1)], [], 1)
    await index.apply("project", FIRST, [], ["a"], 2)
    assert await index.remaining("project", ["a", "c"]) == 1
    assert await index.compact() is None
    await index.apply("project", second, [], ["a"], 2)
    assert await index.remaining("project", ["a", "c"]) == 0
    assert await index.remaining("nowhere", ["a"]) == 0


async def test_texts_and_ids_are_nowhere_to_search(index: Index, client: Client) -> None:
    """Words of a text find nothing, and neither do ids: the keyword leg knows opaque tokens only."""
    await index.apply("project", FIRST, [entry("m", 1, text="violin lessons", scope=Scope("violin"))], [], 1)
    tenant = schema.tenant("project")

    async def asked(driver: WeaviateAsyncClient) -> int:
        searched = driver.collections.use(schema.collection(FIRST)).with_tenant(tenant)
        return len((await searched.query.bm25(query="violin lessons =violin= m", limit=10)).objects)

    assert await client.call(asked, 5) == 0


async def test_filters_that_python_takes_for_equal_are_not(index: Index) -> None:
    """1 == True; the second question must not be answered with what was made of the first."""
    ones = {"number": 1, "truth": True, "text": "1"}
    await index.apply("project", FIRST, [entry(name, 1, metadata={"n": one}) for name, one in ones.items()], [], 1)
    for name, one in 2 * list(ones.items()):
        assert await found(index, both(condition=Comparison("metadata.n", Operator.EQ, one))) == {name}


async def test_an_engine_that_is_not_there_is_said_at_once() -> None:
    ports = free_ports()
    index = WeaviateIndex(Address("127.0.0.1", ports.http, ports.grpc))
    try:
        started = time.monotonic()
        index.require()  # nobody knows yet
        for call in (
            index.nominate(HERE, FIRST, both(), 10),
            index.nominate(HERE, FIRST, query(1), 10),
            index.nominate(HERE, FIRST, query(vector=unit(1)), 10),
            index.mark("project", FIRST),
            index.apply("project", FIRST, [entry("m", 1)], [], 1),
            index.outage_count(),
            index.remaining("project", ["m"]),
            index.drop("project", FIRST),
            kept(index),
        ):
            with pytest.raises(IndexUnavailable):
                await call
        assert time.monotonic() - started < 1.5
        with pytest.raises(IndexUnavailable):
            index.require()
    finally:
        await index.close()


async def test_an_engine_that_does_not_answer_is_left_in_time() -> None:
    """It takes connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as http, socket.create_server(("127.0.0.1", 0)) as rpc:
        index = WeaviateIndex(Address("127.0.0.1", http.getsockname()[1], rpc.getsockname()[1]))
        try:
            started = time.monotonic()
            with pytest.raises(IndexUnavailable):
                await index.nominate(HERE, FIRST, both(), 10)
            assert time.monotonic() - started < 1.9
        finally:
            await index.close()


def test_addresses() -> None:
    assert Address.parse("weaviate://here") == Address("here", 8080, 50051)
    given = Address.parse("weaviate://here:1?grpc_port=2&replication=3", "secret", tls=True)
    assert given == Address("here", 1, 2, 3, tls=True, key="secret")
    assert "secret" not in f"{given} {given!r}"
    for url in (
        "embedded2",
        "weaviate://",
        "http://here",
        "weaviate://here/path",
        "weaviate://here?grpc=1",
        "weaviate://here?grpc_port=x",
        "weaviate://here?grpc_port=0",
        "weaviate://here?replication=0",
        "weaviate://here:port",
        "weaviate://user@here",
        "weaviate://here?key=k",
        "weaviate://here?tls=1",
    ):
        with pytest.raises(SettingMissing, match="RECALLD_INDEX_KEY"):
            Address.parse(url)


async def test_ledgers_that_share_an_engine_keep_apart(weaviate: Node) -> None:
    """Each would take what the other put there for its own, find itself behind or ahead, and drop it."""
    one, other = (WeaviateIndex(Address.parse(weaviate.url), ledger) for ledger in ("a" * 16, "b" * 16))
    try:
        for number, index in enumerate((one, other), 1):
            await index.apply("shared", FIRST, [entry("m", 1, revision=number)], [], number)
        assert [await index.mark("shared", FIRST) for index in (one, other)] == [1, 2]
        assert [await kept(index, project="shared") for index in (one, other)] == [[("m", 1)], [("m", 2)]]
        await one.drop("shared", FIRST)
        assert [await index.mark("shared", FIRST) for index in (one, other)] == [0, 2]
        assert [await index.remaining("shared", ["m"]) for index in (one, other)] == [0, 1]
    finally:
        for index in (one, other):
            await index.drop("shared", FIRST)
            await index.close()
