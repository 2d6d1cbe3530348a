"""Idempotency of calls that change no memory: the answer is stored with the change, under the caller's request id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

from recalld_server.domain.errors import OutcomeTaken, RequestIdReused
from recalld_server.domain.memory import Access
from recalld_server.domain.revision import Outcome, RequestKey


class Outcomes(Protocol):
    """A store of answers by request id."""

    async def outcome(self, access: Access, rpc: str, request_id: str) -> Outcome | None:
        """See Ledger.outcome."""
        ...


async def repeatable(
    outcomes: Outcomes,
    access: Access,
    request: RequestKey | None,
    work: Callable[[], Awaitable[Mapping[str, Any]]],
) -> Mapping[str, Any]:
    """Return the answer stored for this request, or run `work`, which stores its answer with its change.

    Raises RequestIdReused if the request id was used for a different request.
    """
    while True:
        stored = await outcomes.outcome(access, request.rpc, request.request_id) if request else None
        if stored and request and stored.fingerprint != request.fingerprint:
            raise RequestIdReused(request_id=request.request_id)
        if stored:
            return stored.answer
        try:
            return await work()
        except OutcomeTaken:  # another call with the same request id committed first: return its answer
            continue
