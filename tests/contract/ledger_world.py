"""Helpers of the ledger suite: a clock, two projects, and short ways to build changes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Access, Kind, Memory, Message, Scope
from recalld_server.domain.revision import (
    Change,
    Commit,
    Conversation,
    Delete,
    Event,
    EventQuery,
    Features,
    Generation,
    ListQuery,
    Match,
    Put,
    RequestKey,
)
from recalld_server.ports.ledger import Ledger

START = 1_700_000_000_000_000  # when a test begins; the projects were created the day before
SECOND = 1_000_000
DAY = 24 * 3600 * SECOND
GENERATION = Generation(number=1, model="test/model", dimension=4, analyser=1)
HERE = Access("default", principal="key")
ELSEWHERE = Access("other", principal="key")
ALICE = Scope(user_id="alice")
BOB = Scope(user_id="bob")


class FakeClock:
    """Time moves only when told to, and may go back."""

    def __init__(self) -> None:
        self.time = START - DAY

    def now(self) -> int:
        """µs since the epoch."""
        return self.time

    async def sleep(self, seconds: float) -> None:
        """Let that much time pass at once."""
        self.time += int(seconds * SECOND)


def features(*terms: int, axis: int = 0) -> Features:
    """Terms, and the unit vector along one of the four axes: exact at any precision."""
    return Features(np.array(terms, np.uint32), np.eye(4, dtype=np.float32)[axis])


def memory(memory_id: str, text: str = "", scope: Scope = ALICE, **fields: Any) -> Memory:
    """A memory nobody stored yet, in a conversation of its own."""
    fields = {"conversation": f"talk of {memory_id}", "speaker": "user", "add_id": f"add of {memory_id}"} | fields
    return Memory(memory_id, text or f"text of {memory_id}", scope, **fields)


def added(memory_id: str, text: str = "", scope: Scope = ALICE, *, unique: bool = False, **fields: Any) -> Put:
    """The put of a new memory."""
    made = fields.pop("features", features(7))
    return Put(memory(memory_id, text, scope, **fields), Kind.ADDED, features=made, unique=unique)


def updated(live: Memory, *, unique: bool = False, **fields: Any) -> Put:
    """The put of a live memory with other fields. Only a new text brings new features."""
    made = fields.pop("features", features(8, axis=1) if "text" in fields else None)
    return Put(replace(live, **fields), Kind.UPDATED, expected=live.revision, features=made, unique=unique)


def restored(newest: Memory, *, live: bool = False, as_it_was: Memory | None = None) -> Put:
    """The put that brings a memory back, as it was last or at an earlier revision."""
    back = replace(as_it_was or newest, revision=newest.revision)
    return Put(back, Kind.RESTORED, expected=newest.revision if live else 0)


def deleted(live: Memory) -> Delete:
    """The end of a live memory."""
    return Delete(live.id, live.revision)


def asked(request_id: str = "r", rpc: str = "Add", fingerprint: str = "f") -> RequestKey:
    return RequestKey(rpc, request_id, fingerprint)


def said(*contents: str, add_id: str = "add", key: str = "") -> Conversation:
    return Conversation(add_id, key, [Message("user", content) for content in contents])


async def write(ledger: Ledger, *changes: Put | Delete, access: Access = HERE, **rest: Any) -> Commit:
    """Commit puts and deletes as one change."""
    puts = [change for change in changes if isinstance(change, Put)]
    deletes = [change for change in changes if isinstance(change, Delete)]
    return await ledger.commit(access, Change(puts=puts, deletes=deletes, **rest))


async def one(ledger: Ledger, change: Put, access: Access = HERE, **rest: Any) -> Memory:
    """Commit one put and give the memory as stored."""
    return (await write(ledger, change, access=access, **rest)).memories[0]


async def live(ledger: Ledger, access: Access = HERE, **query: Any) -> list[str]:
    """Ids of a page, oldest first unless the query says otherwise."""
    in_list = ListQuery(**{"descending": False, "limit": 1000, **query})
    return [found.id for found in (await ledger.page(access, in_list)).memories]


async def matched(
    ledger: Ledger,
    as_of: int,
    condition: Filter | None = None,
    access: Access = HERE,
    limit: int = 100,
    scope: Scope = ALICE,
) -> list[tuple[str, int]]:
    """What `matching` finds page by page, and at which revision."""
    found: list[Match] = []
    after = None
    while page := await ledger.matching(access, scope, condition, as_of, after, limit):
        assert len(page) <= limit
        found += page
        after = (page[-1].create_time, page[-1].memory_id)
    return [(match.memory_id, match.revision) for match in found]


async def repeated(
    ledger: Ledger, scope: Scope, keys: Sequence[str], now: int, access: Access = HERE
) -> dict[str, Memory]:
    """What of one scope says these texts, by their keys."""
    found = await ledger.repeats(access, [(scope.key(), key) for key in keys], now)
    assert {of for of, _ in found} <= {scope.key()}
    return {key: memory for (_, key), memory in found.items()}


async def happened(ledger: Ledger, access: Access = HERE, **query: Any) -> Sequence[Event]:
    return await ledger.events(access, EventQuery(**{"limit": 10_000, **query}))


async def head(ledger: Ledger, access: Access = HERE) -> int:
    return (await ledger.positions(access)).head
