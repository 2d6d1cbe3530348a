"""The port of the index: a projection of the ledger that nominates candidates for searches.

It is never the only place of anything. Any method may raise IndexUnavailable. An index that does not carry the
generation asked for behaves as an empty one.
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
    """What to look for: distinct terms (no keyword leg when empty) and a unit vector (no vector leg when None)."""

    scope: Scope
    filter: Filter | None
    terms: UInt32Array
    vector: FloatVector | None
    now: int


@dataclass(frozen=True, slots=True)
class Nominations:
    """Candidate ids with raw scores, best first: BM25 (engine's own scale) and cosine.

    `exhausted` is True when neither leg has more to give at a larger depth. `absent` is True when the engine has no
    place for the project at all: nothing was ever put there, or it was lost.
    """

    keyword: Sequence[tuple[str, float]]
    vector: Sequence[tuple[str, float]]
    exhausted: bool
    absent: bool = False


class Index(Protocol):
    """Searchable entries of each project, one set for each generation. `name` is what callers know the engine by."""

    name: str

    async def apply(
        self, project: str, generation: Generation, puts: Sequence[IndexEntry], deletes: Sequence[str], mark: int
    ) -> None:
        """Make entries as given; idempotent, and atomic as far as the engine goes.

        An entry whose vector is all zeros has none: only its terms are found, and what an earlier entry of the memory
        had for a vector is found no more.

        Putting what is there already makes good what the engine may have lost of it; what was found stays found.

        `mark`: the ledger has nothing pending up to this sequence number. An index that may lose its last writes on a
        power failure keeps it beside them, so that `mark` tells what must be applied again.

        Raises EntryInvalid for an entry the engine could not find again, and IndexLost where the place of a project
        is known to have gone: it is not made again for these entries alone, but after `mark` has said 0.
        """
        ...

    async def mark(self, project: str, generation: Generation) -> int:
        """The newest mark that is sure to be kept with all applied before it; 0 for an empty index.

        Of an engine of several nodes it is what most of them say: a node that lags behind can't make it 0.
        """
        ...

    def require(self) -> None:
        """Raise IndexUnavailable if the engine is known to be away. Asks nobody: it may be away all the same.

        Searches are then refused whatever they would have asked it, be it nothing.
        """
        ...

    async def check(self) -> None:
        """Whether the engine can be used as it is configured; the message of what is raised says what is wrong.

        Raises SettingMissing for what only another configuration, or another version of the engine, can mend, and
        IndexUnavailable for what may pass.
        """
        ...

    async def ping(self) -> None:
        """Ask the engine for an answer that depends on no project. Raises IndexUnavailable."""
        ...

    async def nominate(self, access: Access, generation: Generation, query: IndexQuery, depth: int) -> Nominations:
        """Up to `depth` candidates from each leg inside project, pin, scope and filter, none expired at `query.now`.

        They may be stale: the ledger disposes.
        """
        ...

    def entries(self, project: str, generation: Generation) -> AsyncIterator[tuple[str, int]]:
        """(memory id, revision) of every entry, in any order, for comparison with the ledger."""
        ...

    async def revisions(self, project: str, generation: Generation, ids: Sequence[str]) -> Mapping[str, int]:
        """The revisions of those of up to 1,000 memories that have an entry."""
        ...

    async def remaining(self, project: str, ids: Sequence[str]) -> int:
        """How many entries of these memories there are, in whatever generation, by looking."""
        ...

    @property
    def clears(self) -> bool:
        """Whether `compact` can reach the engine's files."""
        ...

    async def compact(self) -> bool | None:
        """Leave nothing of entries deleted so far in caches and files of the engine, while others go on.

        False if that could not be done now, None where the engine's files are out of reach.
        """
        ...

    async def outage_count(self) -> int:
        """How often the engine was seen to break off so far, each time perhaps losing vectors it had confirmed.

        Raises IndexUnavailable while it is not whole.
        """
        ...

    async def drop(self, project: str, generation: Generation) -> None:
        """Forget every entry of the project in this generation."""
        ...

    async def close(self) -> None:
        """Finish running work and let go of the engine."""
        ...
