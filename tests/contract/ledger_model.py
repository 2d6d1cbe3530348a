"""Random histories compared with a simple model: a dictionary of revisions."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.contract.ledger_world import (
    GENERATION,
    HERE,
    SECOND,
    FakeClock,
    added,
    features,
    happened,
    head,
    live,
    matched,
    memory,
    updated,
    write,
)
from tests.profiles import examples

from recalld_server.domain.errors import RevisionConflict
from recalld_server.domain.filters import AnyOf, Comparison, Filter, NoneOf, Operator, matches
from recalld_server.domain.memory import Cause, Kind, Memory, Scope
from recalld_server.domain.revision import Delete, Event, Put
from recalld_server.ports.ledger import Ledger

SLOTS = 4
COLOURS = ("red", "blue", "")
FILTERS: tuple[Filter | None, ...] = (
    None,
    Comparison("metadata.colour", Operator.EQ, "red"),
    NoneOf(Comparison("metadata.colour", Operator.EQ, "red")),
    Comparison("metadata.colour", Operator.EXISTS, value=False),
    AnyOf((Comparison("text", Operator.CONTAINS, "blue"), Comparison("categories", Operator.EQ, "red"))),
)
# One change does something to some slots: write, end, bring back the first revision, or expect what is not so.
Deeds = dict[int, tuple[str, str]]
deeds = st.dictionaries(
    st.integers(0, SLOTS - 1),
    st.tuples(st.sampled_from(("write", "write", "write", "end", "first", "stale")), st.sampled_from(COLOURS)),
    min_size=1,
    max_size=3,
)
_scopes = count()


@dataclass
class Model:
    """Every event of one scope, and what follows from them."""

    scope: Scope
    events: list[Event] = field(default_factory=list)

    def of(self, memory_id: str) -> list[Event]:
        return [event for event in self.events if event.memory_id == memory_id]

    def live(self, seq: int) -> dict[str, Memory]:
        """What was live as of a sequence number, by id."""
        last = {event.memory_id: event.after for event in self.events if event.seq <= seq}
        return {memory_id: after for memory_id, after in last.items() if after is not None}

    def selected(self, seq: int, condition: Filter | None) -> list[Memory]:
        """As a list: oldest first."""
        found = [m for m in self.live(seq).values() if condition is None or matches(condition, m)]
        return sorted(found, key=lambda m: (m.create_time, m.id))

    def matching(self, seq: int, condition: Filter | None) -> list[tuple[str, int]]:
        """What matched as of then and lives now without having come back since, oldest first."""
        back = {e.memory_id for e in self.events if e.seq > seq and e.kind in (Kind.ADDED, Kind.RESTORED)}
        now = self.live(self.events[-1].seq if self.events else 0)
        found = [m.id for m in self.selected(seq, condition) if m.id in now and m.id not in back]
        return [(memory_id, now[memory_id].revision) for memory_id in found]

    def change(self, deeds: Deeds, names: list[str]) -> tuple[list[Put | Delete], bool]:
        """Puts and deletes for the deeds, and whether the ledger must refuse them."""
        puts: list[Put | Delete] = []
        refused = False
        for slot, (deed, colour) in deeds.items():
            past = self.of(names[slot])
            versions = [event.after for event in past if event.after]
            now = past[-1].after if past else None
            painted: dict[str, Any] = {"metadata": {"colour": colour}, "categories": (colour,)}
            look: dict[str, Any] = painted if colour else {"metadata": {}, "categories": ()}
            text = f"{slot} {colour}"
            if deed == "stale":
                refused = True
                puts.append(updated(memory(names[slot], scope=self.scope, revision=len(past) + 1), text=text))
            elif deed == "end":
                refused |= now is None
                puts.append(Delete(names[slot], len(past), Cause.CALLER))
            elif not past:
                puts.append(added(names[slot], text, self.scope, **look))
            elif deed == "first":
                back = replace(versions[0], revision=len(past))
                puts.append(Put(back, Kind.RESTORED, expected=len(past) if now else 0))
            elif now:
                puts.append(updated(now, text=text, **look))
            else:
                ended = replace(versions[-1], revision=len(past), text=text, **look)
                puts.append(Put(ended, Kind.RESTORED, features=features(9)))
        return puts, refused

    def record(self, puts: list[Put | Delete], seq: int, time: int) -> None:
        """What a change that went through must have become. Puts come before deletes."""
        for n, put in enumerate(sorted(puts, key=lambda put: isinstance(put, Delete))):
            memory_id = put.memory.id if isinstance(put, Put) else put.memory_id
            past = self.of(memory_id)
            after = _stored(put, len(past) + 1, time) if isinstance(put, Put) else None
            kind, cause = (put.kind, Cause.NONE) if isinstance(put, Put) else (Kind.DELETED, put.cause)
            before = past[-1].after if past else None
            self.events.append(Event(seq + n, kind, cause, memory_id, before, after, "key", "", time))


def _stored(put: Put, revision: int, time: int) -> Memory:
    return replace(
        put.memory,
        revision=revision,
        text_revision=revision if put.features else put.memory.text_revision,
        create_time=put.memory.create_time or time,
        update_time=time,
    )


class Histories:
    """Any history reads back as the model says."""

    # One test for every engine: each is an executor of its own to hypothesis.
    @settings(
        max_examples=examples(20),
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.differing_executors],
    )
    @given(history=st.lists(deeds, min_size=1, max_size=14))
    async def test_random_histories(self, ledger: Ledger, clock: FakeClock, history: list[Deeds]) -> None:
        """Each example has a scope of its own in the one ledger, so that others surround it."""
        number = next(_scopes)
        model = Model(Scope(user_id=f"user {number}"))
        names = [f"{number} {slot}" for slot in range(SLOTS)]
        begin = await head(ledger)
        for deeds_of_one in history:
            clock.time += SECOND
            puts, refused = model.change(deeds_of_one, names)
            before = await head(ledger)
            if refused:
                with pytest.raises(RevisionConflict):
                    await write(ledger, *puts)
                assert await head(ledger) == before
            else:
                commit = await write(ledger, *puts)
                assert commit.seq == before + len(puts)
                model.record(puts, before + 1, clock.time)
        await self.compare(ledger, model, begin, names)

    async def compare(self, ledger: Ledger, model: Model, begin: int, names: list[str]) -> None:
        scope, end = model.scope, await head(ledger)
        assert await ledger.memories(HERE, names) == model.live(end)
        for condition in FILTERS:
            told = [
                event
                for event in model.events
                if condition is None or any(m and matches(condition, m) for m in (event.before, event.after))
            ]
            assert list(await happened(ledger, scope=scope, filter=condition)) == told, condition
            for seq in range(begin, end + 1):
                expected = [m.id for m in model.selected(seq, condition)]
                asked: dict[str, Any] = {"scope": scope, "filter": condition, "as_of": seq}
                assert await live(ledger, **asked) == expected, (seq, condition)
                assert await live(ledger, **asked, descending=True) == expected[::-1], (seq, condition)
                assert await ledger.count(HERE, scope, condition, seq) == len(expected)
                assert await matched(ledger, seq, condition, scope=scope) == model.matching(seq, condition), (
                    seq,
                    condition,
                )
        for seq in range(begin, end + 1):
            assert await ledger.memories(HERE, names, seq) == model.live(seq), seq
            snapshot = await ledger.snapshot(HERE, scope, None, GENERATION, seq, 0, 100)
            assert snapshot is not None
            assert sorted(snapshot.ids) == sorted(model.live(seq))
        for name in names:
            past = model.of(name)
            latest = (await ledger.latest(HERE, [name])).get(name)
            assert (latest is not None and latest[1]) == (name in model.live(end))
            assert (latest[0].revision if latest else 0) == len(past)
            versions = {(name, n): event.after for n, event in enumerate(past, 1) if event.after}
            assert await ledger.revisions(HERE, list(versions)) == versions
