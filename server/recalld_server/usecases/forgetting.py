"""Forgetting: what matches is erased for good, and a receipt says of each place what was found there afterwards."""

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

TRANSACTION = 200  # revisions erased in one: other writers wait meanwhile
PAGE = 1000  # memories looked for at once afterwards
WAIT = 1.0  # seconds for files to be cleared: small ones are by then

BACKUPS = ErasureTarget(
    "backups",
    ErasureState.NOT_COVERED,
    "Copies of the data folder, snapshots of its file system, and what a disk keeps of blocks written over.",
)
INDEX_AWAY = ErasureTarget("index", ErasureState.PENDING, "It could not be reached; it is told as soon as it can be.")
INDEX_FILES = ErasureTarget(
    "index_file",
    ErasureState.NOT_COVERED,
    "The index's engine keeps what was deleted in its files until it merges them, which it does when it sees fit.",
)


@dataclass(frozen=True, slots=True)
class ForgetCommand:
    """What to forget: a scope, a filter, or both."""

    scope: Scope = Scope()
    filter: Filter | None = None
    dry_run: bool = False
    expected_count: int | None = None
    request: RequestKey | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased and what was found afterwards. `sequence` is 0 and legs are none for a dry run; times in µs."""

    memories: int
    revisions: int
    exports: int = 0
    sequence: int = 0
    check_time: int = 0
    legs: Sequence[ErasureTarget] = ()
    applied: bool = True


class Holder(Protocol):
    """Keeps copies of memories outside of the ledger's revisions and the index, as exports do."""

    async def clear(self, project: str) -> None:
        """Erase the data of copies that were withdrawn."""
        ...

    async def leg(self, project: str) -> ErasureTarget:
        """Look, and say what is left."""
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
        self._erasing = asyncio.Semaphore(1)  # other writers wait for one transaction, not for one of each call

    async def forget(self, access: Access, forgetting: ForgetCommand) -> Receipt:
        """Erase what matches, until nothing does, and look. The same request id resumes a call that broke off.

        Of a call that was answered it looks again. Raises CountMismatch before anything is erased, RequestIdReused,
        LedgerUnavailable.
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
        if request:  # the receipt takes the place of how far it was
            await self._commits.write(access, Change(request=request, answer=answer, attempt=done.attempt + 1))
        return Written(answer, receipt.sequence, applied)

    async def _expect(self, access: Access, forgetting: ForgetCommand) -> None:
        expected = forgetting.expected_count
        if expected is not None:
            found = (await self._ledger.extent(access, forgetting.scope, forgetting.filter)).memories
            if found != expected:
                raise CountMismatch(expected=expected, actual=found)

    async def _again(self, access: Access, scope: Scope, answer: Mapping[str, Any], receipt: Receipt) -> Receipt:
        """A receipt given before, with what is there now."""
        if "after" not in answer:  # kept by an earlier version
            return receipt
        sequence, legs = await self._looked(access, scope, answer["after"], _messages(answer))
        left = {leg.name for leg in legs if leg.state is ErasureState.PENDING}
        applied = not left & {"index", "index_queue"}
        return replace(receipt, sequence=sequence, check_time=self._clock.now(), legs=legs, applied=applied)

    async def _looked(
        self, access: Access, scope: Scope, after: int, kept: Collection[tuple[str, int]]
    ) -> tuple[int, list[ErasureTarget]]:
        """What is left of all that was forgotten after a sequence number, and at which one that was looked for."""
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
            _leg("ledger", rows, "Rows were left; forget again."),
            _leg("messages", messages, _MESSAGES.format(messages, " or more" if messages == KEPT else "")),
            *self._ledger.file_legs(cleared.ledger),
            _leg("index", entries, "It is told of the rest within seconds.") if reached else INDEX_AWAY,
            _leg("index_file", not cleared.index, _CLEARING) if self._index.clears else INDEX_FILES,
            _leg("index_queue", pending, "The index is told as soon as it can be reached."),
            _leg("requests", await self._ledger.answers(project), _REQUESTS),
            _leg("queued_adds", queued, _QUEUED.format(queued)),
            *[await holder.leg(project) for holder in self._holders],
            BACKUPS,
        ]
        return sequence, legs


_CLEARING = (
    "Its rows are overwritten. Copies that the file or its log may hold in unused places are overwritten in the "
    "background, within minutes; repeat the call to look again."
)
_REQUESTS = "Ids of requests and hashes of them, for retries; gone within 24 hours."
_QUEUED = "{} AddAsync of this scope wait, and store when their turn comes; forget again once they have ended."
_MESSAGES = "{}{} messages stay that memories not forgotten were taken from, too; they go with the last of those."


def _leg(name: str, left: float, clears: str) -> ErasureTarget:
    return ErasureTarget(name, ErasureState.PENDING, clears) if left else ErasureTarget(name, ErasureState.EMPTY)


def _begun(outcome: Outcome) -> Forgotten:
    """Where a call that broke off was. What it had erased matches no more, so the search begins anew."""
    answer, after = outcome.answer, int(outcome.answer["after"])
    counts = {name: answer.get(name, 0) for name in ("count", "revisions", "exports")}
    return Forgotten(after, ErasureCursor(after), kept=_messages(answer), attempt=outcome.attempt, **counts)


def _messages(answer: Mapping[str, Any]) -> frozenset[tuple[str, int]]:
    return frozenset((str(add_id), int(position)) for add_id, position in answer.get("kept", ()))


def _receipt(answer: Mapping[str, Any]) -> Receipt:
    told = dict(answer["receipt"])
    legs = [ErasureTarget(leg["name"], ErasureState(leg["state"]), leg["detail"]) for leg in told.pop("legs")]
    return Receipt(**told, legs=legs)
