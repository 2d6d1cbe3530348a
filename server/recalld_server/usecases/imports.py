"""ImportMemories: bulk import of texts, memories and histories."""

from __future__ import annotations

from asyncio import Future, wait
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.bounds import values_of
from recalld_server.domain.errors import (
    DuplicateText,
    GenerationMoved,
    LimitExceeded,
    MemoryExists,
    MemoryNotFound,
    RecalldError,
    RevisionConflict,
    VectorInvalid,
    WriteConflict,
)
from recalld_server.domain.expiry import refuse_past
from recalld_server.domain.extraction.derivation import Derivation
from recalld_server.domain.extraction.event_times import event_time
from recalld_server.domain.limits import HISTORY_VALUES
from recalld_server.domain.memory import Access, Kind, Memory, Message, conversation_key, digest
from recalld_server.domain.revision import Change, Conversation, Features, Generation, HistoricRevision, Put
from recalld_server.domain.steps import Steps
from recalld_server.domain.vectors import FloatVector
from recalld_server.ports.clock import Clock, Ids
from recalld_server.ports.embedder import Priority
from recalld_server.ports.ledger import Ledger
from recalld_server.ports.projects import Projects
from recalld_server.telemetry.span import span
from recalld_server.usecases.commits import DECISIONS, CommitCoordinator
from recalld_server.usecases.features import FeatureMaker, features_of
from recalld_server.usecases.history_import import ImportedHistory, pasts, wanting

TRANSACTION = 500  # items in one transaction


@dataclass(frozen=True, slots=True)
class ImportedText:
    """A text with its message; it becomes a new memory unless the scope already has a memory with this text."""

    memory: Memory
    message: Message


@dataclass(frozen=True, slots=True)
class ImportedMemory:
    """A memory with its id, times and revision. `vector` is used if `model` is the model of the project."""

    memory: Memory
    vector: FloatVector | None = None
    model: str = ""


ImportItem = ImportedText | ImportedMemory | ImportedHistory


def memories_of(item: ImportItem) -> Sequence[Memory]:
    """Return the memories that an item writes: one, or one per revision of a history."""
    return [each.memory for each in item.revisions] if isinstance(item, ImportedHistory) else [item.memory]


@dataclass(frozen=True, slots=True)
class Imported:
    """The result of one batch. `failed` holds (position in the batch, error) of each failed item."""

    stored: int
    unchanged: int
    failed: Sequence[tuple[int, RecalldError]]
    seq: int
    applied: bool

    def followed(self, count: int, after: Imported) -> Imported:
        """Return this result and that of the items after it as one; `count` is the number of items of this one."""
        failed = [*self.failed, *((count + at, error) for at, error in after.failed)]
        stored, unchanged = self.stored + after.stored, self.unchanged + after.unchanged
        return Imported(stored, unchanged, failed, after.seq, self.applied and after.applied)


@dataclass(slots=True)
class _Plan:
    puts: list[Put] = field(default_factory=list)
    histories: list[list[HistoricRevision]] = field(default_factory=list)
    conversations: list[Conversation] = field(default_factory=list)
    unchanged: int = 0
    failed: list[tuple[int, RecalldError]] = field(default_factory=list)
    ordinals: Counter[tuple[str, int]] = field(default_factory=Counter)


class Imports:
    """The use case behind ImportMemories. Each batch is one transaction, and batches are stored in order."""

    def __init__(
        self,
        ledger: Ledger,
        projects: Projects,
        features: FeatureMaker,
        commits: CommitCoordinator,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._ledger = ledger
        self._projects = projects
        self._features = features
        self._commits = commits
        self._clock = clock
        self._ids = ids
        self.held = 0  # bytes of the items being imported; the callers update it

    async def batch(
        self, access: Access, items: Sequence[ImportItem], request_id: str = "", after: Future[Imported] | None = None
    ) -> Imported:
        """Store up to 500 items. Importing the same items again changes nothing. Events record `request_id`.

        `after` is the previous batch, which may still be running. This batch is embedded in the meantime, is stored
        after the previous one, and raises its error if that one fails.

        Errors of single items are returned in `failed`: MemoryExists (another memory has the id), MemoryNotFound
        (outside of the pin), VectorInvalid, LimitExceeded, FieldInvalid. Raises EmbedderUnavailable, WriteConflict or
        LedgerUnavailable if the whole batch fails.
        """
        if not items:
            return Imported(0, 0, [], 0, True)
        return await self._settled(access, items, request_id, {}, after)

    async def _settled(
        self,
        access: Access,
        items: Sequence[ImportItem],
        request_id: str,
        made: dict[tuple[int, str], Features],
        after: Future[Imported] | None = None,
    ) -> Imported:
        """Store the items in one transaction; after a RevisionConflict store each half, down to single items.

        `made` caches features by generation and text.
        """
        plan = _Plan()

        async def decide() -> Change:
            nonlocal plan
            settings, generation = await self._projects.settings(access.project)
            g = generation.number
            derivation = Derivation(settings.custom_categories, generation.language)
            plan = await self._plan(access, generation, items, derivation)
            bare = [put.memory for put in plan.puts if _unmade(put)]
            bare += [past.memory for history in plan.histories for past in history if wanting(past)]
            wanted = [memory for memory in bare if (g, memory.spoken) not in made]
            found = await self._features.of(generation, wanted, project=access.project, priority=Priority.BACKGROUND)
            made.update(((g, memory.spoken), features) for memory, features in zip(wanted, found, strict=True))
            puts = [replace(put, features=made[g, put.memory.spoken]) if _unmade(put) else put for put in plan.puts]
            if after is not None:
                await wait([after])
                after.result()
            histories = [
                [replace(past, features=made[g, past.memory.spoken]) if wanting(past) else past for past in history]
                for history in plan.histories
            ]
            return Change(puts=puts, histories=histories, conversations=plan.conversations, request_id=request_id)

        for _ in range(DECISIONS):
            try:
                written = await self._commits.write(access, await decide())
            except (DuplicateText, GenerationMoved):
                continue
            except RevisionConflict:
                if len(items) > 1:
                    half = len(items) // 2
                    first = await self._settled(access, items[:half], request_id, made)
                    return first.followed(half, await self._settled(access, items[half:], request_id, made))
            else:
                stored = len(plan.puts) + len(plan.histories)
                return Imported(stored, plan.unchanged, plan.failed, written.seq, written.applied)
        if len(items) > 1:
            raise WriteConflict
        # A single item that still conflicts: its id is taken by a memory this caller cannot see, or it quotes messages
        # that are stored with other content.
        stand = await self._ledger.positions(access)
        taken = MemoryExists(memory_id=items[0].memory.id)
        return Imported(0, 0, [(0, taken)], stand.head, stand.applied >= stand.head)

    async def _plan(
        self, access: Access, generation: Generation, items: Sequence[ImportItem], derivation: Derivation
    ) -> _Plan:
        with span("ledger"):
            size = sum(len(memory.text) for item in items for memory in memories_of(item))
            keys = await sliced(_keys(items), size)
            taken = await self._taken(access, items)
            known = await self._known(access, items, keys)
            named = [item.memory for item in items if not isinstance(item, ImportedText)]
            outside = await self._ledger.outside(
                access,
                [memory.id for memory in named if memory.id],
                [memory.add_id for memory in named if memory.add_id],
            )
        return await sliced(self._planned(access, generation, items, keys, taken, known, outside, derivation), size)

    def _planned(
        self,
        access: Access,
        generation: Generation,
        items: Sequence[ImportItem],
        keys: Sequence[tuple[str, str]],
        taken: dict[str, tuple[Memory, bool]],
        known: set[tuple[str, str]],
        outside: frozenset[str],
        derivation: Derivation,
    ) -> Steps[_Plan]:
        """Decide what to do with each item, in one or more steps per item."""
        yield from derivation.prepare()
        plan = _Plan()
        for at, (item, key) in enumerate(zip(items, keys, strict=True)):
            yield
            memory = item.memory
            try:
                if not access.pin.admits(memory.scope):
                    raise MemoryNotFound("The scope is outside the pin of this API key.")
                if not outside.isdisjoint((memory.id, memory.add_id)):
                    text = "The id or add_id is outside the scope that this API key is limited to."
                    raise MemoryNotFound(text, memory_id=memory.id)
                if isinstance(item, ImportedText):
                    refuse_past(memory.expire_time, self._clock.now(), "text.expire_time")
                ends = isinstance(item, ImportedHistory) and not item.live
                there, live = taken.get(memory.id) or (None, False)
                if there and (not _same(there, memory) or (ends and live)):
                    raise MemoryExists(memory_id=memory.id)
                if there and not live and not ends:
                    plan.puts.append(Put(replace(there, update_time=None), Kind.RESTORED))
                    taken[there.id] = (there, True)
                elif there or (not memory.id and key in known):
                    plan.unchanged += 1
                elif isinstance(item, ImportedHistory):
                    _check_size(item)
                    plan.histories.append((yield from self._history(item, generation, plan)))
                    taken[memory.id] = (memory, item.live)
                else:
                    put = self._put(item, generation, plan, derivation)
                    plan.puts.append(put)
                    taken[put.memory.id] = (memory, True)
                    known.add(key)
            except RecalldError as error:
                plan.failed.append((at, error))
        return plan

    async def _taken(self, access: Access, items: Sequence[ImportItem]) -> dict[str, tuple[Memory, bool]]:
        """Return the memories, live or deleted, that have the id of an item, and whether each is live."""
        ids = list(dict.fromkeys(item.memory.id for item in items if item.memory.id))
        return dict(await self._ledger.latest(access, ids)) if ids else {}

    async def _known(
        self, access: Access, items: Sequence[ImportItem], keys: Sequence[tuple[str, str]]
    ) -> set[tuple[str, str]]:
        texts = dict.fromkeys(key for item, key in zip(items, keys, strict=True) if not item.memory.id)
        return set(await self._ledger.repeats(access, list(texts), self._clock.now())) if texts else set()

    def _put(
        self, item: ImportedText | ImportedMemory, generation: Generation, plan: _Plan, derivation: Derivation
    ) -> Put:
        if isinstance(item, ImportedMemory):
            return self._whole(item, generation, plan)
        add_id = self._ids.memory()
        given = item.memory
        memory = replace(
            given,
            id=self._ids.memory(),
            add_id=add_id,
            conversation=conversation_key(given.scope, add_id),
            source_positions=(0,),
            categories=given.categories or derivation.categories(given.text),
            given_categories=given.categories,
            event_time=event_time(given.text, given.said_time),
        )
        plan.conversations.append(Conversation(add_id, _running(memory), [item.message]))
        return Put(memory, Kind.ADDED, unique=True)

    def _whole(self, item: ImportedMemory, generation: Generation, plan: _Plan) -> Put:
        """Return the put of a whole memory, with its imported features if they can be used."""
        given = item.memory
        features = _given(given, item.vector, item.model, generation)
        named = replace(
            given,
            id=given.id or self._ids.memory(),
            add_id=given.add_id or self._ids.memory(),
            revision=max(given.revision, 1) - 1,
        )
        return Put(_placed(named, plan), Kind.ADDED, features=features, unique=not given.id)

    def _history(self, item: ImportedHistory, generation: Generation, plan: _Plan) -> Steps[list[HistoricRevision]]:
        made_up = self._ids.memory()
        places: dict[tuple[str, tuple[Message, ...]], Memory] = {}

        def placed(given: Memory) -> Memory:
            memory = replace(given, add_id=given.add_id or made_up)
            of = (memory.add_id, memory.sources)
            if of not in places:  # all revisions with the same messages share one position in the conversation
                places[of] = _placed(memory, plan)
            there = places[of]
            return replace(
                memory,
                sources=(),
                conversation=there.conversation,
                source_positions=there.source_positions,
                position=there.position,
                ordinal=there.ordinal,
            )

        return (yield from pasts(item, placed, lambda memory, vector: _given(memory, vector, item.model, generation)))


def _check_size(item: ImportedHistory) -> None:
    """Raise LimitExceeded if a history has more values than one transaction can write in time."""
    values = sum(map(values_of, memories_of(item)))
    if values > HISTORY_VALUES:
        text = f"must hold at most {HISTORY_VALUES} values of metadata and categories in all revisions, not {values}"
        remedy = "leave out the oldest revisions"
        raise LimitExceeded.at("history.revisions", f"{text}; {remedy}", limit=HISTORY_VALUES, actual=values)


def _keys(items: Sequence[ImportItem]) -> Steps[list[tuple[str, str]]]:
    """Return the scope key and the text key of each item, which identify exact repeats."""
    keys = []
    for item in items:
        keys.append((item.memory.scope.key(), item.memory.text_key))
        yield
    return keys


def _placed(given: Memory, plan: _Plan) -> Memory:
    """Put a memory into the conversation of its messages. A memory without messages gets one of its own."""
    if not given.sources:
        return replace(given, conversation=digest("add", given.add_id))
    memory = replace(given, conversation=conversation_key(given.scope, given.add_id))
    plan.conversations.append(Conversation(given.add_id, _running(memory), given.sources, restored=True))
    at = tuple(sorted(message.position for message in given.sources))
    ordinal = plan.ordinals[memory.conversation, at[0]]
    plan.ordinals[memory.conversation, at[0]] += 1
    return replace(memory, sources=(), source_positions=at, position=at[0], ordinal=ordinal)


def _unmade(put: Put) -> bool:
    return put.kind is Kind.ADDED and put.features is None


def _running(memory: Memory) -> str:
    return memory.conversation if memory.scope.run_id else ""


def _given(memory: Memory, vector: FloatVector | None, model: str, generation: Generation) -> Features | None:
    """Return features with the imported vector if the model of the project made it; None if it must be embedded."""
    if vector is None:
        return None
    norm = float(np.linalg.norm(vector))
    if model == generation.model:
        if len(vector) != generation.dimension or not np.isfinite(norm) or norm == 0:
            text = f"must have {generation.dimension} finite numbers, not all zero, for the model {generation.model}"
            raise VectorInvalid(
                violations=[("vector", text)], field="vector", dimension=generation.dimension, actual=len(vector)
            )
        return features_of(generation, memory, (vector / norm).astype(np.float32))
    return None


def _same(stored: Memory, given: Memory) -> bool:
    """Return whether importing `given` would not change `stored`."""
    alike = (stored.text, stored.scope, dict(stored.metadata), stored.categories) == (
        given.text,
        given.scope,
        dict(given.metadata),
        given.categories,
    )
    return alike and (given.expire_time is None or given.expire_time == stored.expire_time)
