"""Cache of search states: the generation, speakers and positions that a search starts with."""

from __future__ import annotations

from sqlalchemy import Connection

from recalld_server.adapters.ledger.reads import candidates, queries
from recalld_server.adapters.sql.engine import SqlEngine
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import SearchState

KEPT = 4096  # states; each takes a few hundred bytes, plus the names of the scope's speakers
Key = tuple[str, Scope, Scope]  # project, pin, scope


class SearchStateCache:
    """Caches the search state of each scope until the next commit to the ledger, by any process: it is never stale.

    If the engine cannot detect commits (PostgreSQL), every call reads the state. A read takes a twentieth of a search,
    nearly all of it for the switch to a reader thread and back.
    """

    def __init__(self, engine: SqlEngine) -> None:
        self._engine = engine
        self._version: int | None = None
        self._kept: dict[Key, SearchState] = {}

    def clear(self) -> None:
        """Drop all states: they may hold names of speakers that were forgotten."""
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
        if version is not None and version == self._version:  # otherwise a commit happened during the read
            if len(self._kept) >= KEPT:
                self._kept = {}
            self._kept[key] = found
        return found
