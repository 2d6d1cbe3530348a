"""A part of the port of the ledger; ports.ledger says what holds of every method."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Protocol, TypeVar

from recalld_server.domain.filters import Filter
from recalld_server.domain.forgetting import ErasureScope, ErasureTarget, Forgotten, Remains
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import (
    RequestKey,
)
from recalld_server.ports.project_state import ProjectState

T = TypeVar("T")


class ErasureLog(ProjectState, Protocol):
    """What a forgetting erases, and what it finds afterwards."""

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
