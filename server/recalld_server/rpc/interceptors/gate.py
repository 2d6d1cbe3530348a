"""The authenticator of a server: development mode until the first key exists, keys from then on."""

from __future__ import annotations

from collections.abc import Mapping

from recalld_server.domain.errors import KeyInvalid, KeyMissing, RoleInsufficient
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Access
from recalld_server.rpc.interceptors.auth import development
from recalld_server.rpc.roles import RULES
from recalld_server.usecases.keys import Keys

SCHEMES = ("bearer", "token")


class Gate:
    """Called with method, metadata and peer of a call; answers what the caller may touch, or raises why nothing.

    Raises KeyMissing, KeyInvalid, KeyExpired, KeyRevoked, RoleInsufficient, OriginRefused, LedgerUnavailable.
    """

    def __init__(self, keys: Keys) -> None:
        self._keys = keys

    async def __call__(self, method: str, given: Mapping[str, str], peer: str) -> Access:
        # Who sends a key knows of one. Without, asking the ledger at every call would cost as much as a get.
        if not await self._keys.begun(sure="authorization" in given):
            found = await development(method, given, peer)
            _check(method, ApiKey("", found.project, Role.ADMIN))
            return found
        key = await self._keys.authenticate(_credential(given))
        _check(method, key)
        return Access(key.project, key.pin, key.id)


def _credential(given: Mapping[str, str]) -> str:
    header = given.get("authorization", "").strip()
    if not header:
        raise KeyMissing
    scheme, _, credential = header.partition(" ")
    if scheme.lower() not in SCHEMES:
        raise KeyInvalid
    return credential.strip()


def _check(method: str, key: ApiKey) -> None:
    rule = RULES.get(method)
    if rule is None or not rule.admits(key):
        raise RoleInsufficient(role=key.role.name, needed=rule.needed if rule else "nobody's")
