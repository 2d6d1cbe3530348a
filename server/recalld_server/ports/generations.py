"""The port of index generations: the next one is built beside the one in use, then takes its place.

Every method is one transaction and may raise LedgerUnavailable. Those that change anything carry the operation they
work for and raise LeaseLost when it is held by another.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from recalld_server.domain.memory import Memory
from recalld_server.domain.operations import Operation
from recalld_server.domain.revision import Features, Generation, Positions


class Generations(Protocol):
    """What a project's index is made of, and what it is about to be made of."""

    async def begin(self, held: Operation, generation: Generation) -> Generation:
        """Have every commit from now on write pending rows for `generation` too.

        Gives the generation under way if this work had begun one. Its number is one more than the current one's.
        """
        ...

    async def ids(self, project: str, after: str, last: str, limit: int) -> Sequence[str]:
        """Memories, live or not, with ids above `after` up to and including `last`, by id."""
        ...

    async def extent(self, project: str) -> tuple[int, str]:
        """How many memories there are, live or not, and the last of their ids; empty for none."""
        ...

    async def unfeatured(self, project: str, generation: Generation, ids: Sequence[str]) -> Sequence[Memory]:
        """Revisions of these memories whose text has no features in the generation; forgotten ones have no text."""
        ...

    async def known(
        self, project: str, generation: Generation, memories: Sequence[Memory]
    ) -> Sequence[Features | None]:
        """The features of these revisions in a generation, in their order."""
        ...

    async def feature(
        self, held: Operation, generation: Generation, memories: Sequence[Memory], features: Sequence[Features]
    ) -> None:
        """Keep features of revisions in the generation under way."""
        ...

    async def switch(self, held: Operation, generation: Generation) -> Positions | None:
        """Use `generation` from now on if nothing is pending for it; None when something is."""
        ...

    async def drop(self, held: Operation, after: str, limit: int) -> str | None:
        """Delete what generations that are not in use have of the next memories with ids above `after`.

        In the order of their ids, about `limit` rows; gives the last id, None when there were no more memories.
        Rows that are pending for such generations go as well, all of them with the last part.
        """
        ...
