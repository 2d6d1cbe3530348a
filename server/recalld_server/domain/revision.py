"""Changes to the ledger, the revisions they write, and the results of reads."""

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
    """A generation of an index: the embedding model, analyser version and language its entries were made with."""

    number: int
    model: str
    dimension: int
    analyser: int
    language: str = DEFAULT_LANGUAGE

    @property
    def name(self) -> str:
        """The unique name of the generation; entries of indexes with the same name are interchangeable."""
        return f"{self.number}/{self.model}/{self.dimension}/{self.analyser}/{self.language}"

    @classmethod
    def parse(cls, name: str) -> Generation:
        """Return the generation with this name. Model names may contain slashes."""
        number, rest = name.split("/", 1)
        model, dimension, analyser, language = rest.rsplit("/", 3)
        return cls(int(number), model, int(dimension), int(analyser), language)


@dataclass(frozen=True, slots=True)
class Features:
    """The features of one text: its terms, with repeats, and its vector. They can be recomputed from the text.

    The vector has unit length, or is all zeros if the model knows too few words of the text.
    """

    terms: UInt32Array
    vector: FloatVector
    generation: int = 0  # number of the generation they were made for; 0: the current one

    @property
    def meant(self) -> bool:
        """Whether the text has a vector, that is, the vector is not all zeros."""
        return bool(self.vector.any())


@dataclass(frozen=True, slots=True)
class Put:
    """Write a memory as its next revision.

    `expected` is the live revision that it replaces, 0 if the memory must not be live. `features` may be None only if
    the text does not change. A `unique` put fails if another live memory of the scope has the same text.
    """

    memory: Memory
    kind: Kind
    expected: int = 0
    features: Features | None = None
    unique: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete a memory whose live revision is `expected`."""

    memory_id: str
    expected: int
    cause: Cause = Cause.CALLER


@dataclass(frozen=True, slots=True)
class HistoricRevision:
    """One revision of an imported history, with its number and times.

    `features` is set if the previous revision has another text; otherwise `memory.text_revision` names the revision
    whose features it shares.
    """

    memory: Memory
    kind: Kind
    cause: Cause = Cause.NONE
    features: Features | None = None


@dataclass(frozen=True, slots=True)
class RequestKey:
    """The key of a stored outcome: RPC, request id, and the fingerprint of the request (SHA-256, hexadecimal)."""

    rpc: str
    request_id: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Conversation:
    """The messages of one add, in order; the commit assigns their positions in the conversation.

    `key` is empty for a conversation without a run, which has only this add. `restored` messages keep their positions.
    """

    add_id: str
    key: str
    messages: Sequence[Message]
    restored: bool = False


@dataclass(frozen=True, slots=True)
class Change:
    """The content of one transaction, which is applied completely or not at all.

    `histories` are memories that never existed in this ledger, each with all its revisions, oldest first. `attempt`
    numbers the answers stored under one request: 0 for the first, that of the partial outcome plus 1 when resuming.
    """

    puts: Sequence[Put] = ()
    deletes: Sequence[Delete] = ()
    histories: Sequence[Sequence[HistoricRevision]] = ()
    conversations: Sequence[Conversation] = ()
    request: RequestKey | None = None
    answer: Mapping[str, Any] = field(default_factory=dict)
    partial: bool = False
    attempt: int = 0
    request_id: str = ""  # recorded on the revisions if there is no `request`


@dataclass(frozen=True, slots=True)
class Commit:
    """The result of a change. `seq` is the new head of the project; `memories` are as stored, in the order of the puts.

    `touched` are the ids of the memories whose changes are pending for the index of `generation`.
    """

    seq: int
    memories: Sequence[Memory]
    touched: Sequence[str]
    generation: Generation


@dataclass(frozen=True, slots=True)
class Outcome:
    """A stored answer, with ids and revisions but no texts. `partial`: the call is not finished.

    A retry with the same request id resumes a partial outcome and commits with the next `attempt`. Of concurrent
    retries only one can commit; the other ones read the outcome again.
    """

    fingerprint: str
    answer: Mapping[str, Any]
    seq: int
    partial: bool
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Match:
    """A live memory found by a filter, at its revision. Matches are ordered by (`create_time` in µs, id)."""

    memory_id: str
    revision: int
    create_time: int


@dataclass(frozen=True, slots=True)
class Expired:
    """A live memory that expired at `expire_time` (µs), at its revision."""

    expire_time: int
    project: str
    memory_id: str
    revision: int

    @property
    def place(self) -> tuple[int, str, str]:
        """The sort key of expired memories over all projects."""
        return self.expire_time, self.project, self.memory_id


@dataclass(frozen=True, slots=True)
class Event:
    """A revision as a change. `before` is None for the first revision, `after` is None for a deletion."""

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
    """Sequence numbers of a project: the newest, the one up to which the index has every change, the oldest kept."""

    head: int
    applied: int
    oldest: int


@dataclass(frozen=True, slots=True)
class IndexLag:
    """The lag of an index: head minus applied sequence number, and the pending changes of all generations."""

    changes: int
    pending: int


@dataclass(frozen=True, slots=True)
class SearchState:
    """The inputs of a search: current generation, speakers of the scope, and positions of the project."""

    generation: Generation
    speakers: frozenset[str]
    positions: Positions


@dataclass(frozen=True, slots=True)
class ListQuery:
    """A query for a page of memories that are live, or were live at the sequence number `as_of`.

    `after` is (order value, id) of the last row of the previous page. Memories that have expired at `now` (µs) are left
    out.
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
    """Memories in order, whether more follow, and the total number of matches if it was requested."""

    memories: Sequence[Memory]
    more: bool
    total: int | None = None


@dataclass(frozen=True, slots=True)
class EventQuery:
    """A query for a page of events after the sequence number `after`, in order.

    The filter applies to the memory before and after the change; one match is enough.
    """

    after: int = 0
    memory_id: str = ""
    scope: Scope = Scope()
    filter: Filter | None = None
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Entity:
    """A user, agent, app or run that has live memories. Times are in µs."""

    type: str
    id: str
    count: int
    first_seen: int
    last_seen: int


@dataclass(frozen=True, slots=True)
class IndexEntry:
    """The entry of one live memory for the index: the memory, its features and its sequence number."""

    memory: Memory
    features: Features
    seq: int
