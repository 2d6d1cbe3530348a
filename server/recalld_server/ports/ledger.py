"""The port of the ledger: the truth about every memory.

Every method is one transaction and takes the access; adapters AND the project and the pin into every statement, so what
lies outside is never seen. Any method may raise LedgerUnavailable. Nothing here waits for the index.

The methods stand in the ports of those who need them; an adapter implements all of them.
"""

from __future__ import annotations

from typing import Protocol

from recalld_server.ports.candidates import CandidateSource
from recalld_server.ports.commits import CommitLog
from recalld_server.ports.erasure import ErasureLog
from recalld_server.ports.memories import MemoryReader
from recalld_server.ports.projection import ProjectionQueue
from recalld_server.ports.retention import RetentionQueue


class Ledger(MemoryReader, CommitLog, CandidateSource, ProjectionQueue, RetentionQueue, ErasureLog, Protocol):
    """Revisions of memories under gap-free sequence numbers for each project."""

    async def close(self) -> None:
        """Finish running transactions and let go of the engine."""
        ...
