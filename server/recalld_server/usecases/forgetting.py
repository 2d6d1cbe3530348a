"""ForgetMemories: erases all matching memories and returns a receipt of the remains in every storage place."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

from recalld_server.domain.errors import CountMismatch, IndexUnavailable
from recalld_server.domain.filters import Filter
from recalld_server.domain.forgetting import KEPT, ErasureCursor, ErasureState, ErasureTarget, Forgotten
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import Change, Commit, Outcome, RequestKey
from recalld_server.ports.clock import Clock
from recalld_server.ports.erasure import ErasureLog
from recalld_server.ports.index import Index
from recalld_server.ports.operations import Operations
from recalld_server.usecases.commits import CommitCoordinator, Written, stored_answer
from recalld_server.usecases.erasure import Erasure

TRANSACTION = 200  # revisions erased in one transaction; other writers wait for it
PAGE = 1000  # memories per query when looking for remains
WAIT = 1.0  # seconds to wait for the files to be cleared, which is enough for small ones

BACKUPS = ErasureTarget(
    "backups",
    ErasureState.NOT_COVERED,
    "Copies of the data folder, file system snapshots, and old contents of overwritten disk blocks.",
)
INDEX_AWAY = ErasureTarget(
    "index", ErasureState.PENDING, "The index could not be reached; the entries are deleted as soon as it can be."
)
INDEX_FILES = ErasureTarget(
    "index_file",
    ErasureState.NOT_COVERED,
    "The index engine keeps deleted entries in its files until it merges them; recalld cannot trigger that.",
)


@dataclass(frozen=True, slots=True)
class ForgetCommand:
    """Which memories to forget: those that match the scope, the filter, or both if both are given."""

    scope: Scope = Scope()
    filter: Filter | None = None
    dry_run: bool = False
    expected_count: int | None = None
    request: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """Counts of erased data, and the remains found at `sequence` and `check_time` (µs).

    A dry run has sequence 0, check_time 0 and no legs.
    """

    memories: int
    revisions: int
    exports: int = 0
    sequence: int = 0
    check_time: int = 0
    legs: Sequence[ErasureTarget] = ()
    applied: bool = True


class Holder(Protocol):
    """A component that keeps copies of memories outside of the ledger's revisions and the index, such as exports."""

    async def clear(self, project: str) -> None:
        """Erase the data of withdrawn copies."""
        ...

    async def leg(self, project: str) -> ErasureTarget:
        """Check for remains and return them as a leg of the receipt."""
        ...


class Forgetting:
    """The use case behind ForgetMemories."""

    def __init__(
        self,
        ledger: ErasureLog,
        index: Index,
        commits: CommitCoordinator,
        erasure: Erasure,
        operations: Operations,
        clock: Clock,
        holders: Sequence[Holder] = (),
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._commits = commits
        self._erasure = erasure
        self._operations = operations
        self._clock = clock
        self._holders = holders
        self._erasing = asyncio.Semaphore(1)  # other writers wait for one erasing transaction, not for one per call

    async def forget(self, access: Access, forgetting: ForgetCommand) -> Receipt:
        """Erase until nothing matches, then check for remains and return the receipt.

        Repeating an interrupted call with the same request id resumes it; repeating an answered call checks again.
        Raises CountMismatch (before anything is erased), RequestIdReused, LedgerUnavailable.
        """
        if forgetting.dry_run:
            extent = await self._ledger.extent(access, forgetting.scope, forgetting.filter)
            return Receipt(extent.memories, extent.revisions)
        worked: list[Written] = []

        async def work(begun: Outcome | None) -> Written:
            worked.append(await self._commits.shielded(self._forget(access, forgetting, begun)))
            return worked[0]

        written = await self._commits.once(access, forgetting.request, work)
        receipt = _receipt(written.answer)
        return receipt if worked else await self._again(access, forgetting.scope, written.answer, receipt)

    async def _forget(self, access: Access, forgetting: ForgetCommand, begun: Outcome | None) -> Written:
        scope, filter, request = forgetting.scope, forgetting.filter, forgetting.request
        if begun:
            done, applied = _begun(begun), True
        else:
            await self._expect(access, forgetting)
            async with self._commits.committing():
                done, applied = await self._ledger.begin_forgetting(access, scope, filter, request), True
        while done.place:
            async with self._erasing, self._commits.committing():
                done = await self._ledger.forget(access, scope, filter, TRANSACTION, request, done)
                if done.ids and done.generation:
                    self._commits.committed.notify(access.project)
                    applied &= await self._commits.apply(access, Commit(0, (), done.ids, done.generation))
        if done.exports:
            for holder in self._holders:
                await holder.clear(access.project)
        if done.count or done.exports:
            self._erasure.request()
        sequence, legs = await self._looked(access, scope, done.after, done.kept)
        counts = (done.count, done.revisions, done.exports)
        receipt = Receipt(*counts, sequence, self._clock.now(), legs, applied)
        answer = stored_answer([], receipt=asdict(receipt), after=done.after, kept=sorted(done.kept))
        if request:  # the receipt replaces the stored progress
            await self._commits.write(access, Change(request=request, answer=answer, attempt=done.attempt + 1))
        return Written(answer, receipt.sequence, applied)

    async def _expect(self, access: Access, forgetting: ForgetCommand) -> None:
        expected = forgetting.expected_count
        if expected is not None:
            found = (await self._ledger.extent(access, forgetting.scope, forgetting.filter)).memories
            if found != expected:
                raise CountMismatch(expected=expected, actual=found)

    async def _again(self, access: Access, scope: Scope, answer: Mapping[str, Any], receipt: Receipt) -> Receipt:
        """Return a kept receipt with the remains found now."""
        if "after" not in answer:  # stored by an earlier version
            return receipt
        sequence, legs = await self._looked(access, scope, answer["after"], _messages(answer))
        left = {leg.name for leg in legs if leg.state is ErasureState.PENDING}
        applied = not left & {"index", "index_queue"}
        return replace(receipt, sequence=sequence, check_time=self._clock.now(), legs=legs, applied=applied)

    async def _looked(
        self, access: Access, scope: Scope, after: int, kept: Collection[tuple[str, int]]
    ) -> tuple[int, list[ErasureTarget]]:
        """Look for remains of everything forgotten after `after`; return the sequence number of the check and legs."""
        project, wanted = access.project, scope.narrowed(access.pin)
        cleared = await self._erasure.cleared(WAIT)
        queued = await self._operations.waiting(project, wanted) if wanted else 0
        sequence = (await self._ledger.positions(Access(project))).head
        messages = await self._ledger.said(project, kept) if kept else 0
        rows = pending = entries = 0
        reached = True
        while (found := await self._ledger.remains(project, after, PAGE)).ids:
            after = found.upto
            rows += found.rows + found.derived
            pending += found.pending
            try:
                entries += await self._index.remaining(project, found.ids) if reached else 0
            except IndexUnavailable:
                reached = False
        legs = [
            _leg("ledger", rows, "Rows are left; call ForgetMemories again."),
            _leg("messages", messages, _MESSAGES.format(messages, " or more" if messages == KEPT else "")),
            *self._ledger.file_legs(cleared.ledger),
            _leg("index", entries, "The remaining entries are deleted within seconds.") if reached else INDEX_AWAY,
            _leg("index_file", not cleared.index, _CLEARING) if self._index.clears else INDEX_FILES,
            _leg("index_queue", pending, "The pending changes are applied as soon as the index can be reached."),
            _leg("requests", await self._ledger.answers(project), _REQUESTS),
            _leg("queued_adds", queued, _QUEUED.format(queued)),
            *[await holder.leg(project) for holder in self._holders],
            BACKUPS,
        ]
        return sequence, legs


_CLEARING = (
    "The rows are overwritten. Copies in unused pages of the file or its log are overwritten in the background, within "
    "minutes; repeat the call to check again."
)
_REQUESTS = "Request ids and hashes of requests, kept for retries; they are deleted within 24 hours."
_QUEUED = "{} queued AddAsync operations of this scope will still store memories; forget again after they have ended."
_MESSAGES = "{}{} messages are kept because other memories were extracted from them; they are erased with the last one."


def _leg(name: str, left: float, clears: str) -> ErasureTarget:
    return ErasureTarget(name, ErasureState.PENDING, clears) if left else ErasureTarget(name, ErasureState.EMPTY)


def _begun(outcome: Outcome) -> Forgotten:
    """Return the progress of an interrupted call. Its erased memories match no longer, so the search starts over."""
    answer, after = outcome.answer, int(outcome.answer["after"])
    counts = {name: answer.get(name, 0) for name in ("count", "revisions", "exports")}
    return Forgotten(after, ErasureCursor(after), kept=_messages(answer), attempt=outcome.attempt, **counts)


def _messages(answer: Mapping[str, Any]) -> frozenset[tuple[str, int]]:
    return frozenset((str(add_id), int(position)) for add_id, position in answer.get("kept", ()))


def _receipt(answer: Mapping[str, Any]) -> Receipt:
    told = dict(answer["receipt"])
    legs = [ErasureTarget(leg["name"], ErasureState(leg["state"]), leg["detail"]) for leg in told.pop("legs")]
    return Receipt(**told, legs=legs)
