"""Forgetting: what matches is erased for good, and a receipt says of each place what was found there afterwards."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

from recalld_server.domain.errors import IndexUnavailable
from recalld_server.domain.filters import Filter
from recalld_server.domain.forgetting import Forgotten, Leg, LegState
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import Change, Commit, Outcome, RequestKey
from recalld_server.ports.clock import Clock
from recalld_server.ports.index import Index
from recalld_server.ports.ledger import Ledger
from recalld_server.usecases.writing import Writer, Written, stored_answer

TRANSACTION = 500  # memories erased in one: other writers wait meanwhile

BACKUPS = Leg(
    "backups",
    LegState.NOT_COVERED,
    "Copies of the data folder, snapshots of its file system, and what a disk keeps of blocks written over.",
)
INDEX_FILES = Leg(
    "index_file",
    LegState.NOT_COVERED,
    "The index's engine keeps what was deleted in its files until it merges them, which it does when it sees fit.",
)


@dataclass(frozen=True, slots=True)
class Forgetting:
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
    legs: Sequence[Leg] = ()
    applied: bool = True


class Holder(Protocol):
    """Keeps copies of memories outside of the ledger's revisions and the index, as exports do."""

    async def withdraw(self, project: str, ids: Sequence[str]) -> int:
        """Erase every copy that holds one of these memories; how many copies that were."""
        ...

    async def leg(self, project: str, ids: Sequence[str]) -> Leg:
        """Look, and say what is left."""
        ...


class Forget:
    """The use case behind ForgetMemories."""

    def __init__(
        self, ledger: Ledger, index: Index, writer: Writer, clock: Clock, holders: Sequence[Holder] = ()
    ) -> None:
        self._ledger = ledger
        self._index = index
        self._writer = writer
        self._clock = clock
        self._holders = holders

    async def forget(self, access: Access, forgetting: Forgetting) -> Receipt:
        """Erase what matches, until nothing does, and look. The same request id resumes a call that broke off.

        Raises CountMismatch before anything is erased, RequestIdReused, LedgerUnavailable.
        """
        if forgetting.dry_run:
            extent = await self._ledger.extent(access, forgetting.scope, forgetting.filter)
            return Receipt(extent.memories, extent.revisions)
        work = self._forget
        written = await self._writer.once(
            access, forgetting.request, lambda begun: self._writer.shielded(work(access, forgetting, begun))
        )
        return _receipt(written.answer)

    async def _forget(self, access: Access, forgetting: Forgetting, begun: Outcome | None) -> Written:
        done = _begun(begun) if begun else None
        more, applied = True, True
        while more:
            async with self._writer.committing():
                done = await self._ledger.forget(
                    access,
                    forgetting.scope,
                    forgetting.filter,
                    TRANSACTION,
                    forgetting.expected_count,
                    forgetting.request,
                    done,
                )
                more = done.more
                if done.ids and done.generation:
                    self._writer.committed.notify(access.project)
                    applied &= await self._writer.apply(access, Commit(0, (), done.ids, done.generation))
        assert done is not None  # noqa: S101 - the loop ran at least once
        receipt = await self._checked(access.project, done, applied)
        answer = stored_answer([], receipt=asdict(receipt))
        if forgetting.request:  # the receipt takes the place of how far it was
            change = Change(request=forgetting.request, answer=answer, attempt=done.attempt + 1)
            await self._writer.write(access, change)
        return Written(answer, receipt.sequence, applied)

    async def _checked(self, project: str, done: Forgotten, applied: bool) -> Receipt:
        gone = (await self._ledger.remains(project, done.after)).ids
        withdrawn = sum([await holder.withdraw(project, gone) for holder in self._holders])
        files = await self._ledger.scrub()  # after all that erases
        sequence = (await self._ledger.positions(Access(project))).head
        found = await self._ledger.remains(project, done.after)
        legs = [
            _leg("ledger", found.rows + found.derived, "Rows were left; forget again."),
            _leg("messages", done.kept_messages, _MESSAGES.format(done.kept_messages)),
            *files,
            *await self._index_legs(project, found.ids),
            _leg("index_queue", found.pending, "The index is told as soon as it can be reached."),
            _leg("requests", found.outcomes, "Ids of requests and hashes of them, for retries; gone within 24 hours."),
            *[await holder.leg(project, found.ids) for holder in self._holders],
            BACKUPS,
        ]
        return Receipt(done.count, done.revisions, withdrawn, sequence, self._clock.now(), legs, applied)

    async def _index_legs(self, project: str, ids: Sequence[str]) -> list[Leg]:
        try:
            left = await self._index.scrub(project, ids)
        except IndexUnavailable:
            return [Leg("index", LegState.PENDING, "It could not be reached; it is told as soon as it can be.")]
        return [
            _leg("index", left.entries, "It is told of the rest within seconds."),
            _leg("index_file", not left.clean, _FILE) if left.clean is not None else INDEX_FILES,
        ]


_FILE = "It could not be rewritten now, being read or the disk full; the next ForgetMemories of anything does it."
_MESSAGES = "{} messages stay that memories not forgotten were taken from, too; they go with the last of those."


def _leg(name: str, left: int, clears: str) -> Leg:
    return Leg(name, LegState.PENDING, clears) if left else Leg(name, LegState.EMPTY)


def _begun(outcome: Outcome) -> Forgotten:
    """Where a call that broke off was. Its ids are not known any more; the ledger finds them by `after`."""
    count, revisions, messages, after = (
        int(outcome.answer[name]) for name in ("count", "revisions", "kept_messages", "after")
    )
    return Forgotten((), count, revisions, messages, after, True, attempt=outcome.attempt)


def _receipt(answer: Mapping[str, Any]) -> Receipt:
    told = dict(answer["receipt"])
    legs = [Leg(leg["name"], LegState(leg["state"]), leg["detail"]) for leg in told.pop("legs")]
    return Receipt(**told, legs=legs)
