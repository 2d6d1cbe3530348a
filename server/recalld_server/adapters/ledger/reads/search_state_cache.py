"""What searches begin from, kept for as long as nobody writes to the ledger."""

from __future__ import annotations

from sqlalchemy import Connection

from recalld_server.adapters.ledger.reads import candidates, queries
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import SearchState

KEPT = 4096  # states; each is some hundred bytes, and more for every speaker of its scope
Key = tuple[str, Scope, Scope]  # project, pin, scope


class SearchStateCache:
    """The state of any scope, read anew after every commit, whatever was written and by whom: it never lags behind.

    Where the engine can't tell of commits, as PostgreSQL, it is read each time.
    Reading one takes a twentieth of a search, nearly all of it for the way to a reader and back.
    """

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine
        self._version: int | None = None
        self._kept: dict[Key, SearchState] = {}

    def clear(self) -> None:
        """Keep nothing of what was read so far: the names of speakers may have been forgotten."""
        self._version, self._kept = None, {}

    async def get(self, access: Access, scope: Scope) -> SearchState:
        """The state as of this call or later. Raises ProjectNotFound, LedgerUnavailable."""
        key = (access.project, access.pin, scope)
        version = self._engine.version
        if version != self._version:
            self._version, self._kept = version, {}
        if found := self._kept.get(key):
            return found

        def read(connection: Connection) -> SearchState:
            positions, generation = queries.stand(connection, access)
            return SearchState(generation, candidates.speakers(connection, access, scope), positions)

        found = await self._engine.read(read, access.project)
        if version is not None and version == self._version:  # else somebody has seen a write since
            if len(self._kept) >= KEPT:
                self._kept = {}
            self._kept[key] = found
        return found
