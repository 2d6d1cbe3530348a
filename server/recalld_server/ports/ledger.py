"""The port of the ledger: the truth about every memory.

Every method is one transaction and takes the access; adapters AND the project and the pin into every statement, so what
lies outside is never seen. Any method may raise LedgerUnavailable. Nothing here waits for the index.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence, Set
from typing import Protocol, TypeVar

from recalld_server.domain.filters import Filter
from recalld_server.domain.forgetting import ErasureScope, ErasureTarget, Forgotten, Remains
from recalld_server.domain.memory import Access, Memory, Scope
from recalld_server.domain.ranking import Pool
from recalld_server.domain.revision import (
    Change,
    Commit,
    Entity,
    Event,
    EventQuery,
    Expired,
    Features,
    Generation,
    IndexEntry,
    IndexLag,
    ListQuery,
    Match,
    Outcome,
    Page,
    Positions,
    RequestKey,
    SearchState,
)

T = TypeVar("T")


class Ledger(Protocol):
    """Revisions of memories under gap-free sequence numbers for each project."""

    async def generation(self, project: str) -> Generation:
        """The index version the project's searches use. Raises ProjectNotFound."""
        ...

    async def commit(self, access: Access, change: Change) -> Commit:
        """Write a change; durable when it returns.

        Revisions get consecutive sequence numbers in commit order and strictly increasing times. Raises
        RevisionConflict, DuplicateText, OutcomeTaken (this request id was stored meanwhile), GenerationMoved (features
        were made for another generation), or MemoryNotFound for what lies outside the pin; then nothing was written.
        A history is a RevisionConflict when there was ever a memory with its id.
        """
        ...

    async def outcomes(self, access: Access, rpc: str, request_ids: Sequence[str]) -> Mapping[str, Outcome]:
        """As `outcome`, of many requests at once, by request id: those that have one."""
        ...

    async def outcome(self, access: Access, rpc: str, request_id: str) -> Outcome | None:
        """The answer stored under a request id of this principal in the last 24 hours."""
        ...

    async def memories(self, access: Access, ids: Sequence[str], as_of: int | None = None) -> Mapping[str, Memory]:
        """The memories among `ids` that are live (as of a sequence number), with their sources.

        Absent = deleted, never there, or outside the pin. Here, in `revisions`, `latest` and `repeats` memories come
        without their sources once those of the ones named before them have CALL_BYTES together: more is never shown.
        """
        ...

    async def revisions(self, access: Access, named: Sequence[tuple[str, int]]) -> Mapping[tuple[str, int], Memory]:
        """Memories as they were at (id, revision); absent ones are left out."""
        ...

    async def latest(self, access: Access, ids: Sequence[str]) -> Mapping[str, tuple[Memory, bool]]:
        """The newest revision of each memory and whether it is live; absent: there was never one inside the access."""
        ...

    async def repeats(
        self, access: Access, texts: Sequence[tuple[str, str]], now: int
    ) -> Mapping[tuple[str, str], Memory]:
        """Live, unexpired memories by (scope key, text key): those of exactly that scope with that text."""
        ...

    async def outside(self, access: Access, ids: Sequence[str], add_ids: Sequence[str]) -> frozenset[str]:
        """Which of these ids of memories and adds belong to what lies outside the pin; none without a pin.

        For importers alone, who bring ids of their own. That one is taken is all a caller may learn of it.
        """
        ...

    async def page(self, access: Access, query: ListQuery) -> Page:
        """List memories; see ListQuery. Fewer than its limit where they have PAGE_BYTES together."""
        ...

    async def matching(
        self,
        access: Access,
        scope: Scope,
        filter: Filter | None,
        as_of: int,
        after: tuple[int, str] | None,
        limit: int,
    ) -> Sequence[Match]:
        """Memories that matched as of a sequence number and still live, by create time and id, at most `limit`.

        `after` is (create time, id) of the last one already given. A memory restored or added since then is not among
        them. All pages together go through the live memories once.
        """
        ...

    async def count(self, access: Access, scope: Scope, filter: Filter | None, as_of: int) -> int:
        """How many memories matched as of a sequence number."""
        ...

    async def pool(
        self,
        access: Access,
        scope: Scope,
        filter: Filter | None,
        ids: Sequence[str],
        generation: Generation,
        now: int,
        window: int = 2,
    ) -> Pool:
        """Live candidates among `ids`, and neighbours in the conversation up to `window` positions from one.

        The first SURROUNDED ids bring their neighbours, the others at most what shares their place. All rows
        lie inside access and scope and have not expired; `eligible` marks those inside the filter. Raises
        GenerationMoved when the project uses another generation by now.
        """
        ...

    async def chosen(
        self,
        access: Access,
        scope: Scope,
        filter: Filter | None,
        ids: Sequence[str],
        generation: Generation,
        now: int,
        choose: Callable[[Pool], tuple[T, Sequence[str]]],
    ) -> tuple[T, Mapping[str, Memory]]:
        """What `choose` makes of the pool of `ids`, and the memories whose ids it names, as of the same moment.

        `choose` runs in the caller's context, but not in its thread, and must not take long. Raises as `pool` does.
        """
        ...

    async def snapshot(
        self,
        access: Access,
        scope: Scope,
        filter: Filter | None,
        generation: Generation,
        as_of: int,
        now: int,
        limit: int,
    ) -> Pool | None:
        """All rows of a scope as of a sequence number that had not expired at `now`, none marked as candidate.

        None if they are more than `limit`. Raises GenerationMoved.
        """
        ...

    async def features(self, access: Access, ids: Sequence[str], generation: Generation) -> Mapping[str, Features]:
        """Features of live memories."""
        ...

    async def search_state(self, access: Access, scope: Scope) -> SearchState:
        """What a search of the scope starts from: all that was answered before the call is in it.

        Speakers are empty without a scope id. Raises ProjectNotFound.
        """
        ...

    async def events(self, access: Access, query: EventQuery) -> Sequence[Event]:
        """Events in order of their sequence numbers: fewer than the limit where they have PAGE_BYTES together."""
        ...

    async def follow(self, access: Access, query: EventQuery) -> tuple[Sequence[Event], bool, Positions]:
        """Events as `events` gives them, whether more follow, and where the project stood at that very moment."""
        ...

    async def entities(
        self, access: Access, types: Sequence[str], after: tuple[str, str] | None, limit: int
    ) -> Sequence[Entity]:
        """Entities with live memories, ordered by (type, id)."""
        ...

    async def count_entities(self, access: Access, types: Sequence[str]) -> int:
        """How many entities of these types have live memories."""
        ...

    async def known(self, access: Access, scope: Scope) -> bool:
        """Whether a memory of this scope was ever stored, live or not."""
        ...

    async def positions(self, access: Access) -> Positions:
        """Where the project stands."""
        ...

    async def sequence_at(self, access: Access, time: int) -> int:
        """The last sequence number committed at or before a time in µs; 0 if none was."""
        ...

    async def time_of(self, access: Access, seq: int) -> int:
        """When a sequence number was committed, in µs; 0 for 0 and for one that is not kept."""
        ...

    # For the projector: the project's own work, under no pin.

    async def ping(self) -> None:
        """Raises LedgerUnavailable where the ledger can't take changes: not there, damaged, its disk full."""
        ...

    async def projects(self) -> Sequence[str]:
        """All projects."""
        ...

    async def pending(self, project: str, generation: Generation, limit: int) -> Sequence[str]:
        """Memories with changes the index has not been told of, oldest first."""
        ...

    async def behind(self, age: float) -> Sequence[str]:
        """Projects, by id, with changes pending since `age` seconds or more that nobody has claimed."""
        ...

    async def claim(
        self, project: str, generation: Generation, age: float, seconds: float, limit: int
    ) -> Sequence[str]:
        """Take at most `limit` changes pending since `age` seconds or more, the oldest; the memories they are of.

        For `seconds`, by the clock of who claims, nobody else is given them; who claims does not wait for others.
        Nothing depends on that but work: `settle` goes by revisions, whoever calls it.
        """
        ...

    async def release(self, project: str, generation: Generation, ids: Sequence[str]) -> None:
        """Let others claim at once what is still pending of these memories."""
        ...

    async def lags(self) -> Mapping[str, IndexLag]:
        """How far the index is behind in every project that has anything pending."""
        ...

    async def backlog(self, project: str) -> int:
        """How many changes are pending, in all generations."""
        ...

    async def expired(
        self, now: int, without: Collection[str], after: tuple[int, str, str] | None, limit: int
    ) -> Sequence[Expired]:
        """Live memories outside `without` that expired at or before `now`, by place, after `after`, at most `limit`."""
        ...

    async def purge_outcomes(self, before: int, limit: int) -> int:
        """Drop at most `limit` of the answers stored at or before a time, the oldest. Returns how many."""
        ...

    async def retentions(self) -> Mapping[str, int]:
        """The projects that keep their history for a limited time, and for how long, µs."""
        ...

    async def retention(self, project: str) -> int | None:
        """How long history is kept, µs; None for good. Raises ProjectNotFound."""
        ...

    async def trim(self, project: str, before: int, limit: int) -> bool:
        """Drop what was current only until before a time, at most `limit` revisions of it; True if more is left.

        Positions.oldest rises first, so nobody takes what is left for the whole. What the index was not told of stays.
        """
        ...

    async def extent(self, access: Access, scope: Scope, filter: Filter | None) -> ErasureScope:
        """How much `forget` would erase."""
        ...

    async def begin_forgetting(
        self, access: Access, scope: Scope, filter: Filter | None, request: RequestKey | None
    ) -> Forgotten:
        """Withdraw every export that may hold what matches, and keep under `request` that forgetting has begun.

        From the return on nobody reads these exports, and their operations have ended. Nothing is erased yet.
        """
        ...

    async def forget(
        self,
        access: Access,
        scope: Scope,
        filter: Filter | None,
        limit: int,
        request: RequestKey | None,
        done: Forgotten,
    ) -> Forgotten:
        """Erase the next memories that match at their last revision, deleted ones included, for good.

        Text, metadata, categories, sources and ids of every revision go, with features, facets and the messages no
        live memory was taken from; a FORGOTTEN revision ends each. Exports begun meanwhile that may hold them are
        withdrawn in the same transaction. At most `limit` revisions, unless a single memory has more. `done` is what
        came before in the same call, `begin_forgetting` first, and the sum is kept as a partial outcome under
        `request`. It is done when its `place` is None.
        """
        ...

    async def remains(self, project: str, after: int, limit: int) -> Remains:
        """What the tables still hold of the next memories that were forgotten after a sequence number, by looking.

        In the order in which they were forgotten, at most `limit`; without ids when there are no more.
        """
        ...

    async def said(self, project: str, messages: Collection[tuple[str, int]]) -> int:
        """How many of these messages, by add and position, are there."""
        ...

    async def answers(self, project: str) -> bool:
        """Whether answers of the project are kept for retries."""
        ...

    async def erasures(self) -> int:
        """The number of the latest erasure of rows for good, unless `cleared` was told of it; then 0."""
        ...

    async def compact(self) -> bool | None:
        """Clear caches and what erased rows left in the engine's files, while others go on reading and writing.

        False if that could not be done now, None where the files are out of reach.
        """
        ...

    async def cleared(self, number: int) -> None:
        """Files hold nothing of erasures up to this number any more."""
        ...

    @property
    def clears(self) -> bool:
        """Whether `compact` can reach the engine's files."""
        ...

    def file_legs(self, cleared: bool) -> Sequence[ErasureTarget]:
        """What a receipt says of the engine's files: `cleared` since the erasure, or not yet."""
        ...

    async def pend_after(self, project: str, generation: Generation, seq: int) -> int | None:
        """Make memories changed after `seq` (all, if another try broke off) pending again; how many rows were added.

        In transactions before the last of which nothing counts as applied. None: another server is at it.
        """
        ...

    async def interrupted(self, project: str, generation: Generation) -> bool:
        """Whether a `pend_after` broke off; `behind` names the project, too."""
        ...

    async def entries(
        self, project: str, generation: Generation, ids: Sequence[str]
    ) -> tuple[Mapping[str, IndexEntry], Positions]:
        """What the index should hold of `ids` (absent = nothing), and where the project stood when that was read.

        Raises FeaturesMissing where live memories have none in the generation in use.
        """
        ...

    async def add_features(
        self, project: str, generation: Generation, memories: Sequence[Memory], features: Sequence[Features]
    ) -> None:
        """Keep features of texts that live memories still have and that have none yet."""
        ...

    async def settle(self, project: str, generation: Generation, applied: Mapping[str, int], seq: int) -> Sequence[str]:
        """Clear what is pending up to `seq` for the memories whose live revision is still the applied one (0 = none).

        Returns the memories that moved meanwhile; they stay pending. Raises GenerationMoved when the project has gone
        on to a later generation, or is gone.
        """
        ...

    async def unfeatured(self, project: str, generation: Generation, limit: int) -> Sequence[Memory]:
        """Live memories without features in this generation."""
        ...

    async def live(self, project: str, after: str, limit: int) -> Sequence[tuple[str, int]]:
        """(id, revision) of live memories with ids above `after`, by id: what a complete index holds."""
        ...

    async def live_among(self, project: str, ids: Sequence[str]) -> Set[str]:
        """Those of `ids` whose memories are live."""
        ...

    async def pending_among(self, project: str, generation: Generation, ids: Sequence[str]) -> Set[str]:
        """Those of `ids` with changes the index has not been told of."""
        ...

    async def close(self) -> None:
        """Finish running transactions and let go of the engine."""
        ...
