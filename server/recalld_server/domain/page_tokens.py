"""Opaque tokens for pages, stream positions and consistency.

A token is a JSON payload with a MAC over the payload, the purpose, the ledger and the binding. It grants no access: it
only proves that the service issued it for the same call, arguments and caller.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recalld_server.domain.errors import (
    ConsistencyTokenForeign,
    ConsistencyTokenInvalid,
    PageTokenInvalid,
    ResumeTokenInvalid,
    TokenInvalid,
)

_MAC = 16  # bytes
MAX_TOKEN = 4096  # characters


@dataclass(frozen=True, slots=True)
class Tokens:
    """Issues and verifies the tokens of one ledger with its secret."""

    ledger: str
    secret: bytes

    def page(self, binding: Sequence[str], payload: Any) -> str:
        """Issue a page token bound to call, caller and arguments."""
        return self._seal("page", binding, payload)

    def open_page(self, token: str, binding: Sequence[str]) -> Any:
        """Return the payload of a page token. Raises PageTokenInvalid."""
        return self._open("page", token, binding, PageTokenInvalid)

    def resume(self, binding: Sequence[str], payload: Any) -> str:
        """Issue a resume token, a stream position bound to call, caller and arguments."""
        return self._seal("resume", binding, payload)

    def open_resume(self, token: str, binding: Sequence[str]) -> Any:
        """Return the payload of a resume token. Raises ResumeTokenInvalid."""
        return self._open("resume", token, binding, ResumeTokenInvalid)

    def consistency(self, project: str, seq: int) -> str:
        """Issue a consistency token for a sequence number of a project.

        It is bound only to the project, so that a client can pass it to other clients, which then read that write.
        """
        return self._seal("consistency", [], [self.ledger, project, seq])

    def open_consistency(self, token: str, project: str) -> int:
        """Return the sequence number of a consistency token.

        Raises ConsistencyTokenInvalid, and ConsistencyTokenForeign if it belongs to another ledger or project.
        """
        payload = self._payload(token, ConsistencyTokenInvalid)
        if isinstance(payload, list) and len(payload) == 3 and payload[:2] != [self.ledger, project]:
            raise ConsistencyTokenForeign
        return int(self._open("consistency", token, [], ConsistencyTokenInvalid)[2])

    def _mac(self, purpose: str, binding: Sequence[str], payload: bytes) -> bytes:
        context = json.dumps([self.ledger, purpose, *binding]).encode()
        return hmac.digest(self.secret, context + b"\0" + payload, hashlib.sha256)[:_MAC]

    def _seal(self, purpose: str, binding: Sequence[str], payload: Any) -> str:
        data = json.dumps(payload, separators=(",", ":")).encode()
        return base64.urlsafe_b64encode(self._mac(purpose, binding, data) + data).decode().rstrip("=")

    def _open(self, purpose: str, token: str, binding: Sequence[str], error: type[TokenInvalid]) -> Any:
        payload = self._payload(token, error)
        data = self._bytes(token, error)
        if not hmac.compare_digest(data[:_MAC], self._mac(purpose, binding, data[_MAC:])):
            raise error
        return payload

    def _payload(self, token: str, error: type[TokenInvalid]) -> Any:
        try:
            return json.loads(self._bytes(token, error)[_MAC:])
        except (ValueError, RecursionError):
            raise error from None

    @staticmethod
    def _bytes(token: str, error: type[TokenInvalid]) -> bytes:
        if len(token) > MAX_TOKEN:
            raise error
        try:
            return base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except ValueError:
            raise error from None
