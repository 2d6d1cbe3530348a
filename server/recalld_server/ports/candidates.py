"""A part of the port of the ledger; ports.ledger says what holds of every method."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol, TypeVar

from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Access, Memory, Scope
from recalld_server.domain.ranking import Pool
from recalld_server.domain.revision import (
    Generation,
    SearchState,
)
from recalld_server.ports.project_state import ProjectState

T = TypeVar("T")


class CandidateSource(ProjectState, Protocol):
    """The rows that a search ranks."""

    async def search_state(self, access: Access, scope: Scope) -> SearchState:
        """What a search of the scope starts from: all that was answered before the call is in it.

        Speakers are empty without a scope id. Raises ProjectNotFound.
        """
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
