"""The contract of Index. A test class inherits IndexSuite and has a fixture `index`: an empty index of its engine.

Terms are plain numbers and vectors have eight dimensions: the suite does not depend on analysis, models or engines.
"""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.contract import random_filters

from recalld_server.domain.filters import (
    AllOf,
    AnyOf,
    Comparison,
    Filter,
    Operator,
    matches,
)
from recalld_server.domain.memory import Access, Memory, Scope
from recalld_server.domain.revision import Features, Generation, IndexEntry
from recalld_server.domain.vectors import FloatVector
from recalld_server.ports.index import Index, IndexQuery, Nominations

FIRST = Generation(number=1, model="test", dimension=8, analyser=1)
SECOND = replace(FIRST, number=2)
HERE = Access("project")
USER = Scope(user_id="alice")
NOW = 1_000_000
NO_VECTOR = np.zeros(8, np.float32)  # of a text of which the model knows too few words


def unit(*values: float) -> FloatVector:
    """A unit vector of eight dimensions that begins with these values."""
    vector = np.zeros(8, np.float32)
    vector[: len(values)] = values
    return vector / np.linalg.norm(vector)


def entry(
    memory_id: str, *terms: int, vector: FloatVector | None = None, scope: Scope = USER, **fields: Any
) -> IndexEntry:
    """An entry of a memory; its text means nothing to an index but to filters."""
    usual: dict[str, Any] = {"text": f"text of {memory_id}", "create_time": 1, "update_time": 1, "revision": 1}
    memory = Memory(id=memory_id, scope=scope, **usual | fields)
    return IndexEntry(memory, Features(np.array(terms, np.uint32), unit(1) if vector is None else vector), seq=1)


def query(
    *terms: int, vector: FloatVector | None = None, scope: Scope = USER, condition: Filter | None = None, now: int = NOW
) -> IndexQuery:
    return IndexQuery(scope, condition, np.array(terms, np.uint32), vector, now)


def both(scope: Scope = USER, condition: Filter | None = None, now: int = NOW) -> IndexQuery:
    """A question that every entry with term 1 and some x answers on both legs."""
    return query(1, vector=unit(1), scope=scope, condition=condition, now=now)


def ids(leg: Any) -> list[str]:
    return [memory_id for memory_id, _ in leg]


def assert_nothing(nominations: Nominations) -> None:
    assert (list(nominations.keyword), list(nominations.vector), nominations.exhausted) == ([], [], True)


async def found(index: Index, asked: IndexQuery, access: Access = HERE, depth: int = 50) -> set[str]:
    """What both legs find, which must be the same."""
    nominations = await index.nominate(access, FIRST, asked, depth)
    assert set(ids(nominations.keyword)) == set(ids(nominations.vector))
    return set(ids(nominations.vector))


async def kept(index: Index, generation: Generation = FIRST, project: str = "project") -> list[tuple[str, int]]:
    """All entries by id."""
    return sorted([pair async for pair in index.entries(project, generation)])


class IndexSuite:
    """The promises of `ports/index.py`."""

    async def test_an_index_without_the_generation_is_empty(self, index: Index) -> None:
        assert_nothing(await index.nominate(HERE, FIRST, both(), 10))
        index.require()  # empty is not away
        assert await index.mark("project", FIRST) == 0
        assert await kept(index) == []

    async def test_legs_are_ordered_by_their_own_scores(self, index: Index) -> None:
        await index.apply(
            "project",
            FIRST,
            [
                entry("all", 1, 2, 3, vector=unit(1, 2)),
                entry("two", 1, 2, 9, vector=unit(1)),
                entry("one", 1, 8, 9, vector=unit(1, 1)),
                entry("none", 7, 8, 9, vector=unit(-1)),
            ],
            [],
            1,
        )
        got = await index.nominate(HERE, FIRST, query(1, 2, 3, vector=unit(1)), 10)
        assert ids(got.keyword) == ["all", "two", "one"]
        assert [score for _, score in got.keyword] == sorted((score for _, score in got.keyword), reverse=True)
        assert all(score > 0 for _, score in got.keyword)
        assert ids(got.vector) == ["two", "one", "all", "none"]
        assert [score for _, score in got.vector] == pytest.approx([1, 0.5**0.5, 0.2**0.5, -1], abs=1e-3)

    async def test_repeats_of_a_term_count(self, index: Index) -> None:
        await index.apply("project", FIRST, [entry("once", 1, 2, 3, 4), entry("often", 1, 1, 1, 4)], [], 1)
        got = await index.nominate(HERE, FIRST, query(1), 10)
        assert ids(got.keyword) == ["often", "once"]

    async def test_a_leg_without_a_question_is_skipped(self, index: Index) -> None:
        await index.apply("project", FIRST, [entry("m", 1)], [], 1)
        words = await index.nominate(HERE, FIRST, query(1), 10)
        assert (ids(words.keyword), ids(words.vector)) == (["m"], [])
        meaning = await index.nominate(HERE, FIRST, query(vector=unit(1)), 10)
        assert (ids(meaning.keyword), ids(meaning.vector)) == ([], ["m"])
        assert_nothing(await index.nominate(HERE, FIRST, query(), 10))

    async def test_an_entry_without_terms_is_found_by_its_vector(self, index: Index) -> None:
        await index.apply("project", FIRST, [entry("silent")], [], 1)
        got = await index.nominate(HERE, FIRST, both(), 10)
        assert (ids(got.keyword), ids(got.vector)) == ([], ["silent"])

    async def test_terms_of_any_size_are_kept_apart(self, index: Index) -> None:
        edges = (0, 1, 255, 256, 2**31, 2**32 - 1)
        await index.apply("project", FIRST, [entry(f"t{term}", term) for term in edges], [], 1)
        for term in edges:
            assert ids((await index.nominate(HERE, FIRST, query(term), 10)).keyword) == [f"t{term}"]

    async def test_a_long_question_is_answered(self, index: Index) -> None:
        await index.apply("project", FIRST, [entry("m", 4999)], [], 1)
        assert ids((await index.nominate(HERE, FIRST, query(*range(5000)), 10)).keyword) == ["m"]

    async def test_what_is_put_again_is_found_as_before(self, index: Index) -> None:
        puts = [entry("one", 1, vector=unit(1, 2)), entry("two", 1, 2, vector=unit(2, -1))]
        await index.apply("project", FIRST, [*puts, entry("gone", 1)], [], 1)
        await index.apply("project", FIRST, [], ["gone"], 2)
        before = await index.nominate(HERE, FIRST, both(), 10)
        for mark in (3, 4):
            await index.apply("project", FIRST, puts, ["gone"], mark)
            after = await index.nominate(HERE, FIRST, both(), 10)
            assert ids(after.vector) == ids(before.vector)
            assert [score for _, score in after.vector] == pytest.approx([s for _, s in before.vector], abs=1e-3)
            assert sorted(ids(after.keyword)) == sorted(ids(before.keyword))
            assert await kept(index) == [("one", 1), ("two", 1)]

    async def test_a_put_replaces(self, index: Index) -> None:
        await index.apply("project", FIRST, [entry("m", 1, vector=unit(1)), entry("other", 1)], [], 1)
        await index.nominate(HERE, FIRST, both(), 10)  # whatever an engine keeps of an answer must not come back
        await index.apply("project", FIRST, [entry("m", 2, vector=unit(0, 1), revision=2)], [], 2)
        got = await index.nominate(HERE, FIRST, both(), 10)
        assert ids(got.keyword) == ["other"]
        assert dict(got.vector) == pytest.approx({"other": 1, "m": 0}, abs=1e-3)
        assert ids((await index.nominate(HERE, FIRST, query(2), 10)).keyword) == ["m"]
        assert await kept(index) == [("m", 2), ("other", 1)]

    async def test_an_entry_of_zeros_is_found_by_its_terms_only(self, index: Index) -> None:
        across = entry("across", 1, vector=unit(0, 1))  # a cosine of 0 is one all the same
        await index.apply("project", FIRST, [entry("zeros", 1, vector=NO_VECTOR), across, entry("near", 1)], [], 1)
        got = await index.nominate(HERE, FIRST, both(), 10)
        assert (sorted(ids(got.keyword)), ids(got.vector)) == (["across", "near", "zeros"], ["near", "across"])
        assert await kept(index) == [("across", 1), ("near", 1), ("zeros", 1)]

    async def test_an_entry_may_lose_its_vector_and_get_one_again(self, index: Index) -> None:
        await index.apply("project", FIRST, [entry("m", 1), entry("other", 1)], [], 1)
        for revision, vector, found in ((2, NO_VECTOR, ["other"]), (3, unit(1), ["m", "other"])):
            await index.apply("project", FIRST, [entry("m", 1, vector=vector, revision=revision)], [], revision)
            got = await index.nominate(HERE, FIRST, both(), 10)
            assert (sorted(ids(got.vector)), sorted(ids(got.keyword))) == (found, ["m", "other"])
            assert await kept(index) == [("m", revision), ("other", 1)]

    async def test_a_delete_removes_and_may_be_repeated(self, index: Index) -> None:
        await index.apply("project", FIRST, [entry("a", 1), entry("b", 1)], [], 1)
        assert await found(index, both()) == {"a", "b"}
        for _ in range(2):
            await index.apply("project", FIRST, [], ["a", "never there"], 2)
            assert await found(index, both()) == {"b"}
        assert await kept(index) == [("b", 1)]
        await index.apply("project", FIRST, [entry("a", 1, revision=3)], [], 3)
        assert await found(index, both()) == {"a", "b"}

    async def test_applying_twice_is_applying_once(self, index: Index) -> None:
        change = [entry(f"m{i}", 1, i + 10, metadata={"n": i}, categories=("c",)) for i in range(20)]
        await index.apply("project", FIRST, change, [], 1)
        before = await index.nominate(HERE, FIRST, both(), 50)
        await index.apply("project", FIRST, change, [], 1)
        after = await index.nominate(HERE, FIRST, both(), 50)
        assert sorted(ids(after.keyword)) == sorted(ids(before.keyword))
        assert sorted(ids(after.vector)) == sorted(ids(before.vector))
        assert len(await kept(index)) == 20

    async def test_the_last_put_of_a_memory_counts(self, index: Index) -> None:
        await index.apply("project", FIRST, [entry("m", 1), entry("m", 2, revision=2)], [], 1)
        assert await kept(index) == [("m", 2)]
        assert ids((await index.nominate(HERE, FIRST, query(1, 2), 10)).keyword) == ["m"]
        assert ids((await index.nominate(HERE, FIRST, query(1), 10)).keyword) == []

    async def test_the_mark_only_rises(self, index: Index) -> None:
        for mark, kept_mark in ((5, 5), (3, 5), (9, 9)):
            await index.apply("project", FIRST, [], [], mark)
            assert await index.mark("project", FIRST) == kept_mark
        assert await index.mark("project", SECOND) == 0
        assert await index.mark("elsewhere", FIRST) == 0

    @pytest.mark.parametrize("field", ["user_id", "agent_id", "app_id", "run_id"])
    async def test_ids_are_exact(self, index: Index, field: str) -> None:
        names = [
            "alice",
            " alice",
            "alice ",
            "ALICE",
            "alice-smith",
            "alice\u00a0",
            "ali",
            "álice",
            "a\u0301lice",
            "a\nb",
        ]
        await index.apply(
            "project", FIRST, [entry(f"m{i}", 1, scope=Scope(**{field: name})) for i, name in enumerate(names)], [], 1
        )
        for i, name in enumerate(names):
            assert await found(index, both(Scope(**{field: name}))) == {f"m{i}"}, name
            wanted = Comparison(field, Operator.EQ, name)
            assert await found(index, both(Scope(), condition=wanted)) == {f"m{i}"}, name

    async def test_an_id_counts_in_its_own_field_only(self, index: Index) -> None:
        await index.apply(
            "project",
            FIRST,
            [entry("user", 1, scope=Scope(user_id="x")), entry("agent", 1, scope=Scope(agent_id="x"))],
            [],
            1,
        )
        assert await found(index, both(Scope(user_id="x"))) == {"user"}
        assert await found(index, both(Scope(agent_id="x"))) == {"agent"}
        assert await found(index, both(Scope(run_id="x"))) == set()

    async def test_scope_and_pin_hold_together(self, index: Index) -> None:
        scopes = [
            Scope(user, agent, app, run)
            for user in ("", "u1", "u2")
            for agent in ("", "a1", "a2")
            for app in ("", "p1")
            for run in ("", "r1")
        ]
        entries = [entry(f"m{i}", 1, scope=scope) for i, scope in enumerate(scopes)]
        await index.apply("project", FIRST, entries, [], 1)
        for pin in (Scope(), Scope("u1"), Scope("u1", "a1"), Scope(app_id="p1"), Scope(run_id="r1")):
            for scope in (Scope(), Scope("u1"), Scope("u2"), Scope(agent_id="a1"), Scope("u1", "a1", "p1", "r1")):
                expected = {f"m{i}" for i, owner in enumerate(scopes) if pin.admits(owner) and scope.admits(owner)}
                assert await found(index, both(scope), Access("project", pin)) == expected, (pin, scope)

    async def test_a_scope_that_contradicts_the_pin_is_empty(self, index: Index) -> None:
        await index.apply("project", FIRST, [entry("m", 1)], [], 1)
        assert_nothing(await index.nominate(Access("project", Scope("bob")), FIRST, both(), 10))

    async def test_expired_entries_are_left_out(self, index: Index) -> None:
        times = {"never": None, "past": NOW - 1, "now": NOW, "soon": NOW + 1}
        await index.apply("project", FIRST, [entry(name, 1, expire_time=time) for name, time in times.items()], [], 1)
        everything = AllOf(())
        for condition in (None, everything):
            assert await found(index, both(condition=condition)) == {"never", "soon"}
            assert await found(index, both(condition=condition, now=NOW + 1)) == {"never"}
            assert await found(index, both(condition=condition, now=NOW - 2)) == set(times)

    async def test_generations_and_projects_are_separate(self, index: Index) -> None:
        spaces = [("project", FIRST), ("project", SECOND), ("elsewhere", FIRST), ("project", replace(FIRST, model="b"))]
        for number, (project, generation) in enumerate(spaces):
            await index.apply(project, generation, [entry(f"m{number}", 1), entry("same", 1)], [], number + 1)
        await index.apply("project", FIRST, [], ["same"], 9)
        for number, (project, generation) in enumerate(spaces):
            got = await index.nominate(Access(project), generation, both(), 10)
            expected = {f"m{number}"} | ({"same"} if number else set())
            assert set(ids(got.keyword)) == set(ids(got.vector)) == expected
            assert await index.mark(project, generation) == (number + 1 if number else 9)

    async def test_depth_and_exhaustion(self, index: Index) -> None:
        await index.apply(
            "project",
            FIRST,
            [entry(f"m{i:02}", 1, *range(100, 100 + i), vector=unit(1, i)) for i in range(30)]
            + [entry(f"n{i:02}", 2, vector=unit(-1, i)) for i in range(10)],
            [],
            1,
        )
        shallow = await index.nominate(HERE, FIRST, both(), 5)
        assert ids(shallow.keyword) == ids(shallow.vector) == [f"m{i:02}" for i in range(5)]
        assert not shallow.exhausted
        words_end = await index.nominate(HERE, FIRST, both(), 35)
        assert (len(words_end.keyword), len(words_end.vector), words_end.exhausted) == (30, 35, False)
        deep = await index.nominate(HERE, FIRST, both(), 41)
        assert (len(deep.keyword), len(deep.vector), deep.exhausted) == (30, 40, True)

    async def test_entries_are_all_there(self, index: Index) -> None:
        names = [f"{i * 7919 % 2503:05}" for i in range(2503)]
        for at in range(0, len(names), 500):
            await index.apply("project", FIRST, [entry(n, 1, revision=int(n)) for n in names[at : at + 500]], [], 1)
        assert await kept(index) == [(name, int(name)) for name in sorted(names)]
        some = {name: int(name) for name in names[:999]}
        assert await index.revisions("project", FIRST, [*some, "none"]) == some
        assert await index.revisions("elsewhere", FIRST, names[:9]) == {}

    async def test_drop_forgets_one_generation(self, index: Index) -> None:
        for generation in (FIRST, SECOND):
            puts = [entry(f"m{i}", 1, metadata={"n": 1}) for i in range(1200)]
            await index.apply("project", generation, puts, [], 7)
        await index.nominate(HERE, FIRST, both(), 10)
        await index.drop("project", FIRST)
        await index.drop("project", FIRST)
        await index.drop("project", replace(FIRST, number=9))
        assert_nothing(await index.nominate(HERE, FIRST, both(), 10))
        assert (await kept(index), await index.mark("project", FIRST)) == ([], 0)
        assert (len(await kept(index, SECOND)), await index.mark("project", SECOND)) == (1200, 7)
        await index.apply("project", FIRST, [entry("back", 1)], [], 1)
        assert await found(index, both()) == {"back"}

    async def test_filters_mean_what_the_law_says(self, index: Index) -> None:
        rng = random.Random(7)
        memories = [random_filters.memory(rng, i) for i in range(150)]
        puts = [IndexEntry(memory, Features(np.array([1], np.uint32), unit(1, rng.random())), 1) for memory in memories]
        await index.apply("project", FIRST, puts, [], 1)
        outcomes = set()
        for number in range(150):
            condition = random_filters.condition(rng)
            scope = rng.choice([Scope(), USER, Scope(user_id="bob"), Scope("alice", "bot")])
            if number % 2:
                condition = AnyOf((condition, Comparison("id", Operator.EQ, rng.choice(memories).id)))
            inside = {m.id for m in memories if scope.admits(m.scope) and m.live_at(NOW)}
            expected = {m.id for m in memories if m.id in inside and matches(condition, m)}
            assert await found(index, both(scope, condition), depth=200) == expected, condition
            outcomes.add((bool(expected), expected == inside))
        assert {(False, False), (True, False), (True, True)} <= outcomes

    async def test_changes_and_searches_at_once(self, index: Index) -> None:
        """No search is torn: what stays is found by each of them, what is gone before it began by none."""
        steady = [entry(f"s{i}", 1, vector=unit(1, i)) for i in range(30)]
        await index.apply("project", FIRST, steady, [], 1)
        gone: set[str] = set()
        done = asyncio.Event()

        async def change() -> None:
            for i in range(60):
                await index.apply("project", FIRST, [entry(f"t{i}", 1), entry("moving", 1, revision=i + 1)], [], i)
                await index.apply("project", FIRST, [], [f"t{i}"], i)
                gone.add(f"t{i}")

        async def search() -> int:
            searches = 0
            while not done.is_set():
                before = set(gone)
                got = await index.nominate(HERE, FIRST, both(), 100)
                for leg in (got.keyword, got.vector):
                    assert {memory.memory.id for memory in steady} <= set(ids(leg))
                    assert not before & set(ids(leg))
                    assert len(set(ids(leg))) == len(leg)
                searches += 1
            return searches

        searching = asyncio.gather(*(search() for _ in range(4)))
        try:
            await change()
        finally:
            done.set()
        assert min(await searching) > 0
        assert await found(index, both(), depth=100) == {f"s{i}" for i in range(30)} | {"moving"}
