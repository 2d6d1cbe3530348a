"""The port of the key ring: API keys and the digests of their secrets.

Every method is one transaction and may raise LedgerUnavailable. The port never receives secrets; the use case compares
digests.
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
        """Return whether a key was ever created; it stays True after keys are revoked or expire."""
        ...

    async def add(
        self, access: Access, key: ApiKey, digest: bytes, request: RequestKey | None, answer: Mapping[str, Any]
    ) -> None:
        """Store a key with the SHA-256 of its secret, and `answer` as the outcome of the request.

        `begun` returns True from this transaction on. Raises ProjectNotFound if the project of the key does not exist
        (the default project may be missing, because the first start creates it), and OutcomeTaken.
        """
        ...

    async def find(self, key_id: str) -> tuple[ApiKey, bytes] | None:
        """Return a key, even an expired or revoked one, and its digest; None if there is none."""
        ...

    async def revoke(self, access: Access, key_id: str, request: RequestKey | None) -> ApiKey | None:
        """Revoke a key and return it with its revoke_time, which the first revocation sets.

        Returns None if the project of `access` has no such key; without a project `access` covers all projects. Raises
        OutcomeTaken.
        """
        ...

    async def page(self, project: str | None, after: tuple[int, str] | None, limit: int) -> Sequence[ApiKey]:
        """Return up to `limit` keys of a project, or of all projects and operators if None, latest first.

        `after` is (create time in µs, id) of the last key of the previous page.
        """
        ...

    async def outcome(self, access: Access, rpc: str, request_id: str) -> Outcome | None:
        """See Ledger.outcome."""
        ...
