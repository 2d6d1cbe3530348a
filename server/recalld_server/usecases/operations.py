"""Operations: start, read, list, wait for, cancel and hide them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.operations import NewOperation, Operation, OperationKind
from recalld_server.domain.revision import RequestKey
from recalld_server.ports.clock import Clock, Ids
from recalld_server.ports.operations import Operations
from recalld_server.usecases.work_signal import WorkSignal

LOOKS = (0.02, 0.5)  # seconds between polls of a waited-for operation: first and longest


class OperationQueries:
    """The use cases behind google.longrunning.Operations; also starts operations other than exports and deletions."""

    def __init__(self, operations: Operations, signal: WorkSignal, clock: Clock, ids: Ids) -> None:
        self._operations = operations
        self._signal = signal
        self._clock = clock
        self._ids = ids
        self._stopping = False
        self._looks: dict[tuple[str, str], _Look] = {}

    def stop(self) -> None:
        """Answer waiting calls with the current state, within half a second."""
        self._stopping = True

    async def start(
        self,
        access: Access,
        kind: OperationKind,
        request: RequestKey,
        *,
        subject: str = "",
        payload: bytes = b"",
        total: int = 0,
        scope: Scope = Scope(),
    ) -> Operation:
        """Queue an operation and wake the worker. An empty `subject` is replaced by a new id.

        `request` is needed even without a request id, because its fingerprint identifies a repeated build.
        Raises RequestIdReused, WriteConflict, Overloaded.
        """
        new = NewOperation(self._ids.memory(), kind, subject or self._ids.memory(), payload, total, request, scope)
        operation = await self._operations.create(access, new)
        self._signal.add()
        return operation

    async def get(self, access: Access, id: str) -> Operation:
        """Return an operation. Raises OperationNotFound."""
        return await self._operations.get(access, id)

    async def page(self, access: Access, after: tuple[int, str] | None, limit: int) -> tuple[Sequence[Operation], bool]:
        """Return a page of operations, latest first, and whether more follow."""
        found = await self._operations.page(access, after, limit + 1)
        return found[:limit], len(found) > limit

    async def cancel(self, access: Access, id: str) -> None:
        """Request cancellation of an operation. Raises OperationNotFound."""
        asked = await self._operations.cancel(access, id)
        self._signal.recheck(access.project, asked.subject)

    async def delete(self, access: Access, id: str) -> None:
        """Hide an operation from callers; its work continues. Raises OperationNotFound."""
        await self._operations.hide(access, id)

    async def wait(self, access: Access, id: str, seconds: float) -> Operation:
        """Wait up to `seconds` for the end of an operation and return it. Raises OperationNotFound.

        All calls that wait for the same operation share one poll loop.
        """
        found = await self._operations.get(access, id)  # raises if the caller may not see it: the poll does not check
        if found.state.ended or seconds <= 0 or self._stopping:
            return found
        key = (access.project, id)
        look = self._looks.get(key)
        if look is None:
            look = self._looks[key] = _Look(asyncio.ensure_future(self._ended(*key)))
        look.waiting += 1
        try:
            await asyncio.wait([look.task], timeout=seconds)
            if look.task.done():
                return look.task.result()
        finally:
            look.waiting -= 1
            if look.task.done() or not look.waiting:
                look.task.cancel()
                if self._looks.get(key) is look:
                    del self._looks[key]
        return await self._operations.get(access, id)

    async def _ended(self, project: str, id: str) -> Operation:
        """Poll until the operation has ended or this server stops, and return it."""
        pause, longest = LOOKS
        while True:
            await self._clock.sleep(pause)
            found = await self._operations.get(Access(project), id)
            if found.state.ended or self._stopping:
                return found
            pause = min(longest, pause * 1.5)


@dataclass(slots=True)
class _Look:
    """The poll task of an operation and the number of calls that wait for it."""

    task: asyncio.Future[Operation]
    waiting: int = 0
