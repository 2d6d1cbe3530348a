"""Changes, the revisions they write, and what is read back of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Cause, Kind, Memory, Message, Scope
from recalld_server.domain.vectors import FloatVector, UInt32Array


class ChangeType(str, Enum):
    """What an add did to one memory."""

    ADD = "ADD"
    UPDATE = "UPDATE"
    DELETE = "DELETE"
    NONE = "NONE"


DEFAULT_LANGUAGE = "english"


@dataclass(frozen=True, slots=True)
class Generation:
    """The version of an index: which embedding model and analyser its entries were made with."""

    number: int
    model: str
    dimension: int
    analyser: int
    language: str = DEFAULT_LANGUAGE

    @property
    def name(self) -> str:
        """Equal for two indexes only if their entries may be mixed."""
        return f"{self.number}/{self.model}/{self.dimension}/{self.analyser}/{self.language}"

    @classmethod
    def parse(cls, name: str) -> Generation:
        """The generation of a name. Model names may hold slashes."""
        number, rest = name.split("/", 1)
        model, dimension, analyser, language = rest.rsplit("/", 3)
        return cls(int(number), model, int(dimension), int(analyser), language)


@dataclass(frozen=True, slots=True)
class Features:
    """What ranking needs of one text: its terms (with repeats) and its vector. Derived; rebuilt at will.

    The vector has unit length, or is all zeros for a text of which the model knows too few words.
    """

    terms: UInt32Array
    vector: FloatVector
    generation: int = 0  # number of the one they were made for; 0: whichever is in use

    @property
    def meant(self) -> bool:
        """Whether the vector tells what the text means."""
        return bool(self.vector.any())


@dataclass(frozen=True, slots=True)
class Put:
    """Write a memory as its next revision.

    `expected` is the live revision it replaces, 0 for a memory that must not be live. `features` may be None only when
    the text stays as it was. A `unique` put fails if another live memory of the scope has the same text.
    """

    memory: Memory
    kind: Kind
    expected: int = 0
    features: Features | None = None
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """End a memory at its live revision `expected`."""

    memory_id: str
    expected: int
    cause: Cause = Cause.CALLER


@dataclass(frozen=True, slots=True)
class HistoricRevision:
    """One revision of a memory's history as it is restored, number and times included.

    `features` are there for a text that none of the revisions before it has: `memory.text_revision` says whose it is.
    """

    memory: Memory
    kind: Kind
    cause: Cause = Cause.NONE
    features: Features | None = None


@dataclass(frozen=True, slots=True)
class RequestKey:
    """Under which an outcome is stored: the call, the caller's request id and what was asked (SHA-256, hexadecimal)."""

    rpc: str
    request_id: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """The messages of one add, in order; the commit gives them positions in their conversation.

    `key` is empty for a conversation that ends with its add. `restored` messages keep the positions they carry.
    """

    add_id: str
    key: str
    messages: Sequence[Message]
    restored: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """One transaction. All of it happens or none of it.

    `histories` are memories that were never there, each with all its revisions, oldest first. `attempt` numbers the
    answers stored under one request: 0 for the first, one more than that of the partial one which this goes on from.
    """

    puts: Sequence[Put] = ()
    deletes: Sequence[Delete] = ()
    histories: Sequence[Sequence[HistoricRevision]] = ()
    conversations: Sequence[Conversation] = ()
    request: RequestKey | None = None
    answer: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False
    attempt: int = 0
    request_id: str = ""  # recorded on the revisions where there is no `request`


@dataclass(frozen=True, slots=True)
class Commit:
    """What a change became. `seq` is the project's head afterwards; `memories` as stored, in the order of the puts.

    `touched` names the memories an index of `generation` has to be told of.
    """

    seq: int
    memories: Sequence[Memory]
    touched: Sequence[str]
    generation: Generation


@dataclass(frozen=True, slots=True)
class Outcome:
    """A stored answer: ids and revisions, never texts. `partial` means the work goes on under the same request id.

    Whoever goes on commits with the next `attempt`; of several that do at once one commits, the others look again.
    """

    fingerprint: str
    answer: Mapping[str, Any]
    seq: int
    partial: bool
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """A live memory at its revision, found by a filter. `create_time` (µs) and id are its place in the order."""

    memory_id: str
    revision: int
    create_time: int


@dataclass(frozen=True, slots=True)
class Expired:
    """A live memory at its revision that has expired, at `expire_time` µs."""

    expire_time: int
    project: str
    memory_id: str
    revision: int

    @property
    def place(self) -> tuple[int, str, str]:
        """Its place in the order of what expires, over all projects."""
        return self.expire_time, self.project, self.memory_id


@dataclass(frozen=True, slots=True)
class Event:
    """A revision seen as a change. `before` is None for the first, `after` for a deletion."""

    seq: int
    kind: Kind
    cause: Cause
    memory_id: str
    before: Memory | None
    after: Memory | None
    principal: str
    request_id: str
    time: int


@dataclass(frozen=True, slots=True)
class Positions:
    """Sequence numbers of a project: the newest, the newest up to which the index has everything, the oldest kept."""

    head: int
    applied: int
    oldest: int


@dataclass(frozen=True, slots=True)
class IndexLag:
    """How far an index is behind: head minus applied sequence number, and the changes pending in all generations."""

    changes: int
    pending: int


@dataclass(frozen=True, slots=True)
class SearchState:
    """What a search must know first: the index version, who speaks in the scope, where the project stands."""

    generation: Generation
    speakers: frozenset[str]
    positions: Positions


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A page of live memories, or of those live as of a sequence number.

    `after` is (order value, id) of the last row already given. `now` hides what has expired by then.
    """

    scope: Scope = Scope()
    filter: Filter | None = None
    order: str = "create_time"
    descending: bool = True
    limit: int = 100
    skip: int = 0
    after: tuple[int, str] | None = None
    as_of: int | None = None
    now: int = 0
    count: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """Memories in order, whether more follow, and how many match in all if that was asked."""

    memories: Sequence[Memory]
    more: bool
    total: int | None = None


@dataclass(frozen=True, slots=True)
class EventQuery:
    """A page of events after a sequence number, in order. A filter holds if it holds before or after the change."""

    after: int = 0
    memory_id: str = ""
    scope: Scope = Scope()
    filter: Filter | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Entity:
    """A user, agent, app or run that live memories belong to. Times in µs."""

    type: str
    id: str
    count: int
    first_seen: int
    last_seen: int


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """What the ledger says of one memory to an index: the live memory and its features, at a sequence number."""

    memory: Memory
    features: Features
    seq: int
