"""Operations as callers see them: read, waited for, cancelled."""

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

LOOKS = (0.02, 0.5)  # seconds between looks of a waiting call: from, to


class OperationQueries:
    """The use cases behind google.longrunning.Operations, and the start of all work but exports."""

    def __init__(self, operations: Operations, signal: WorkSignal, clock: Clock, ids: Ids) -> None:
        self._operations = operations
        self._signal = signal
        self._clock = clock
        self._ids = ids
        self._stopping = False
        self._looks: dict[tuple[str, str], _Look] = {}

    def stop(self) -> None:
        """Calls that wait are answered within half a second with what is known then."""
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
        """Write work down and have it begun; an empty subject becomes a new id.

        The request counts even without a request id: its fingerprint tells the same build from another.
        Raises RequestIdReused, WriteConflict, Overloaded.
        """
        new = NewOperation(self._ids.memory(), kind, subject or self._ids.memory(), payload, total, request, scope)
        operation = await self._operations.create(access, new)
        self._signal.add()
        return operation

    async def get(self, access: Access, id: str) -> Operation:
        """Raises OperationNotFound."""
        return await self._operations.get(access, id)

    async def page(self, access: Access, after: tuple[int, str] | None, limit: int) -> tuple[Sequence[Operation], bool]:
        """Latest first, and whether more follow."""
        found = await self._operations.page(access, after, limit + 1)
        return found[:limit], len(found) > limit

    async def cancel(self, access: Access, id: str) -> None:
        """Ask work to stop. Raises OperationNotFound."""
        asked = await self._operations.cancel(access, id)
        self._signal.recheck(access.project, asked.subject)

    async def delete(self, access: Access, id: str) -> None:
        """Show it no more; the work goes on. Raises OperationNotFound."""
        await self._operations.hide(access, id)

    async def wait(self, access: Access, id: str, seconds: float) -> Operation:
        """The operation when it has ended, or as it stands after `seconds`. Raises OperationNotFound.

        However many wait for an operation, one of them looks.
        """
        found = await self._operations.get(access, id)  # raises for who may not see it
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
        """The operation when it has ended, or when this server stops."""
        pause, longest = LOOKS
        while True:
            await self._clock.sleep(pause)
            found = await self._operations.get(Access(project), id)
            if found.state.ended or self._stopping:
                return found
            pause = min(longest, pause * 1.5)


@dataclass(slots=True)
class _Look:
    """What looks whether an operation has ended, for those who wait."""

    task: asyncio.Future[Operation]
    waiting: int = 0
