"""The model of test_stateful_model: the expected memories, events and exports."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from recalld_server.domain.memory import Memory


@dataclass(frozen=True)
class Kept:
    """A memory at one revision, as far as the model goes."""

    id: str
    user: str
    text: str
    tag: str
    revision: int
    expire: int | None = None

    @classmethod
    def of(cls, memory: Memory) -> Kept:
        tag = str(memory.metadata.get("tag", ""))
        return cls(memory.id, memory.scope.user_id, memory.text, tag, memory.revision, memory.expire_time)


@dataclass
class Model:
    """`states[s]` is what lived after sequence number s; `last` every memory at its last revision with content.

    `events` are those kept, `told` all there ever were, and `oldest` the first sequence number that can be looked at.
    """

    states: list[dict[str, Kept]] = field(default_factory=lambda: [{}])
    events: list[tuple[int, str, str, Kept | None, Kept | None]] = field(default_factory=list)
    last: dict[str, Kept] = field(default_factory=dict)
    revisions: dict[str, dict[int, Kept]] = field(default_factory=dict)
    times: list[int] = field(default_factory=lambda: [0])
    told: list[tuple[int, str, str]] = field(default_factory=list)
    oldest: int = 0
    now: int = 0

    @property
    def head(self) -> int:
        return len(self.states) - 1

    @property
    def live(self) -> dict[str, Kept]:
        return self.states[-1]

    def put(self, kind: str, kept: Kept) -> None:
        self._event(kind, kept.id, self.live.get(kept.id), kept)
        self.last[kept.id] = kept
        self.revisions.setdefault(kept.id, {})[kept.revision] = kept

    def delete(self, id: str) -> None:
        before = self.live[id]
        self._event("DELETED", id, before, None)
        self.last[id] = ended = replace(before, revision=before.revision + 1)
        self.revisions[id][ended.revision] = ended

    def forget(self, ids: Sequence[str]) -> None:
        live = set(self.live)
        for id in sorted(ids, key=lambda each: (each not in live, each)):  # what lives goes before what was deleted
            for state in self.states:
                state.pop(id, None)
            self.events = [(s, k, i, None, None) if i == id else (s, k, i, b, a) for s, k, i, b, a in self.events]
            self._event("FORGOTTEN", id, None, None)
            del self.last[id], self.revisions[id]

    def trim(self, before: int) -> None:
        """Lose what ended before a time; deletions and what was forgotten end as they begin."""
        self.oldest = max([self.oldest, *(event[0] for event in self.events if self.times[event[0]] <= before)])
        ends: dict[str, int] = {}
        kept = []
        for event in reversed(self.events):
            seq, kind, id, _, after = event
            end = seq if after is None else ends.get(id, self.head + 1)
            ends[id] = seq
            if end > self.oldest:
                kept.append((seq, kind, id, None, after) if seq <= self.oldest else event)
            elif id in self.last:
                del self.revisions[id][min(self.revisions[id])]
                if not self.revisions[id]:
                    del self.last[id], self.revisions[id]
        self.events = kept[::-1]

    def _event(self, kind: str, id: str, before: Kept | None, after: Kept | None) -> None:
        state = {key: kept for key, kept in self.live.items() if key != id}
        self.states.append(state | {id: after} if after else state)
        self.times.append(self.now)
        self.events.append((self.head, kind, id, before, after))
        self.told.append((self.head, kind, id))


@dataclass
class Snapshot:
    """An export: what lived when it was begun, whether one of these was forgotten since, and what was read."""

    id: str
    seq: int
    rows: dict[str, Kept]
    touched: bool = False
    found: dict[str, tuple[str, int]] = field(default_factory=dict)
