"""The common path of all writes: commit, apply to the index, and idempotency by request id."""

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

LIMIT = 5.0  # seconds for the commit, and separately for its apply
DECISIONS = 3  # attempts to decide a change, repeated after a conflict


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a write.

    `answer` is the answer as stored, `seq` the sequence number after the write, `applied` whether the index has it, and
    `memories` the memories of the answer by (id, revision).
    """

    answer: Mapping[str, Any]
    seq: int
    applied: bool
    memories: Mapping[tuple[str, int], Memory] = field(default_factory=dict)


class CommitCoordinator:
    """Commits changes, applies them to the index and makes calls with a request id idempotent."""

    def __init__(self, ledger: Ledger, projection: Projection, committed: CommitNotifications | None = None) -> None:
        self._ledger = ledger
        self._projection = projection
        self.committed = committed or CommitNotifications()
        self._running: set[asyncio.Task[Any]] = set()
        self._commits: set[object] = set()
        self._quiet = asyncio.Event()
        self._open = asyncio.Event()
        self._holders = 0  # callers inside `held`; `_open` is set only while there are none
        self._quiet.set()
        self._open.set()
        self._flights: dict[tuple[str, str, str, str], tuple[str, asyncio.Future[Written]]] = {}

    async def write(self, access: Access, change: Change) -> Written:
        """Commit and apply a change. It completes even if the caller is cancelled, so no write is left half done."""
        return await self.shielded(self._write(access, change))

    async def shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end even if the caller is cancelled; `drain` waits for it."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def recall(self, access: Access, rpc: str, request_ids: Sequence[str]) -> Mapping[str, Written]:
        """Return the kept answers of completed requests by request id; ids without one are omitted."""
        found = await self._ledger.outcomes(access, rpc, request_ids)
        return await self._rendered(access, {id: outcome for id, outcome in found.items() if not outcome.partial})

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Block new commits on this server and wait for running ones.

        Used by the generation switch, which would otherwise starve under constant writes. Blocked commits wait, so keep
        the body well below LIMIT.
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
        """Mark a transaction that takes sequence numbers, with its apply, as running.

        `held` waits until it has ended. While another caller is in `held`, entering waits.
        """
        while self._holders:  # a new holder may have entered before this task was resumed
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
        """Wait for the running writes."""
        while self._running:
            await asyncio.wait(self._running)

    async def decided(self, access: Access, decide: Callable[[], Awaitable[Change]]) -> Written:
        """Write the change that `decide` returns; on a conflict decide again. Raises WriteConflict after 3 attempts."""
        for _ in range(DECISIONS):
            try:
                return await self.write(access, await decide())
            except (RevisionConflict, DuplicateText, GenerationMoved):
                continue
        raise WriteConflict

    async def once(
        self, access: Access, request: RequestKey | None, work: Callable[[Outcome | None], Awaitable[Written]]
    ) -> Written:
        """Run `work`, or return the kept answer if this request was already answered.

        `work` receives the partial outcome that an interrupted earlier call stored, or None. A retry that arrives while
        the first call is running on this server waits for its result. Raises RequestIdReused if the request id was used
        for a different request.
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
            except OutcomeTaken:  # another server committed the same request first: return its answer
                continue
            except RecalldError:
                # Another server may have committed the same request before this one was decided, and so caused the
                # error. A new outcome shows that: look again and return its answer.
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
                f"The ledger did not confirm the write within {LIMIT:.0f} s; it may or may not be stored. Repeat the"
                " call with the same request id. If it fails again, write less in one call."
            ) from None
        self.committed.notify(access.project)
        memories = {(memory.id, memory.revision): memory for memory in commit.memories}
        return Written(change.answer, commit.seq, await self.apply(access, commit), memories)

    async def apply(self, access: Access, commit: Commit) -> bool:
        """Apply a commit to the index. Returns False if the change stays pending.

        Never raises: the change is durable, so the caller gets its answer even if the index fails.
        """
        if not commit.touched:
            return True
        try:
            async with asyncio.timeout(LIMIT):
                return await self._projection.apply(access.project, commit.generation, commit.touched)
        except Exception as error:  # after any error the change stays pending and the projector applies it
            foreseen = isinstance(error, (RecalldError, TimeoutError))
            extra = {"project": access.project, "seq": commit.seq, "error": type(error).__name__}
            log.warning("change is pending for the index", extra=extra, exc_info=not foreseen)
            return False


def stored_answer(memories: Sequence[tuple[str, int]], **more: Any) -> dict[str, Any]:
    """Return an answer in its stored form: (id, revision) of each memory, and the other values as given."""
    return {"memories": [list(named) for named in memories], **more}
