"""API keys: create, authenticate, list and revoke."""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any, TypeVar

from recalld_server.domain.errors import (
    KeyExpired,
    KeyInvalid,
    KeyNotFound,
    KeyRevoked,
)
from recalld_server.domain.expiry import refuse_past
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import RequestKey
from recalld_server.ports.clock import Clock, Ids
from recalld_server.ports.keyring import KeyRing
from recalld_server.usecases.idempotency import repeatable

T = TypeVar("T")

FRESH = 2.0  # seconds a look-up is cached, and so the delay until a revocation by another process takes effect
FRESH_BEGUN = 0.5  # seconds the answer "no key exists" is cached
CACHED = 4096  # cached keys; unknown ids have a cache of the same size, so guessed ids cannot evict keys
PREFIX = "rk_"


class Keys:
    """The use cases of API keys, for the API, the command line and the authentication of calls."""

    def __init__(self, ring: KeyRing, clock: Clock, ids: Ids) -> None:
        self._ring = ring
        self._clock = clock
        self._ids = ids
        self._begun = False
        self._begun_until = 0.0
        self._known: OrderedDict[str, tuple[tuple[ApiKey, bytes], float]] = OrderedDict()
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._changes = 0  # by this process: a look-up that began before a change is not cached

    async def begun(self, *, sure: bool = True) -> bool:
        """Whether a key was ever created. If `sure` is False, the answer may be 0.5 s old."""
        if not self._begun and (sure or monotonic() >= self._begun_until):
            self._begun = await self._ring.begun() or self._begun
            self._begun_until = monotonic() + FRESH_BEGUN
        return self._begun

    async def create(
        self, access: Access, wanted: ApiKey, request: RequestKey | None = None, field: str = "api_key.expire_time"
    ) -> tuple[ApiKey, str]:
        """Create a key from `wanted` with a new id and creation time; return it and its text, `rk_<id>_<secret>`.

        The text is empty if the request was already answered, because the secret is not stored. Raises FieldInvalid if
        the expiry time has passed, and ProjectNotFound, RequestIdReused or LedgerUnavailable.
        """
        refuse_past(wanted.expire_time, self._clock.now(), field)
        given = ""

        async def work() -> Mapping[str, Any]:
            nonlocal given
            secret = self._ids.secret()
            key = replace(wanted, id=self._ids.key(), create_time=self._clock.now(), revoke_time=None)
            answer = asdict(key)
            await self._ring.add(access, key, _digest(secret), request, answer)
            self._begun = True
            self._changes += 1
            given = f"{PREFIX}{key.id}_{secret}"
            return answer

        answer = await repeatable(self._ring, access, request, work)
        key = ApiKey(**{**answer, "role": Role(answer["role"]), "pin": Scope(**answer["pin"])})
        return key, given

    async def authenticate(self, given: str) -> ApiKey:
        """Return the key with the text `given`, `rk_<id>_<secret>`.

        Raises KeyInvalid, KeyRevoked, KeyExpired, LedgerUnavailable.
        """
        id, _, secret = given.removeprefix(PREFIX).partition("_")
        found = await self._find(id) if given.startswith(PREFIX) and len(id) <= 64 else None
        key, digest = found or (None, bytes(32))
        if not hmac.compare_digest(_digest(secret), digest) or key is None:
            raise KeyInvalid
        if key.revoke_time is not None:
            raise KeyRevoked(key_id=key.id)
        if key.expire_time is not None and key.expire_time <= self._clock.now():
            raise KeyExpired(key_id=key.id, expire_time=_iso(key.expire_time))
        return key

    async def page(
        self, project: str | None, after: tuple[int, str] | None, limit: int
    ) -> tuple[Sequence[ApiKey], bool]:
        """Return a page of the keys of a project, or of all keys if None, latest first, and whether more follow."""
        found = await self._ring.page(project, after, limit + 1)
        return found[:limit], len(found) > limit

    async def revoke(self, access: Access, key_id: str, request: RequestKey | None = None) -> ApiKey:
        """Revoke a key of the caller's project, or of any project if the caller has none. Idempotent.

        Raises KeyNotFound, RequestIdReused, LedgerUnavailable.
        """

        async def work() -> Mapping[str, Any]:
            if await self._ring.revoke(access, key_id, request) is None:
                raise KeyNotFound(key_id=key_id)
            self._changes += 1
            self._known.pop(key_id, None)
            return {"key_id": key_id}

        answer = await repeatable(self._ring, access, request, work)
        found = await self._ring.find(answer["key_id"])
        if found is None:
            raise KeyNotFound(key_id=key_id)
        return found[0]

    async def _find(self, id: str) -> tuple[ApiKey, bytes] | None:
        now = monotonic()
        cached = self._known.get(id)
        if cached and now < cached[1]:
            return cached[0]
        if now < self._unknown.get(id, 0.0):
            return None
        changes, until = self._changes, now + FRESH
        found = await self._ring.find(id)
        if changes != self._changes:
            return found
        if found is None:
            _keep(self._unknown, id, until)
        else:
            _keep(self._known, id, (found, until))
        return found


def _keep(cache: OrderedDict[str, T], id: str, value: T) -> None:
    cache[id] = value
    cache.move_to_end(id)
    while len(cache) > CACHED:
        cache.popitem(last=False)


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _iso(micros: int) -> str:
    return datetime.fromtimestamp(micros / 1_000_000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
