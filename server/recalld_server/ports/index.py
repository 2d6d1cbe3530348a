"""The port of the index: a projection of the ledger that nominates the candidates of a search.

Everything in the index can be rebuilt from the ledger. Any method may raise IndexUnavailable. A generation that the
index does not have behaves like an empty one.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import Generation, IndexEntry
from recalld_server.domain.vectors import FloatVector, UInt32Array


@dataclass(frozen=True, slots=True)
class IndexQuery:
    """A query for candidates, as of the time `now` in µs.

    `terms` are distinct; if empty, there is no keyword leg. `vector` has unit length; if None, there is no vector leg.
    """

    scope: Scope
    filter: Filter | None
    terms: UInt32Array
    vector: FloatVector | None
    now: int


@dataclass(frozen=True, slots=True)
class Nominations:
    """Candidate ids with raw scores, best first: BM25 (scale of the engine) and cosine.

    `exhausted` is True if a larger depth yields no more candidates in either leg. `absent` is True if the engine has no
    storage for the project: nothing was ever written to it, or it was lost.
    """

    keyword: Sequence[tuple[str, float]]
    vector: Sequence[tuple[str, float]]
    exhausted: bool
    absent: bool = False


class Index(Protocol):
    """The searchable entries of each project, one set per generation. `name` is the engine name shown to callers."""

    name: str

    async def apply(
        self, project: str, generation: Generation, puts: Sequence[IndexEntry], deletes: Sequence[str], mark: int
    ) -> None:
        """Upsert `puts` and delete `deletes`. Idempotent, and atomic if the engine supports that.

        Re-applying an entry repairs a partially lost one and never makes it temporarily unsearchable. An entry whose
        vector is all zeros has no vector and is found only by its terms; the vector of an earlier entry of the memory
        is removed.

        `mark` is a sequence number up to which the ledger has no pending changes. An index that may lose its last
        writes in a power failure stores it with them, so that the method `mark` tells what must be applied again.

        Raises EntryInvalid for an entry that the engine could not find again. Raises IndexLost if the storage of a
        project is known to be lost: it is created again only after the method `mark` has returned 0.
        """
        ...

    async def mark(self, project: str, generation: Generation) -> int:
        """Return the newest mark that is durable together with all entries applied before it; 0 for an empty index.

        In a cluster the majority of the nodes decides, so a lagging node cannot reset the mark to 0.
        """
        ...

    def require(self) -> None:
        """Raise IndexUnavailable if the engine is known to be unreachable. Makes no request to the engine.

        Searches call it first, so that all of them fail during an outage, even those that need no candidates.
        """
        ...

    async def check(self) -> None:
        """Check that the engine can be used with this configuration; the error message states the problem.

        Raises SettingMissing if the configuration or the engine version must change, IndexUnavailable if the problem
        may be temporary.
        """
        ...

    async def ping(self) -> None:
        """Make a request to the engine that depends on no project. Raises IndexUnavailable."""
        ...

    async def nominate(self, access: Access, generation: Generation, query: IndexQuery, depth: int) -> Nominations:
        """Return up to `depth` candidates per leg within project, pin, scope and filter, not expired at `query.now`.

        Candidates may be stale; callers check them against the ledger.
        """
        ...

    def entries(self, project: str, generation: Generation) -> AsyncIterator[tuple[str, int]]:
        """Iterate over (memory id, revision) of every entry, in any order, for comparison with the ledger."""
        ...

    async def revisions(self, project: str, generation: Generation, ids: Sequence[str]) -> Mapping[str, int]:
        """Return the indexed revision of each of these memories (at most 1,000) that has an entry."""
        ...

    async def remaining(self, project: str, ids: Sequence[str]) -> int:
        """Count the entries of these memories in all generations, by a query to the engine."""
        ...

    @property
    def clears(self) -> bool:
        """Whether `compact` can clear the files of the engine."""
        ...

    async def compact(self) -> bool | None:
        """Remove all traces of deleted entries from the caches and files of the engine. Other calls may run meanwhile.

        Returns False if that is not possible now, None if recalld cannot clear the files of the engine.
        """
        ...

    async def outage_count(self) -> int:
        """Return the number of outages seen so far. Each may have lost vectors that the engine had confirmed.

        Raises IndexUnavailable during an outage of a part of the engine.
        """
        ...

    async def drop(self, project: str, generation: Generation) -> None:
        """Delete every entry of the project in this generation."""
        ...

    async def close(self) -> None:
        """Finish running work and disconnect from the engine."""
        ...
