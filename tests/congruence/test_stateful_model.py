"""A year of random changes to a project, compared with a model in memory.

The model stores the live memories after each sequence number, and one line per event. Forgetting removes a memory from
all of them; trimming removes those that a newer revision had replaced by then.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, multiple, precondition, rule
from tests.congruence.small_world import DAY, OwnClock, opened
from tests.congruence.stateful_model import Kept, Model, Snapshot
from tests.profiles import examples
from tests.weaviate_node import Node

from recalld_server.adapters.index.weaviate import schema
from recalld_server.domain.commands import AddCommand, ExportCommand, Format
from recalld_server.domain.errors import (
    ExportNotFound,
    ExportWithdrawn,
    HistoryTrimmed,
    MemoryNotDeleted,
    MemoryNotFound,
    RevisionNotFound,
)
from recalld_server.domain.exports import ExportState
from recalld_server.domain.filters import Comparison, Operator
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.domain.revision import EventQuery, ListQuery, RequestKey
from recalld_server.usecases.forgetting import ForgetCommand
from recalld_server.usecases.memories import Deletion, Update
from recalld_server.usecases.queries import AsOf
from recalld_server.usecases.watch import Position, WatchQuery

HERE = Access("default", principal="key")
USERS = st.sampled_from(["ann", "bob", "ANN"])
TAGS = st.sampled_from(["red", "blue"])
T = TypeVar("T")


class Year(RuleBasedStateMachine):
    """The rules are the calls of the service, time, and restarts."""

    memories = Bundle("memories")
    index = "embedded"

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp(prefix="year-"))
        self.loop = asyncio.Runner()
        self.clock = OwnClock()
        self.model = Model(now=self.clock.time)
        self.texts = 0
        self.watched: list[tuple[int, str, str]] = []
        self.position: Position | None = None
        self.retention = 0
        self.exports: list[Snapshot] = []
        self.ledger = self.new_ledger()
        self.recalld = self.run(opened(self.folder, self.clock, self.ledger, self.index))

    def new_ledger(self) -> str:
        """Where the truth is kept, as `--ledger` takes it."""
        return "embedded"

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.loop.run(work)

    def teardown(self) -> None:
        self.run(self.recalld.close())
        self.loop.close()
        shutil.rmtree(self.folder)

    def text(self) -> str:
        self.texts += 1
        return f"Owns thing number {self.texts}"

    @rule(target=memories, user=USERS, tag=TAGS, count=st.integers(1, 3), days=st.none() | st.integers(1, 60))
    def add(self, user: str, tag: str, count: int, days: int | None) -> Any:
        said = [Message("user", self.text()) for _ in range(count)]
        expire = None if days is None else self.clock.time + days * DAY
        command = AddCommand(Scope(user_id=user), said, {"tag": tag}, infer=False, expire_time=expire)
        added = [result.memory for result in self.run(self.recalld.add.add(HERE, command)).results]
        assert [memory.text for memory in added] == [message.content for message in said]
        for memory in added:
            self.model.put("ADDED", Kept(memory.id, user, memory.text, tag, 1, expire))
        return multiple(*(memory.id for memory in added))

    @rule(id=memories, tag=TAGS, new_text=st.booleans())
    def update(self, id: str, tag: str, new_text: bool) -> None:
        values: dict[str, Any] = {"metadata": {"tag": tag}} | ({"text": self.text()} if new_text else {})
        work = self.recalld.memories.update(HERE, [Update(id, values)], None)
        if id not in self.model.live:
            assert isinstance(self.failure(work), MemoryNotFound)
            return
        self.run(work)
        kept = self.model.live[id]
        text = values.get("text", kept.text)
        self.model.put("UPDATED", replace(kept, text=text, tag=tag, revision=kept.revision + 1))

    @rule(id=memories)
    def delete(self, id: str) -> None:
        work = self.recalld.memories.delete(HERE, [id], None)
        if id not in self.model.live:
            assert isinstance(self.failure(work), MemoryNotFound)
            return
        self.run(work)
        self.model.delete(id)

    @rule(user=USERS, tag=TAGS)
    def delete_matching(self, user: str, tag: str) -> None:
        deletion = Deletion(Scope(user_id=user), Comparison("metadata.tag", Operator.EQ, tag))
        found = sorted(kept.id for kept in self.model.live.values() if (kept.user, kept.tag) == (user, tag))
        assert self.run(self.recalld.memories.delete_matching(HERE, deletion)).count == len(found)
        for id in found:
            self.model.delete(id)

    @rule(id=memories, revision=st.none() | st.integers(1, 4))
    def restore(self, id: str, revision: int | None) -> None:
        work = self.recalld.memories.restore(HERE, id, revision, None)
        if id not in self.model.last:
            assert isinstance(self.failure(work), MemoryNotFound)
            return
        if revision is None and id in self.model.live:
            assert isinstance(self.failure(work), MemoryNotDeleted)
            return
        last = self.model.last[id]
        if revision is not None and revision not in self.model.revisions[id]:
            trimmed = revision < last.revision and self.model.oldest
            assert isinstance(self.failure(work), HistoryTrimmed if trimmed else RevisionNotFound)
            return
        wanted = last if revision is None else self.model.revisions[id][revision]
        self.run(work)
        expire = wanted.expire if wanted.expire and wanted.expire > self.clock.time else None
        self.model.put("RESTORED", replace(wanted, revision=last.revision + 1, expire=expire))

    @rule(user=st.none() | USERS, tag=st.none() | TAGS)
    def forget(self, user: str | None, tag: str | None) -> None:
        if user is None and tag is None:
            return
        condition = Comparison("metadata.tag", Operator.EQ, tag) if tag else None
        found = [
            kept.id
            for kept in self.model.last.values()
            if (user is None or kept.user == user) and (tag is None or kept.tag == tag)
        ]
        scope = Scope(user_id=user or "")
        receipt = self.run(
            self.recalld.forgetting.forget(HERE, ForgetCommand(scope, condition, expected_count=len(found)))
        )
        revisions = sum(len(self.model.revisions[id]) for id in found)
        assert (receipt.memories, receipt.revisions) == (len(found), revisions)
        self.model.forget(found)
        for export in self.exports:
            export.touched |= bool(export.seq and export.rows.keys() & set(found))

    @rule(id=consumes(memories))
    def let_go(self, id: str) -> None:
        """So that later rules mostly meet memories that are still there."""

    @rule(days=st.integers(1, 40))
    def time_passes(self, days: int) -> None:
        self.exports_hold_what_was_there()
        self.model.now = self.clock.time = self.clock.time + days * DAY
        self.run(self.recalld.retention.round())
        live = self.model.live.values()
        gone = [(kept.expire, kept.id) for kept in live if kept.expire and kept.expire <= self.clock.time]
        for _, id in sorted(gone):  # what expired first goes first
            self.model.delete(id)
        if self.retention:
            self.model.trim(self.clock.time - self.retention)
        for export in self.exports:  # each is kept for a day
            assert isinstance(self.failure(self.read(export)), ExportNotFound)
        self.exports.clear()

    @rule(days=st.none() | st.integers(10, 60))
    def history_is_kept_for(self, days: int | None) -> None:
        """Changes come at full days; with half a day, their microseconds do not matter to which of them are too old."""
        self.retention = 0 if days is None else days * DAY + DAY // 2
        values = {"history_retention": self.retention or None}
        self.run(self.recalld.projects.change_settings(HERE, "default", values, None))

    @rule(user=USERS)
    def export(self, user: str) -> None:
        """Begun now, and written whenever the worker gets to it."""
        asked = ExportCommand(Scope(user_id=user), None, Format.JSONL)
        key = RequestKey("CreateExport", "", str(len(self.exports)))
        work = self.recalld.exports.start(HERE, asked, key)
        rows = self.shown(self.model.live, user)
        self.exports.append(Snapshot(self.run(work).subject, self.model.head, rows))

    @precondition(lambda self: self.exports)
    @rule()
    def exports_hold_what_was_there(self) -> None:
        for export in self.exports:
            found = self.failure(self.read(export))
            if export.touched:
                assert isinstance(found, ExportWithdrawn)
            else:
                assert found is None
                assert export.found == {id: (kept.text, kept.revision) for id, kept in export.rows.items()}

    async def read(self, export: Snapshot) -> None:
        """Read an export into `found`, once it is written. Raises what reading raises."""
        working = asyncio.create_task(self.recalld.worker.run())
        try:
            async with asyncio.timeout(30):
                while (await self.recalld.exports.get(HERE, export.id)).state is ExportState.PENDING:  # noqa: ASYNC110
                    await asyncio.sleep(0.002)
            data = b"".join([piece.data async for piece in self.recalld.exports.read(HERE, export.id, 0)])
        finally:
            working.cancel()
            await asyncio.gather(working, return_exceptions=True)
        rows = [json.loads(line) for line in data.splitlines()]
        export.found = {row["id"]: (row["memory"], row["revision"]) for row in rows}
        assert len(rows) == len(export.found)

    @rule()
    def restart(self) -> None:
        self.run(self.recalld.close())
        self.recalld = self.run(opened(self.folder, self.clock, self.ledger, self.index))

    @precondition(lambda self: self.model.events)
    @rule(data=st.data(), user=st.none() | USERS)
    def the_past_is_as_it_was(self, data: st.DataObject, user: str | None) -> None:
        seq = data.draw(st.integers(0, self.model.head))
        if seq < self.model.oldest:
            work = self.recalld.queries.list(HERE, ListQuery(), AsOf(seq=seq))
            assert isinstance(self.failure(work), HistoryTrimmed)
            return
        found = self.listed(ListQuery(scope=Scope(user_id=user or ""), limit=1000), AsOf(seq=seq))
        assert found == self.shown(self.model.states[seq], user, self.model.times[seq])

    @rule(pieces=st.integers(1, 10))
    def watch_some_more(self, pieces: int) -> None:
        """One watch over the whole year, in pieces and across restarts."""

        at = self.position
        if at and max(at.seq, at.floor) < self.model.oldest:
            assert isinstance(self.failure(self.told(at)), HistoryTrimmed)
            at = None
        self.watched.clear()
        ever = self.model.told if at else [event[:3] for event in self.model.events]
        left = sum(seq > (at.seq if at else 0) for seq, *_ in ever)

        async def more() -> None:
            query = WatchQuery(beginning=at is None, after=at)
            async with aclosing(self.recalld.watch.run(HERE, query)) as sights:
                self.position = (await anext(sights)).position
                for _ in range(min(pieces, left)):
                    sight = await anext(sights)
                    assert sight.event is not None
                    self.watched.append((sight.event.seq, sight.event.kind.value, sight.event.memory_id))
                    self.position = sight.position

        self.run(more())
        assert self.watched == [each for each in ever if not at or each[0] > at.seq][: len(self.watched)]

    async def told(self, at: Position) -> None:
        async with aclosing(self.recalld.watch.run(HERE, WatchQuery(after=at))) as sights:
            await anext(sights)
            await asyncio.wait_for(anext(sights), 5)

    @invariant()
    def the_present_is_the_models(self) -> None:
        assert self.listed(ListQuery(limit=1000)) == self.shown(self.model.live)

    @invariant()
    def the_history_is_the_models(self) -> None:
        events = self.run(self.recalld.ledger.events(HERE, EventQuery(limit=10_000)))
        told = [
            (e.seq, e.kind.value, e.memory_id, e.before and Kept.of(e.before), e.after and Kept.of(e.after))
            for e in events
        ]
        assert told == self.model.events

    @invariant()
    def the_index_holds_what_lives(self) -> None:
        async def held() -> dict[str, int]:
            generation = await self.recalld.ledger.generation("default")
            return {id: revision async for id, revision in self.recalld.index.entries("default", generation)}

        assert self.run(held()) == {kept.id: kept.revision for kept in self.model.live.values()}

    def listed(self, query: ListQuery, as_of: AsOf | None = None) -> dict[str, Kept]:
        page = self.run(self.recalld.queries.list(HERE, query, as_of))
        return {memory.id: Kept.of(memory) for memory in page.memories}

    def shown(self, state: dict[str, Kept], user: str | None = None, now: int | None = None) -> dict[str, Kept]:
        """What had not expired at a time, by default now."""
        now = self.clock.time if now is None else now
        return {
            kept.id: kept
            for kept in state.values()
            if (user is None or kept.user == user) and (kept.expire is None or kept.expire > now)
        }

    def failure(self, work: Coroutine[Any, Any, Any]) -> Exception | None:
        try:
            self.run(work)
        except Exception as error:  # noqa: BLE001 - the caller says which it must be
            return error
        return None


TestStatefulModel = Year.TestCase
TestStatefulModel.settings = settings(
    max_examples=examples(8), stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
)


class YearOnWeaviate(Year):
    """The same, with the index elsewhere. Every year has collections of its own."""

    def __init__(self) -> None:
        schema.PREFIX = f"Y{uuid4().hex[:8]}x"
        super().__init__()


@pytest.fixture
def years_elsewhere(weaviate: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(YearOnWeaviate, "index", weaviate.url)
    monkeypatch.setattr(schema, "PREFIX", schema.PREFIX)  # put back afterwards


@pytest.mark.needs_weaviate
@pytest.mark.usefixtures("years_elsewhere")
class TestStatefulModelOnWeaviate(YearOnWeaviate.TestCase):  # type: ignore[name-defined,misc]
    """Fewer of them: each change is a call."""

    settings = settings(TestStatefulModel.settings, max_examples=examples(2))
