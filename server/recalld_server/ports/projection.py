"""A part of the port of the ledger; ports.ledger says what holds of every method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from typing import Protocol, TypeVar

from recalld_server.domain.memory import Access, Memory
from recalld_server.domain.revision import (
    Features,
    Generation,
    IndexEntry,
    IndexLag,
    Positions,
)
from recalld_server.ports.project_state import ProjectState

T = TypeVar("T")


class ProjectionQueue(ProjectState, Protocol):
    """The changes that the index does not have yet, and the entries it shall hold. No pin narrows any of it."""

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

    async def live(self, project: str, after: str, limit: int) -> Sequence[tuple[str, int]]:
        """(id, revision) of live memories with ids above `after`, by id: what a complete index holds."""
        ...

    async def live_among(self, project: str, ids: Sequence[str]) -> Set[str]:
        """Those of `ids` whose memories are live."""
        ...

    async def pending_among(self, project: str, generation: Generation, ids: Sequence[str]) -> Set[str]:
        """Those of `ids` with changes the index has not been told of."""
        ...

    async def features(self, access: Access, ids: Sequence[str], generation: Generation) -> Mapping[str, Features]:
        """Features of live memories."""
        ...
