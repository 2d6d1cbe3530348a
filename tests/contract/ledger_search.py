"""Reads for searches and the projector: pools, snapshots, features and pending changes."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from tests.contract.ledger_world import (
    ALICE,
    BOB,
    DAY,
    ELSEWHERE,
    GENERATION,
    HERE,
    START,
    added,
    deleted,
    features,
    head,
    one,
    restored,
    said,
    updated,
    write,
)

from recalld_server.domain.errors import GenerationMoved
from recalld_server.domain.filters import Comparison, Operator
from recalld_server.domain.memory import Scope
from recalld_server.domain.ranking import SURROUNDED, Pool
from recalld_server.domain.revision import Generation
from recalld_server.ports.ledger import Ledger

RED = Comparison("metadata.colour", Operator.EQ, "red")


def row(pool: Pool, memory_id: str) -> dict[str, Any]:
    """One row of a pool by name."""
    at = pool.ids.index(memory_id)
    columns = ("candidate", "eligible", "conversation", "position", "ordinal", "date")
    return {
        **{name: getattr(pool, name)[at].item() for name in columns},
        "speaker": pool.speaker[at],
        "terms": pool.terms[at].tolist(),
        "vector": pool.vectors[at].tolist(),
    }


class Pools:
    """`pool`, `snapshot` and `features`."""

    async def talk(self, ledger: Ledger, key: str, n: int, **fields: Any) -> None:
        puts = [added(f"{key}{at}", conversation=key, position=at, **fields) for at in range(n)]
        await write(ledger, *puts)

    async def test_neighbours_come_along(self, ledger: Ledger) -> None:
        await self.talk(ledger, "a", 8)
        await self.talk(ledger, "b", 8)
        shared = [added(f"a3.{n}", conversation="a", position=3, ordinal=n) for n in (1, 2)]
        await write(ledger, *shared)
        for window, near in ((0, (4,)), (1, (3, 4, 5)), (2, (2, 3, 4, 5, 6))):
            pool = await ledger.pool(HERE, ALICE, None, ["a4"], GENERATION, START, window)
            expected = {f"a{n}" for n in near} | ({"a3.1", "a3.2"} if 3 in near else set())
            assert set(pool.ids) == expected
            assert len(pool) == len(expected)
            assert {id for id, candidate in zip(pool.ids, pool.candidate, strict=True) if candidate} == {"a4"}
        assert set((await ledger.pool(HERE, ALICE, None, ["a0", "b7"], GENERATION, START)).ids) == {
            *("a0", "a1", "a2", "b5", "b6", "b7")
        }
        far = [f"c{n}" for n in range(SURROUNDED + 2)]
        for key in far:
            await self.talk(ledger, key, 3)
        pool = await ledger.pool(HERE, ALICE, None, [f"{key}1" for key in far], GENERATION, START)
        assert sorted(pool.ids) == sorted(
            [f"{key}{n}" for key in far[:-2] for n in range(3)] + [f"{k}1" for k in far[-2:]]
        )
        overlapping = await ledger.pool(HERE, ALICE, None, ["a3", "a4", "a5"], GENERATION, START)
        assert len(overlapping) == len(set(overlapping.ids)) == 9

    async def test_rows_carry_what_ranking_needs(self, ledger: Ledger) -> None:
        fields: dict[str, Any] = {"conversation": "talk", "speaker": "Ann", "create_time": 30}
        await write(
            ledger,
            added("1", position=0, features=features(5, 5, 2**32 - 1, axis=2), **fields),
            added("2", position=1, ordinal=3, said_time=20, features=features(axis=3), **fields),
            added("3", position=2, said_time=20, event_time=10, **fields),
            added("4"),
        )
        pool = await ledger.pool(HERE, ALICE, None, ["1", "4"], GENERATION, START)
        assert row(pool, "1") == {
            "candidate": True,
            "eligible": True,
            "conversation": row(pool, "2")["conversation"],
            "position": 0,
            "ordinal": 0,
            "date": 30,
            "speaker": "Ann",
            "terms": [5, 5, 2**32 - 1],
            "vector": [0, 0, 1, 0],
        }
        second = row(pool, "2")
        assert (second["candidate"], second["ordinal"], second["date"]) == (False, 3, 20)
        assert (second["terms"], second["vector"]) == ([], [0, 0, 0, 1])
        assert row(pool, "3")["date"] == 10
        assert row(pool, "4")["conversation"] != second["conversation"]
        assert (pool.vectors.dtype, pool.vectors.shape) == (np.dtype(np.float32), (4, 4))
        assert {terms.dtype for terms in pool.terms} == {np.dtype(np.uint32)}
        assert {pool.candidate.dtype, pool.eligible.dtype} == {np.dtype(np.bool_)}

    async def test_an_empty_pool_has_its_shapes(self, ledger: Ledger) -> None:
        for ids in ([], ["unknown"]):
            pool = await ledger.pool(HERE, ALICE, RED, ids, GENERATION, START)
            assert (len(pool), pool.vectors.shape, pool.candidate.shape) == (0, (0, 4), (0,))

    async def test_only_the_live_the_unexpired_and_those_in_scope(self, ledger: Ledger) -> None:
        place: dict[str, Any] = {"conversation": "talk", "position": 0}
        await write(ledger, added("m", **place), added("late", expire_time=START + 1, **place))
        gone = await one(ledger, added("gone", **place))
        await write(ledger, deleted(gone), added("bob", scope=BOB, **place))
        await write(ledger, added("agent", scope=Scope("alice", "bot"), **place))
        every = ["m", "late", "gone", "bob", "agent"]
        for ids in (every, ["m"]):  # as candidates and as neighbours
            pool = await ledger.pool(HERE, ALICE, None, ids, GENERATION, START)
            assert set(pool.ids) == {"m", "late", "agent"}
            pool = await ledger.pool(HERE, Scope("alice", "bot"), None, [*ids, "agent"], GENERATION, START)
            assert set(pool.ids) == {"agent"}
            pool = await ledger.pool(HERE, Scope(), None, ids, GENERATION, START + 1)
            assert set(pool.ids) == {"m", "bob", "agent"}
        for absent in ("gone", "bob"):
            assert len(await ledger.pool(HERE, ALICE, None, [absent], GENERATION, START)) == 0
        assert len(await ledger.pool(HERE, ALICE, None, ["late"], GENERATION, START + 1)) == 0

    async def test_the_filter_only_marks(self, ledger: Ledger) -> None:
        place: dict[str, Any] = {"conversation": "talk"}
        await write(
            ledger,
            added("1", position=0, metadata={"colour": "red"}, **place),
            added("2", position=1, metadata={"colour": ["blue", "red"]}, **place),
            added("3", position=2, **place),
        )
        pool = await ledger.pool(HERE, ALICE, RED, ["3"], GENERATION, START)
        eligible = dict(zip(pool.ids, pool.eligible.tolist(), strict=True))
        assert eligible == {"1": True, "2": True, "3": False}
        snapshot = await ledger.snapshot(HERE, ALICE, RED, GENERATION, 3, START, 10)
        assert snapshot is not None
        assert dict(zip(snapshot.ids, snapshot.eligible.tolist(), strict=True)) == eligible

    async def test_many_candidates_at_once(self, ledger: Ledger) -> None:
        names = [f"m{n}" for n in range(1200)]
        for at in range(0, 1200, 400):
            await write(ledger, *(added(name, features=features(at)) for name in names[at : at + 400]))
        pool = await ledger.pool(
            HERE, ALICE, None, [*names, *(f"unknown {n}" for n in range(18_800))], GENERATION, START
        )
        assert set(pool.ids) == set(names)
        assert pool.candidate.all()
        assert {name: int(terms[0]) for name, terms in zip(pool.ids, pool.terms, strict=True)} == {
            name: n // 400 * 400 for n, name in enumerate(names)
        }

    async def test_features_are_those_of_the_text(self, ledger: Ledger) -> None:
        first = await one(ledger, added("m", features=features(1, axis=0)))
        second = await one(ledger, updated(first, metadata={"k": 1}))
        assert (await self.features(ledger))["terms"] == [1]
        third = await one(ledger, updated(second, text="another", features=features(2, axis=1)))
        assert await self.features(ledger) == {"terms": [2], "vector": [0, 1, 0, 0]}
        fourth = await one(ledger, restored(third, live=True, as_it_was=second))
        assert await self.features(ledger) == {"terms": [1], "vector": [1, 0, 0, 0]}
        await write(ledger, deleted(fourth))
        assert await ledger.features(HERE, ["m"], GENERATION) == {}
        newest = (await ledger.latest(HERE, ["m"])).get("m")
        assert newest is not None
        await one(ledger, restored(newest[0]))
        assert (await self.features(ledger))["terms"] == [1]

    async def features(self, ledger: Ledger) -> dict[str, Any]:
        """Terms and vector of "m", which every read must agree on."""
        made = (await ledger.features(HERE, ["m", "unknown"], GENERATION))["m"]
        entry = (await ledger.entries("default", GENERATION, ["m"]))[0]["m"]
        pool = row(await ledger.pool(HERE, ALICE, None, ["m"], GENERATION, START), "m")
        told = [(f.terms.tolist(), f.vector.tolist()) for f in (made, entry.features)]
        assert told == [(pool["terms"], pool["vector"])] * 2
        return {"terms": pool["terms"], "vector": pool["vector"]}

    async def test_a_snapshot_is_the_scope_as_it_was(self, ledger: Ledger) -> None:
        first, other = (await write(ledger, added("m", features=features(1)), added("n"))).memories
        await write(ledger, added("bob", scope=BOB))
        await write(ledger, updated(first, text="another", features=features(2)), deleted(other))

        async def rows(seq: int, limit: int = 10, scope: Scope = ALICE) -> dict[str, list[int]] | None:
            pool = await ledger.snapshot(HERE, scope, None, GENERATION, seq, START, limit)
            if pool is None:
                return None
            assert not pool.candidate.any()
            return {id: terms.tolist() for id, terms in zip(pool.ids, pool.terms, strict=True)}

        assert await rows(0) == {}
        assert await rows(1) == {"m": [1]}
        assert await rows(2) == await rows(3) == {"m": [1], "n": [7]}
        assert await rows(4) == {"m": [2], "n": [7]}
        assert await rows(5) == {"m": [2]}
        assert await rows(3, scope=Scope()) == {"m": [1], "n": [7], "bob": [7]}
        assert await rows(3, limit=2) is not None
        assert await rows(3, limit=1) is None

    async def test_a_snapshot_leaves_out_what_had_expired(self, ledger: Ledger) -> None:
        await write(ledger, added("m", expire_time=START + 5), added("n"))
        for now, expected in ((START + 4, ["m", "n"]), (START + 5, ["n"])):
            pool = await ledger.snapshot(HERE, ALICE, None, GENERATION, 2, now, 10)
            assert pool is not None
            assert sorted(pool.ids) == expected
        assert await ledger.snapshot(HERE, ALICE, None, GENERATION, 2, START + 5, 1) is not None

    async def test_what_is_chosen_of_a_pool_comes_with_it(self, ledger: Ledger) -> None:
        talk = [added(id, f"Has {id}", conversation="talk", position=n) for n, id in enumerate("mn")]
        await write(ledger, *talk, added("x", scope=Scope(user_id="bob")))
        asked: ContextVar[str] = ContextVar("asked")
        asked.set("by the caller")

        def choose(pool: Pool) -> tuple[tuple[str, ...], Sequence[str]]:
            return (*sorted(pool.ids), asked.get()), ["m", "x", "nobody"]

        made, memories = await ledger.chosen(HERE, ALICE, None, ["m"], GENERATION, START, choose)
        assert made == ("m", "n", "by the caller")
        assert memories == await ledger.memories(HERE, ["m", "x"])
        assert memories["m"].text == "Has m"
        pinned = replace(HERE, pin=Scope(user_id="bob"))
        made, memories = await ledger.chosen(pinned, Scope(), None, ["m", "x"], GENERATION, START, choose)
        assert (made, set(memories)) == (("x", "by the caller"), {"x"})
        with pytest.raises(GenerationMoved):
            await ledger.chosen(HERE, ALICE, None, ["gone"], replace(GENERATION, number=2), START, choose)

    async def test_what_a_search_starts_from(self, ledger: Ledger) -> None:
        await write(ledger, added("m", speaker="Ann"))
        state = await ledger.search_state(HERE, ALICE)
        assert (state.generation, state.speakers) == (GENERATION, frozenset({"Ann"}))
        assert state.positions == await ledger.positions(HERE)


class Projection:
    """What is pending for the index, and how it is cleared."""

    async def test_a_commit_makes_its_memories_pending(self, ledger: Ledger) -> None:
        first = await one(ledger, added("a"))
        await write(ledger, added("b"), updated(first, metadata={"k": 1}), conversations=[said("x")])
        await write(ledger, added("c"), access=ELSEWHERE)
        assert await ledger.pending("default", GENERATION, 10) == ["a", "b"]
        assert await ledger.pending("default", GENERATION, 1) == ["a"]
        assert await ledger.pending("other", GENERATION, 10) == ["c"]
        assert await ledger.pending("default", replace(GENERATION, number=2), 10) == []
        stand = await ledger.positions(HERE)
        assert (stand.head, stand.applied) == (3, 0)

    async def test_applied_is_what_stands_before_the_first_pending(self, ledger: Ledger) -> None:
        a, b, c = (await write(ledger, added("a"), added("b"), added("c"))).memories
        assert await self.settle(ledger, {"b": 1}, 3) == []
        assert (await ledger.positions(HERE)).applied == 0
        assert await self.settle(ledger, {"a": 1}, 3) == []
        assert (await ledger.positions(HERE)).applied == 2
        await write(ledger, deleted(b))
        assert await self.settle(ledger, {"c": 1}, 3) == []
        assert (await ledger.positions(HERE)).applied == 3
        assert await self.settle(ledger, {"b": 0}, 4) == []
        stand = await ledger.positions(HERE)
        assert (stand.head, stand.applied) == (4, 4)
        await write(ledger, request=None)
        assert (await ledger.positions(HERE)).applied == 4
        assert {a.revision, c.revision} == {1}

    async def settle(self, ledger: Ledger, applied: dict[str, int], seq: int, project: str = "default") -> list[str]:
        return list(await ledger.settle(project, GENERATION, applied, seq))

    async def test_entries_are_what_the_index_should_hold(self, ledger: Ledger) -> None:
        first = await one(ledger, added("m", metadata={"k": 1}, features=features(1, 2, axis=3)))
        gone = await one(ledger, added("gone"))
        await write(ledger, deleted(gone))
        second = await one(ledger, updated(first, metadata={"k": 2}))
        entries, stand = await ledger.entries("default", GENERATION, ["m", "gone", "unknown"])
        assert set(entries) == {"m"}
        assert (entries["m"].memory, entries["m"].seq) == (replace(second, sources=()), 4)
        assert entries["m"].features.terms.tolist() == [1, 2]
        assert entries["m"].features.vector.tolist() == [0, 0, 0, 1]
        assert stand == await ledger.positions(HERE)
        assert (await ledger.entries("other", GENERATION, ["m"]))[0] == {}

    async def test_what_moved_meanwhile_stays_pending(self, ledger: Ledger) -> None:
        """The race: the index was written with what was read before another writer came."""
        a, b, c = (await write(ledger, added("a"), added("b"), added("c"))).memories
        entries, stand = await ledger.entries("default", GENERATION, ["a", "b", "c", "d"])
        await write(ledger, updated(a, metadata={"k": 1}), added("d"), deleted(b))
        applied = {name: entries[name].memory.revision if name in entries else 0 for name in ("a", "b", "c", "d")}
        assert set(await self.settle(ledger, applied, stand.head)) == {"a", "b", "d"}
        assert await ledger.pending("default", GENERATION, 10) == ["a", "b", "d"]
        assert (await ledger.positions(HERE)).applied == 0
        assert await self.settle(ledger, {"a": 2, "b": 0, "d": 1}, await head(ledger)) == []
        assert await ledger.pending("default", GENERATION, 10) == []
        assert c.revision == 1

    async def test_what_came_later_is_not_cleared(self, ledger: Ledger) -> None:
        """Even when the revision fits: only what was read is known to be applied."""
        first = await one(ledger, added("m"))
        await write(ledger, deleted(first))
        assert await self.settle(ledger, {"m": 0}, 1) == []
        assert await ledger.pending("default", GENERATION, 10) == ["m"]
        assert (await ledger.positions(HERE)).applied == 1
        assert await self.settle(ledger, {"m": 0}, 2) == []
        assert (await ledger.positions(HERE)).applied == 2

    async def test_settling_is_for_one_project_and_generation(self, ledger: Ledger) -> None:
        for access in (HERE, ELSEWHERE):
            await write(ledger, added("m"), access=access)
        await self.settle(ledger, {"m": 1}, 1, project="other")
        assert await ledger.pending("default", GENERATION, 10) == ["m"]
        assert list(await ledger.settle("default", replace(GENERATION, number=2), {"m": 1}, 1)) == []
        assert await ledger.pending("default", GENERATION, 10) == ["m"]
        assert await self.settle(ledger, {}, 1) == []

    async def test_everything_after_a_mark_can_be_pending_again(self, ledger: Ledger) -> None:
        a, b = (await write(ledger, added("a"), added("b"))).memories
        await write(ledger, updated(a, metadata={"k": 1}), deleted(b))
        assert await self.settle(ledger, {"a": 2, "b": 0}, 4) == []
        assert await ledger.pend_after("default", GENERATION, 4) == 0
        assert await ledger.pend_after("default", GENERATION, 2) == 2
        assert await ledger.pending("default", GENERATION, 10) == ["a", "b"]
        assert (await ledger.positions(HERE)).applied == 2
        assert await ledger.pend_after("default", GENERATION, 0) == 0  # a memory's latest change says all
        assert await ledger.pending("other", GENERATION, 10) == []
        assert await self.settle(ledger, {"a": 2, "b": 0}, 4) == []
        assert (await ledger.positions(HERE)).applied == 4

    async def test_live_is_what_a_complete_index_holds(self, ledger: Ledger) -> None:
        puts = [added(f"m{n}", scope=Scope(f"u{n % 3}")) for n in range(7)]
        stored = (await write(ledger, *puts, added("expired", expire_time=START - DAY))).memories
        await write(ledger, deleted(stored[2]), updated(stored[4], metadata={"k": 1}))
        await write(ledger, added("elsewhere"), access=ELSEWHERE)
        whole = [("expired", 1), ("m0", 1), ("m1", 1), ("m3", 1), ("m4", 2), ("m5", 1), ("m6", 1)]
        given: list[tuple[str, int]] = []
        while page := await ledger.live("default", given[-1][0] if given else "", 3):
            given += page
        assert given == whole

    async def test_what_lacks_features_of_a_generation(self, ledger: Ledger) -> None:
        following = Generation(2, "another/model", 8, 1, "german")
        _, gone = (await write(ledger, added("m"), added("gone"))).memories
        await write(ledger, deleted(gone))
        assert set(await ledger.features(HERE, ["m"], GENERATION)) == {"m"}
        assert await ledger.features(HERE, ["m"], following) == {}
        assert (await ledger.entries("default", following, ["m"]))[0] == {}
        with pytest.raises(GenerationMoved):
            await ledger.pool(HERE, ALICE, None, ["m"], following, START)
        with pytest.raises(GenerationMoved):
            await ledger.snapshot(HERE, ALICE, None, following, await head(ledger), START, 10)

    async def test_following_the_ledger_ends_where_it_stands(self, ledger: Ledger) -> None:
        """A projector that applies what is pending while the ledger moves on ends with exactly what is live."""
        held: dict[str, int] = {}
        stored = list((await write(ledger, *(added(f"m{n}") for n in range(12)))).memories)
        while waiting := await ledger.pending("default", GENERATION, 5):
            entries, stand = await ledger.entries("default", GENERATION, waiting)
            if stored:
                first, second, *stored = stored
                await write(ledger, updated(first, metadata={"k": 1}), deleted(second), added(f"new {second.id}"))
            for name in waiting:
                held.pop(name, None)
                if name in entries:
                    held[name] = entries[name].memory.revision
            await ledger.settle("default", GENERATION, {name: held.get(name, 0) for name in waiting}, stand.head)
        assert stored == []
        assert sorted(held.items()) == await ledger.live("default", "", 100)
        assert (await ledger.positions(HERE)).applied == await head(ledger)
