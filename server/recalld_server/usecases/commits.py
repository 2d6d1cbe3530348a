"""What every write shares: one commit with its apply, and answers that stay the same when the call is repeated."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar

from recalld_server.domain.errors import (
    DuplicateText,
    GenerationMoved,
    LedgerUnavailable,
    OutcomeTaken,
    RecalldError,
    RequestIdReused,
    RevisionConflict,
    WriteConflict,
)
from recalld_server.domain.memory import Access, Memory
from recalld_server.domain.revision import Change, Commit, Outcome, RequestKey
from recalld_server.ports.ledger import Ledger
from recalld_server.telemetry.span import span
from recalld_server.usecases.commit_notifications import CommitNotifications
from recalld_server.usecases.projection import Projection

log = logging.getLogger(__name__)
T = TypeVar("T")

LIMIT = 5.0  # seconds for the commit, and again for its apply
DECISIONS = 3  # times a change is decided anew after a conflict


@dataclass(frozen=True, slots=True)
class Written:
    """What a write left: the stored answer, the head after it, whether the index has it, memories by (id, revision)."""

    answer: Mapping[str, Any]
    seq: int
    applied: bool
    memories: Mapping[tuple[str, int], Memory] = field(default_factory=dict)


class CommitCoordinator:
    """Commits changes and keeps the promise of request ids."""

    def __init__(self, ledger: Ledger, projection: Projection, committed: CommitNotifications | None = None) -> None:
        self._ledger = ledger
        self._projection = projection
        self.committed = committed or CommitNotifications()
        self._running: set[asyncio.Task[Any]] = set()
        self._commits: set[object] = set()
        self._quiet = asyncio.Event()
        self._open = asyncio.Event()
        self._holders = 0  # in `held`; while there are any it is not open
        self._quiet.set()
        self._open.set()
        self._flights: dict[tuple[str, str, str, str], tuple[str, asyncio.Future[Written]]] = {}

    async def write(self, access: Access, change: Change) -> Written:
        """Commit and apply, out of reach of cancellation: a caller that leaves does not leave half a write behind."""
        return await self.shielded(self._write(access, change))

    async def shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work that goes on to its end when the caller leaves, and that `drain` waits for."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def recall(self, access: Access, rpc: str, request_ids: Sequence[str]) -> Mapping[str, Written]:
        """The stored answers of requests that were finished, by request id, of those that have one."""
        found = await self._ledger.outcomes(access, rpc, request_ids)
        return await self._rendered(access, {id: outcome for id, outcome in found.items() if not outcome.partial})

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """No commit of this server begins inside, and none is under way: for what must not wait for a quiet moment.

        Commits wait for as long; keep it well below LIMIT.
        """
        self._holders += 1
        self._open.clear()
        try:
            await self._quiet.wait()
            yield
        finally:
            self._holders -= 1
            if not self._holders:
                self._open.set()

    @asynccontextmanager
    async def committing(self) -> AsyncIterator[None]:
        """Around every transaction that takes sequence numbers and its apply: `held` waits for it, or it for `held`."""
        while self._holders:  # another may have come while this one was woken
            await self._open.wait()
        commit = object()
        self._commits.add(commit)
        self._quiet.clear()
        try:
            yield
        finally:
            self._commits.discard(commit)
            if not self._commits:
                self._quiet.set()

    async def drain(self) -> None:
        """Wait for the writes under way."""
        while self._running:
            await asyncio.wait(self._running)

    async def decided(self, access: Access, decide: Callable[[], Awaitable[Change]]) -> Written:
        """Write what `decide` decides; decide again when others were quicker. Raises WriteConflict in the end."""
        for _ in range(DECISIONS):
            try:
                return await self.write(access, await decide())
            except (RevisionConflict, DuplicateText, GenerationMoved):
                continue
        raise WriteConflict

    async def once(
        self, access: Access, request: RequestKey | None, work: Callable[[Outcome | None], Awaitable[Written]]
    ) -> Written:
        """Do `work` unless this request was answered before: then the answer is given again.

        `work` gets the stored outcome of an earlier call that did part of it. A retry that comes while the first call
        is under way at this server joins it. Raises RequestIdReused when the id came with another request.
        """
        if request is None:
            return await work(None)
        key = (access.project, access.principal, request.rpc, request.request_id)
        while flight := self._flights.get(key):
            if flight[0] != request.fingerprint:
                raise RequestIdReused(request_id=request.request_id)
            await asyncio.wait([flight[1]])
            if not flight[1].cancelled() and not flight[1].exception():
                return flight[1].result()
        flown: asyncio.Future[Written] = asyncio.get_running_loop().create_future()
        self._flights[key] = (request.fingerprint, flown)
        try:
            written = await self._recalled(access, request, work)
            flown.set_result(written)
            return written
        finally:
            del self._flights[key]
            flown.cancel()

    async def _recalled(
        self, access: Access, request: RequestKey, work: Callable[[Outcome | None], Awaitable[Written]]
    ) -> Written:
        while True:
            with span("ledger"):
                outcome = await self._ledger.outcome(access, request.rpc, request.request_id)
            if outcome and outcome.fingerprint != request.fingerprint:
                raise RequestIdReused(request_id=request.request_id)
            if outcome and not outcome.partial:
                return (await self._rendered(access, {request.request_id: outcome}))[request.request_id]
            try:
                return await work(outcome)
            except OutcomeTaken:  # the same request at another server committed first: its answer is ours
                continue
            except RecalldError:
                # It may also have committed before this one decided: what is gone or has moved is then its doing.
                if await self._ledger.outcome(access, request.rpc, request.request_id) == outcome:
                    raise

    async def _rendered(self, access: Access, outcomes: Mapping[str, Outcome]) -> Mapping[str, Written]:
        named = {
            id: [(str(memory_id), int(revision)) for memory_id, revision in outcome.answer.get("memories", ())]
            for id, outcome in outcomes.items()
        }
        wanted = list(dict.fromkeys(name for names in named.values() for name in names))
        memories = await self._ledger.revisions(access, wanted) if wanted else {}
        applied = (await self._ledger.positions(access)).applied if outcomes else 0
        return {
            id: Written(
                outcome.answer,
                outcome.seq,
                applied >= outcome.seq,
                {name: memories[name] for name in named[id] if name in memories},
            )
            for id, outcome in outcomes.items()
        }

    async def _write(self, access: Access, change: Change) -> Written:
        async with self.committing():
            return await self._commit(access, change)

    async def _commit(self, access: Access, change: Change) -> Written:
        try:
            async with asyncio.timeout(LIMIT):
                with span("commit"):
                    commit = await self._ledger.commit(access, change)
        except TimeoutError:
            raise LedgerUnavailable(
                f"The ledger did not confirm in {LIMIT:.0f} s, and may have stored the write or not. Repeat the call"
                " with the same request id; if that does not help, write less at a time."
            ) from None
        self.committed.notify(access.project)
        memories = {(memory.id, memory.revision): memory for memory in commit.memories}
        return Written(change.answer, commit.seq, await self.apply(access, commit), memories)

    async def apply(self, access: Access, commit: Commit) -> bool:
        """Tell the index of a commit; False when that must wait.

        Raises nothing: the change is durable, so its caller gets the answer whatever the index makes of it.
        """
        if not commit.touched:
            return True
        try:
            async with asyncio.timeout(LIMIT):
                return await self._projection.apply(access.project, commit.generation, commit.touched)
        except Exception as error:  # whatever it is, the change stays pending and the projector comes to it
            foreseen = isinstance(error, (RecalldError, TimeoutError))
            extra = {"project": access.project, "seq": commit.seq, "error": type(error).__name__}
            log.warning("change is pending for the index", extra=extra, exc_info=not foreseen)
            return False


def stored_answer(memories: Sequence[tuple[str, int]], **more: Any) -> dict[str, Any]:
    """An answer as the ledger keeps it: (id, revision) of each memory it shows, and what else it says."""
    return {"memories": [list(named) for named in memories], **more}
