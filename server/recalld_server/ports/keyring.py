"""The port of the key ring: API keys and the digests of their secrets.

Every method is one transaction and may raise LedgerUnavailable. Secrets never come here; the use case compares digests.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from recalld_server.domain.keys import ApiKey
from recalld_server.domain.memory import Access
from recalld_server.domain.revision import Outcome, RequestKey


class KeyRing(Protocol):
    """The keys of one ledger."""

    async def begun(self) -> bool:
        """Whether a key was ever created. Once True it stays True, whatever becomes of the keys."""
        ...

    async def add(
        self, access: Access, key: ApiKey, digest: bytes, request: RequestKey | None, answer: Mapping[str, Any]
    ) -> None:
        """Store a key with the SHA-256 of its secret, and `answer` as the outcome of the request of `access`.

        Sets what `begun` tells in the same transaction. Raises ProjectNotFound unless the key's project exists or is
        the default one, which the first start creates; OutcomeTaken.
        """
        ...

    async def find(self, key_id: str) -> tuple[ApiKey, bytes] | None:
        """A key, expired and revoked ones too, and its digest."""
        ...

    async def revoke(self, access: Access, key_id: str, request: RequestKey | None) -> ApiKey | None:
        """End a key for good and return it with its revoke_time, which the first revocation sets.

        None when there is no such key in the access's project; an access without a project reaches the keys of all.
        Raises OutcomeTaken.
        """
        ...

    async def page(self, project: str | None, after: tuple[int, str] | None, limit: int) -> Sequence[ApiKey]:
        """Keys of a project, or of the ledger (None), latest first; `after` is (create time, id) of the last given."""
        ...

    async def outcome(self, access: Access, rpc: str, request_id: str) -> Outcome | None:
        """As Ledger.outcome."""
        ...
