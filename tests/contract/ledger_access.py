"""An access is limited to its project, and with a pin to one scope in it."""

from __future__ import annotations

import unicodedata
from dataclasses import replace
from typing import Any

import pytest
from tests.contract.ledger_world import (
    ALICE,
    BOB,
    ELSEWHERE,
    GENERATION,
    HERE,
    START,
    added,
    deleted,
    features,
    happened,
    head,
    live,
    memory,
    one,
    restored,
    updated,
    write,
)

from recalld_server.domain.errors import MemoryNotFound, RecalldError, RevisionConflict
from recalld_server.domain.filters import AnyOf, Comparison, NoneOf, Operator
from recalld_server.domain.memory import SCOPE_FIELDS, Access, Scope
from recalld_server.domain.revision import ListQuery
from recalld_server.ports.ledger import Ledger

# Ids that are different although a tokeniser, a pattern, a collation or a person might take them for one another.
LOOKALIKES = (
    "alice",
    "alice-smith",
    "ALICE",
    " alice",
    "alice ",
    "alice\u00a0",
    "alice@x.com",
    "alic",
    "al%",
    "alic_",
    "ａｌｉｃｅ",
    unicodedata.normalize("NFC", "älice"),
    unicodedata.normalize("NFD", "älice"),
)
EVERYTHING = AnyOf((NoneOf(Comparison("id", Operator.EQ, "x")), Comparison("user_id", Operator.EXISTS, value=False)))


async def seen(ledger: Ledger, access: Access, ids: list[str], seq: int) -> set[str]:
    """The ids of memories that any read shows to the access, asking for everything in every way."""
    found: set[str] = set()
    for as_of in (None, seq):
        found |= set(await ledger.memories(access, ids, as_of))
        for condition in (None, EVERYTHING):
            found |= set(await live(ledger, access, as_of=as_of, filter=condition))
    found |= {id for id, _ in await ledger.revisions(access, [(id, n) for id in ids for n in (1, 2, 3)])}
    found |= {latest[0].id for id in ids if (latest := (await ledger.latest(access, [id])).get(id))}
    found |= {match.memory_id for match in await ledger.matching(access, Scope(), EVERYTHING, seq, None, 1000)}
    for event in await happened(ledger, access, filter=EVERYTHING):
        found |= {event.memory_id, *(m.id for m in (event.before, event.after) if m)}
    found |= {event.memory_id for id in ids for event in await happened(ledger, access, memory_id=id)}
    for condition in (None, EVERYTHING):
        found |= set((await ledger.pool(access, Scope(), condition, ids, GENERATION, START)).ids)
        snapshot = await ledger.snapshot(access, Scope(), condition, GENERATION, seq, START, 1000)
        assert snapshot is not None
        found |= set(snapshot.ids)
    found |= set(await ledger.features(access, ids, GENERATION))
    for user in LOOKALIKES:
        repeats = await ledger.repeats(access, [(Scope(user).key(), memory("m", "the same text").text_key)], START)
        found |= {repeated.id for repeated in repeats.values()}
    return found


class Pins:
    """A pinned access sees and changes its scope and nothing else."""

    async def test_a_pin_admits_its_own_id_alone(self, ledger: Ledger) -> None:
        ids = [f"m{n}" for n in range(len(LOOKALIKES))]
        for id, user in zip(ids, LOOKALIKES, strict=True):
            # One conversation: neighbours must not come along. One text: repeats must not either.
            first = await one(ledger, added(id, "first", Scope(user), conversation="shared", speaker=user))
            await one(ledger, updated(first, text="the same text", features=features(1)))
        seq = await head(ledger)
        assert await seen(ledger, HERE, ids, seq) == set(ids)
        for id, user in zip(ids, LOOKALIKES, strict=True):
            pinned = replace(HERE, pin=Scope(user))
            assert await seen(ledger, pinned, ids, seq) == {id}
            page = await ledger.page(pinned, ListQuery(count=True))
            assert (page.total, await ledger.count(pinned, Scope(), None, seq)) == (1, 1)
            entities = await ledger.entities(pinned, SCOPE_FIELDS, None, 100)
            assert [(entity.type, entity.id, entity.count) for entity in entities] == [("user_id", user, 1)]
            assert await ledger.count_entities(pinned, SCOPE_FIELDS) == 1
            assert (await ledger.search_state(pinned, Scope())).speakers == {user}

    @pytest.mark.parametrize("field", SCOPE_FIELDS)
    async def test_every_part_of_a_scope_can_pin(self, ledger: Ledger, field: str) -> None:
        own = Scope("u", "a", "p", "r")
        await write(ledger, added("own", scope=own), added("other", scope=replace(own, **{field: "another"})))
        await write(ledger, added("without", scope=replace(own, **{field: ""})))
        pinned = replace(HERE, pin=Scope(**{field: getattr(own, field)}))
        assert await seen(ledger, pinned, ["own", "other", "without"], await head(ledger)) == {"own"}

    async def test_asking_for_another_scope_finds_nothing(self, ledger: Ledger) -> None:
        await write(ledger, added("m"), added("bob", scope=BOB))
        pinned = replace(HERE, pin=ALICE)
        seq = await head(ledger)
        assert await live(ledger, pinned, scope=BOB) == []
        assert await ledger.count(pinned, BOB, None, seq) == 0
        assert await ledger.matching(pinned, BOB, None, seq, None, 10) == []
        assert await happened(ledger, pinned, scope=BOB) == []
        assert len(await ledger.pool(pinned, BOB, None, ["m", "bob"], GENERATION, START)) == 0
        snapshot = await ledger.snapshot(pinned, BOB, None, GENERATION, seq, START, 10)
        assert snapshot is not None
        assert len(snapshot) == 0

    async def test_a_pin_bars_every_change_outside(self, ledger: Ledger) -> None:
        theirs = await one(ledger, added("theirs", "Likes tea", BOB))
        gone = await one(ledger, added("gone", scope=BOB))
        await write(ledger, deleted(gone))
        pinned = replace(HERE, pin=ALICE)
        before = await happened(ledger)
        for change in (
            added("new", scope=BOB),
            added("new", scope=Scope(agent_id="bot")),
            updated(theirs, metadata={"k": 1}),
            updated(replace(theirs, scope=ALICE), metadata={"k": 1}),
            added("theirs", scope=ALICE),
            added("theirs", scope=ALICE, revision=1),
            restored(replace(gone, revision=2)),
            restored(replace(gone, revision=2, scope=ALICE)),
            added("gone", scope=ALICE),
            added("gone", scope=ALICE, revision=6),
            deleted(theirs),
        ):
            with pytest.raises((MemoryNotFound, RevisionConflict)):
                await write(ledger, added("own"), change, access=pinned)
        assert await happened(ledger) == before
        assert await ledger.memories(HERE, ["theirs", "own", "new"]) == {"theirs": theirs}
        await write(ledger, added("own", "Likes tea", unique=True), access=pinned)  # what Bob said is no repeat

    async def test_refusals_name_only_what_was_asked(self, ledger: Ledger) -> None:
        await write(ledger, added("theirs", "Likes tea", Scope("alice", "bot")))
        pinned = replace(HERE, pin=Scope(user_id="alice", agent_id="another"))
        with pytest.raises(RecalldError) as unknown:
            await write(ledger, deleted(memory("unknown", revision=1)), access=pinned)
        with pytest.raises(RecalldError) as foreign:
            await write(ledger, deleted(memory("theirs", revision=1)), access=pinned)
        assert type(unknown.value) is type(foreign.value)
        assert unknown.value.message == foreign.value.message


class Projects:
    """Nothing crosses projects."""

    async def test_projects_never_mix(self, ledger: Ledger) -> None:
        """The same ids, texts, scopes and conversations on both sides."""
        for access in (HERE, ELSEWHERE):
            for n in range(3):
                fields: dict[str, Any] = {"conversation": "talk", "position": n, "speaker": access.project}
                text = f"{n} of {access.project}"
                await write(
                    ledger, added(f"m{n}", text, features=features(len(access.project)), **fields), access=access
                )
        for access, other in ((HERE, ELSEWHERE), (ELSEWHERE, HERE)):
            await write(ledger, added(f"only {access.project}"), access=access)
            only = f"only {other.project}"
            pool = await ledger.pool(access, ALICE, None, ["m1", only], GENERATION, START)
            assert sorted(pool.ids) == ["m0", "m1", "m2"]
            assert {tuple(terms.tolist()) for terms in pool.terms} == {(len(access.project),)}
            assert set(pool.speaker) == {access.project}
            assert only not in await seen(ledger, access, ["m0", only], await head(ledger))
            assert {m.text for m in (await ledger.memories(access, ["m0", "m1"])).values()} == {
                f"{n} of {access.project}" for n in range(2)
            }
            with pytest.raises(RevisionConflict):
                await write(ledger, deleted(memory(only, revision=1)), access=access)
        await write(ledger, deleted((await ledger.memories(HERE, ["m0"]))["m0"]))
        assert "m0" in await ledger.memories(ELSEWHERE, ["m0"])
        assert (await ledger.search_state(ELSEWHERE, ALICE)).speakers == {"other", "user"}
