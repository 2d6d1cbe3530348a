"""The port of index generations: the next generation is built beside the current one and then replaces it.

Every method is one transaction and may raise LedgerUnavailable. Methods that write take the `held` operation and raise
LeaseLost if another worker holds it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from recalld_server.domain.memory import Memory
from recalld_server.domain.operations import Operation
from recalld_server.domain.revision import Features, Generation, Positions


class Generations(Protocol):
    """The current generation of each project and the one being built, with the features of both."""

    async def begin(self, held: Operation, generation: Generation) -> Generation:
        """Begin to build `generation`: from now on every commit also writes pending changes for it.

        Returns the generation that this operation began earlier, if it did. The number of the new generation is that
        of the current one plus 1.
        """
        ...

    async def ids(self, project: str, after: str, last: str, limit: int) -> Sequence[str]:
        """Return the ids of memories, live or not, above `after` and up to `last` (inclusive), in order."""
        ...

    async def extent(self, project: str) -> tuple[int, str]:
        """Return the number of memories, live or not, and the greatest id, "" if there are none."""
        ...

    async def unfeatured(self, project: str, generation: Generation, ids: Sequence[str]) -> Sequence[Memory]:
        """Return the revisions of these memories whose text has no features in the generation; skips forgotten ones."""
        ...

    async def known(
        self, project: str, generation: Generation, memories: Sequence[Memory]
    ) -> Sequence[Features | None]:
        """Return the features of these revisions in a generation, in their order; None where there are none."""
        ...

    async def feature(
        self, held: Operation, generation: Generation, memories: Sequence[Memory], features: Sequence[Features]
    ) -> None:
        """Store the features of these revisions in the generation being built."""
        ...

    async def switch(self, held: Operation, generation: Generation) -> Positions | None:
        """Make `generation` the current one and return the positions; None if changes are pending for it."""
        ...

    async def drop(self, held: Operation, after: str, limit: int) -> str | None:
        """Delete about `limit` rows of features of unused generations, for memories with ids above `after`, in order.

        Returns the last memory id, None if no memories were left. Also deletes the pending changes of unused
        generations, the last of them in the last call.
        """
        ...
