"""Update, delete and restore existing memories."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.bounds import check_written
from recalld_server.domain.errors import (
    CountMismatch,
    EntityNotFound,
    EtagMismatch,
    HistoryTrimmed,
    MemoryImmutable,
    MemoryNotDeleted,
    MemoryNotFound,
    RevisionNotFound,
)
from recalld_server.domain.expiry import refuse_past
from recalld_server.domain.extraction.derivation import Derivation
from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Access, Kind, Memory, Scope
from recalld_server.domain.revision import Change, Delete, ListQuery, Outcome, Put, RequestKey
from recalld_server.domain.steps import Steps
from recalld_server.ports.clock import Clock
from recalld_server.ports.ledger import Ledger
from recalld_server.ports.projects import Projects
from recalld_server.telemetry.span import span
from recalld_server.usecases.commits import CommitCoordinator, Written, stored_answer
from recalld_server.usecases.features import FeatureMaker

TRANSACTION = 250  # memories deleted in one transaction; other writers wait for it
SAMPLE = 10  # memories a dry run returns
NAMED = 3  # ids listed in an error text; the error metadata lists more


@dataclass(frozen=True, slots=True)
class Update:
    """New values for fields of one memory: any of text, metadata, categories, expire_time, immutable.

    `at` is the prefix of the field paths in errors.
    """

    memory_id: str
    values: Mapping[str, Any]
    etag: str = ""
    at: str = ""


@dataclass(frozen=True, slots=True)
class Changed:
    """The result of a change: the changed memories that are live, in request order, and how many were changed."""

    memories: Sequence[Memory]
    count: int
    seq: int
    applied: bool
    until: int | None = None  # the time until which a deletion can be undone, µs


@dataclass(frozen=True, slots=True)
class Deletion:
    """Which memories to delete: those that match the scope, the filter, or both if both are given."""

    scope: Scope = Scope()
    filter: Filter | None = None
    expected_count: int | None = None
    dry_run: bool = False
    request: RequestKey | None = None


class MemoryMutations:
    """The use cases behind Update, Delete, their Batch forms, DeleteMemories, DeleteEntity and RestoreMemory."""

    def __init__(
        self, ledger: Ledger, features: FeatureMaker, commits: CommitCoordinator, clock: Clock, projects: Projects
    ) -> None:
        self._ledger = ledger
        self._projects = projects
        self._features = features
        self._commits = commits
        self._clock = clock

    async def update(self, access: Access, updates: Sequence[Update], request: RequestKey | None) -> Changed:
        """Change memories in one transaction.

        Raises MemoryNotFound (it names each unknown or expired id), MemoryImmutable, EtagMismatch, FieldInvalid,
        WriteConflict, EmbedderUnavailable, RequestIdReused, LedgerUnavailable.
        """

        async def decide() -> Change:
            for update in updates:
                refuse_past(update.values.get("expire_time"), self._clock.now(), f"{update.at}memory.expire_time")
            current = await self._current(access, [update.memory_id for update in updates])
            _check_etags([(current[u.memory_id], u.etag) for u in updates])
            # An immutable memory can be changed only by an update that also sets `immutable` to False.
            if frozen := [
                u.memory_id for u in updates if current[u.memory_id].immutable and u.values.get("immutable", True)
            ]:
                raise MemoryImmutable(**_named(frozen))
            given = [_changed(current[u.memory_id], u.values) for u in updates]
            chosen = {u.memory_id for u in updates if "categories" in u.values}
            wanted = await self._derived(access, current, given, chosen)
            await sliced(check_written(wanted, "updates", "update fewer memories at a time"))
            puts = await self._puts(access, current, wanted, Kind.UPDATED)
            answer = stored_answer([(m.id, m.revision + 1) for m in wanted])
            return Change(puts=puts, request=request, answer=answer)

        return await self._written(access, request, lambda _: self._commits.decided(access, decide))

    async def _derived(
        self, access: Access, current: Mapping[str, Memory], wanted: Sequence[Memory], chosen: Set[str]
    ) -> Sequence[Memory]:
        """Derive categories and event times again for changed texts; see `Derivation.renewed`.

        Memories in `chosen` keep the categories that the update gives, even if it gives none.
        """
        size = sum(len(memory.text) for memory in wanted if memory.text != current[memory.id].text)
        if not size:
            return wanted
        settings, generation = await self._projects.settings(access.project)
        derivation = Derivation(settings.custom_categories, generation.language)

        def derive() -> Steps[list[Memory]]:
            yield from derivation.prepare()
            made = []
            for memory in wanted:
                before = current[memory.id]
                renewed = memory if memory.text == before.text else derivation.renewed(before, memory)
                made.append(replace(renewed, categories=memory.categories) if memory.id in chosen else renewed)
                yield
            return made

        return await sliced(derive(), size)

    async def judge(
        self, access: Access, memory_id: str, feedback: str, reason: str, request: RequestKey | None
    ) -> Changed:
        """Set the feedback on a memory, or remove it if `feedback` is "". Works on immutable memories, too.

        Raises MemoryNotFound, WriteConflict, RequestIdReused, LedgerUnavailable.
        """

        async def decide() -> Change:
            current = await self._current(access, [memory_id])
            before = current[memory_id]
            judged = replace(before, feedback=feedback, feedback_reason=reason if feedback else "", update_time=None)
            puts = [Put(judged, Kind.UPDATED, expected=before.revision)]
            return Change(puts=puts, request=request, answer=stored_answer([(memory_id, before.revision + 1)]))

        return await self._written(access, request, lambda _: self._commits.decided(access, decide))

    async def delete(self, access: Access, ids: Sequence[str], request: RequestKey | None, etag: str = "") -> Changed:
        """Delete memories in one transaction; immutable ones can be deleted, too.

        Raises MemoryNotFound, EtagMismatch, WriteConflict, RequestIdReused, LedgerUnavailable.
        """

        async def decide() -> Change:
            current = await self._current(access, ids)
            _check_etags([(memory, etag) for memory in current.values()])
            deletes = [Delete(id, memory.revision) for id, memory in current.items()]
            return Change(deletes=deletes, request=request, answer=stored_answer([], count=len(deletes)))

        return await self._written(access, request, lambda _: self._commits.decided(access, decide))

    async def delete_matching(self, access: Access, deletion: Deletion) -> Changed:
        """Delete all memories that match now, in transactions of 250.

        Repeating an interrupted call with the same request id resumes it. A dry run returns the count and a sample.
        Raises CountMismatch (before anything is deleted), RequestIdReused, WriteConflict, LedgerUnavailable.
        """
        if deletion.dry_run:
            query = ListQuery(scope=deletion.scope, filter=deletion.filter, limit=SAMPLE, count=True)
            page = await self._ledger.page(access, query)
            return Changed(page.memories, page.total or 0, 0, True)
        work = self._delete_matching
        return await self._written(access, deletion.request, lambda outcome: work(access, deletion, outcome))

    async def _delete_matching(self, access: Access, deletion: Deletion, begun: Outcome | None) -> Written:
        """Delete the memories that matched at the sequence number of the first attempt, which resumed calls keep."""
        after: tuple[int, str] | None = None
        attempt, done = 0, 0
        if begun:
            as_of, done, attempt = int(begun.answer["as_of"]), int(begun.answer["count"]), begun.attempt + 1
            after = _place(begun.answer.get("after"))
        else:
            as_of = (await self._ledger.positions(access)).head
            if deletion.expected_count is not None:
                count = await self._ledger.count(access, deletion.scope, deletion.filter, as_of)
                if deletion.expected_count != count:
                    raise CountMismatch(expected=deletion.expected_count, actual=count)
        kept = await self._ledger.retention(access.project)
        until = self._clock.now() + kept if kept else None
        more, progress, last = True, done, after
        written: Written | None = None

        async def decide() -> Change:
            nonlocal more, progress, last
            limit = TRANSACTION + 1
            with span("ledger"):
                found = await self._ledger.matching(access, deletion.scope, deletion.filter, as_of, after, limit)
            more, found = len(found) > TRANSACTION, found[:TRANSACTION]
            progress = done + len(found)
            last = (found[-1].create_time, found[-1].memory_id) if found else after
            answer = stored_answer([], count=progress, as_of=as_of, until=until, after=last)
            deletes = [Delete(match.memory_id, match.revision) for match in found]
            return Change(deletes=deletes, request=deletion.request, answer=answer, partial=more, attempt=attempt)

        applied = True
        while more:
            written = await self._commits.decided(access, decide)
            done, after, attempt, applied = progress, last, attempt + 1, applied and written.applied
        assert written is not None  # noqa: S101 - the loop ran at least once
        return replace(written, applied=applied)

    async def delete_entity(self, access: Access, scope: Scope, request: RequestKey | None) -> Changed:
        """Delete all memories of an entity. Raises EntityNotFound if no memory ever had its id."""
        changed = await self.delete_matching(access, Deletion(scope=scope, request=request))
        if not changed.count and not await self._ledger.known(access, scope):
            type, id = scope.items()[0]
            raise EntityNotFound(type=type.removesuffix("_id").upper(), id=id)
        return changed

    async def restore(
        self, access: Access, memory_id: str, revision: int | None, request: RequestKey | None
    ) -> Changed:
        """Restore a deleted or expired memory, or an earlier revision of a live one, as a new revision.

        Raises MemoryNotFound, MemoryNotDeleted, RevisionNotFound, HistoryTrimmed, MemoryImmutable, WriteConflict,
        RequestIdReused, LedgerUnavailable.
        """

        async def decide() -> Change:
            with span("ledger"):
                latest = (await self._ledger.latest(access, [memory_id])).get(memory_id)
            if latest is None:
                raise MemoryNotFound(memory_id=memory_id)
            newest, live = latest
            if newest.forgotten:
                raise MemoryNotFound(memory_id=memory_id)
            there = live and newest.live_at(self._clock.now())
            if there and revision is None:
                raise MemoryNotDeleted(memory_id=memory_id)
            if there and newest.immutable:
                raise MemoryImmutable(memory_id=memory_id)
            wanted = newest
            if revision is not None:
                named = await self._ledger.revisions(access, [(memory_id, revision)])
                if (memory_id, revision) not in named:
                    if 0 < revision < newest.revision and (stand := await self._ledger.positions(access)).oldest:
                        raise HistoryTrimmed(oldest_sequence=stand.oldest)
                    raise RevisionNotFound(memory_id=memory_id, revision=revision)
                wanted = named[memory_id, revision]
            expire = wanted.expire_time if wanted.live_at(self._clock.now()) else None
            back = replace(wanted, revision=newest.revision, update_time=None, expire_time=expire)
            expected = newest.revision if live else 0
            puts = [Put(back, Kind.RESTORED, expected=expected)]
            answer = stored_answer([(memory_id, newest.revision + 1)])
            return Change(puts=puts, request=request, answer=answer)

        return await self._written(access, request, lambda _: self._commits.decided(access, decide))

    async def _current(self, access: Access, ids: Sequence[str]) -> Mapping[str, Memory]:
        with span("ledger"):
            found = await self._ledger.memories(access, ids)
        now = self._clock.now()  # a memory counts as expired even if the background expiry has not deleted it yet
        if missing := [id for id in ids if id not in found or not found[id].live_at(now)]:
            raise MemoryNotFound(_absent(missing, [id for id in missing if id in found]), **_named(missing))
        return found

    async def _puts(
        self, access: Access, current: Mapping[str, Memory], wanted: Sequence[Memory], kind: Kind
    ) -> list[Put]:
        """Return the puts; only memories with a new text are embedded."""
        said = [memory for memory in wanted if memory.text != current[memory.id].text]
        generation = await self._ledger.generation(access.project) if said else None
        made = await self._features.of(generation, said, project=access.project) if generation else []
        features = {memory.id: found for memory, found in zip(said, made, strict=True)}
        return [Put(m, kind, expected=current[m.id].revision, features=features.get(m.id)) for m in wanted]

    async def _written(self, access: Access, request: RequestKey | None, work: Any) -> Changed:
        written: Written = await self._commits.once(access, request, work)
        named = [(str(id), int(revision)) for id, revision in written.answer["memories"]]
        memories = [written.memories[key] for key in named if key in written.memories]
        count, until = int(written.answer.get("count", len(named))), written.answer.get("until")
        return Changed(memories, count, written.seq, written.applied, until)


def _place(stored: Sequence[Any] | None) -> tuple[int, str] | None:
    """Return the cursor of a deletion, (create time in µs, memory id), from its stored answer."""
    return (int(stored[0]), str(stored[1])) if stored else None


def _changed(memory: Memory, values: Mapping[str, Any]) -> Memory:
    """Return the memory with the new values. Categories among them become its given categories."""
    changed = replace(memory, **values, update_time=None)
    return replace(changed, given_categories=changed.categories) if "categories" in values else changed


def _check_etags(pairs: Sequence[tuple[Memory, str]]) -> None:
    stale = [memory.id for memory, etag in pairs if etag and etag != memory.etag]
    if stale:
        raise EtagMismatch(**_named(stale))


def _absent(missing: Sequence[str], expired: Sequence[str]) -> str:
    """Return the error text for memories that were not found, some of which have expired."""
    text = f"Memory not found: {_listed(missing)}."
    return f"{text} Of these, expired and restorable with RestoreMemory: {_listed(expired)}." if expired else text


def _listed(ids: Sequence[str]) -> str:
    """Return the first ids and the number of further ones."""
    return ", ".join(ids[:NAMED]) + (f" and {len(ids) - NAMED} more" if len(ids) > NAMED else "")


def _named(ids: Sequence[str]) -> dict[str, Any]:
    """Return the error metadata that names memories."""
    return {"memory_id": ids[0]} if len(ids) == 1 else {"memory_ids": ",".join(ids), "count": len(ids)}
