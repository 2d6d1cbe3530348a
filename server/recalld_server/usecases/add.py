"""Add: extract facts from messages, merge exact repeats into existing memories, and store the rest as new memories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.bounds import check_written, metadata_size
from recalld_server.domain.commands import AddCommand
from recalld_server.domain.errors import LimitExceeded, MemoryNotFound
from recalld_server.domain.expiry import refuse_past
from recalld_server.domain.extraction.facts import Extraction, ExtractRequest, Fact, VerdictReason
from recalld_server.domain.extraction.redaction import redacted
from recalld_server.domain.extraction.verbatim import verbatim
from recalld_server.domain.limits import CATEGORIES, METADATA_BYTES
from recalld_server.domain.memory import Access, Kind, Memory, Message, conversation_key, text_key
from recalld_server.domain.projects import ProjectSettings
from recalld_server.domain.revision import Change, ChangeType, Conversation, Features, Generation, Put
from recalld_server.domain.steps import Steps
from recalld_server.ports.clock import Clock, Ids
from recalld_server.ports.extractor import Extractor
from recalld_server.ports.ledger import Ledger
from recalld_server.ports.projects import Projects
from recalld_server.telemetry.span import span
from recalld_server.usecases.commits import CommitCoordinator, Written, stored_answer
from recalld_server.usecases.features import FeatureMaker

REPEATS = 1000  # texts looked up in one query
SPLIT = "split the conversation into several adds"


@dataclass(frozen=True, slots=True)
class Result:
    """A memory of the answer and the change that the add made to it."""

    memory: Memory
    change: ChangeType
    previous_text: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome of one input message: the reason and the memories it led to."""

    index: int
    reason: VerdictReason
    memory_ids: Sequence[str]
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Added:
    """The answer of an add. `seq` is the sequence number after it, 0 for a dry run."""

    results: Sequence[Result]
    verdicts: Sequence[Verdict]
    add_id: str
    seq: int
    applied: bool


@dataclass(slots=True)
class _Decision:
    """The facts compared with the memories of the scope. `memories[i]` belongs to the i-th fact."""

    puts: list[Put]
    memories: list[Memory]
    changes: dict[str, ChangeType]


class Add:
    """The use case behind Add."""

    def __init__(
        self,
        ledger: Ledger,
        projects: Projects,
        extractor: Extractor,
        features: FeatureMaker,
        commits: CommitCoordinator,
        clock: Clock,
        ids: Ids,
    ) -> None:
        self._ledger = ledger
        self._projects = projects
        self._extractor = extractor
        self._features = features
        self._commits = commits
        self._clock = clock
        self._ids = ids

    async def add(self, access: Access, command: AddCommand) -> Added:
        """Extract facts from the messages and store them; the proto defines the contract.

        Raises MemoryNotFound if the scope is outside the pin of the key, and LimitExceeded, EmbedderUnavailable,
        ExtractorFailed, RequestIdReused, WriteConflict or LedgerUnavailable.
        """
        if not access.pin.admits(command.scope):
            raise MemoryNotFound("The scope is outside the pin of this API key.")
        if command.dry_run:
            return await self._previewed(access, command)
        written = await self._commits.once(access, command.request, lambda _: self._add(access, command))
        return _answered(written)

    async def recall(self, access: Access, rpc: str, request_ids: Sequence[str]) -> Mapping[str, Added]:
        """Return the kept answers of adds committed under these request ids; ids without a kept answer are omitted."""
        found = await self._commits.recall(access, rpc, request_ids)
        return {id: _answered(written) for id, written in found.items()}

    async def _add(self, access: Access, command: AddCommand) -> Written:
        with span("ledger"):
            settings, stood = await self._projects.settings(access.project)
        messages, extraction, add_id = await self._extracted(command, settings, stood.language)
        made: dict[tuple[int, str], Features] = {}  # by generation and text; a retry after a conflict reuses them

        async def decide() -> Change:
            generation = await self._ledger.generation(access.project)
            decision = await self._decide(access, command, messages, extraction.facts, add_id)
            await self._embed(access, generation, decision, made)
            puts = [
                replace(put, features=made.get((generation.number, put.memory.spoken))) if not put.expected else put
                for put in decision.puts
            ]
            key = conversation_key(command.scope, add_id) if command.scope.run_id else ""
            said = [Conversation(add_id, key, messages)] if messages else []
            answer = _stored(decision, extraction, add_id)
            return Change(puts=puts, conversations=said, request=command.request, answer=answer)

        written = await self._commits.decided(access, decide)
        return await self._with_unchanged(access, written)

    async def _previewed(self, access: Access, command: AddCommand) -> Added:
        with span("ledger"):
            settings, generation = await self._projects.settings(access.project)
        messages, extraction, add_id = await self._extracted(command, settings, generation.language)
        decision = await self._decide(access, command, messages, extraction.facts, add_id)
        answer = _stored(decision, extraction, add_id)
        named = {(m.id, r): m for m, (_, r) in zip(_distinct(decision.memories), answer["memories"], strict=True)}
        added = _answered(Written(answer, 0, True, named))
        fresh = {id for id, change in decision.changes.items() if change is ChangeType.ADD}
        results = [replace(r, memory=replace(r.memory, id="")) if r.memory.id in fresh else r for r in added.results]
        return replace(added, results=results, verdicts=[replace(v, memory_ids=()) for v in added.verdicts], add_id="")

    async def _extracted(
        self, command: AddCommand, settings: ProjectSettings, language: str
    ) -> tuple[list[Message], Extraction, str]:
        """Return the messages as they are stored, the extraction, and the id of the add."""
        refuse_past(command.expire_time, self._clock.now())
        messages = [replace(m, time=m.time if m.time is not None else command.timestamp) for m in command.messages]
        request = ExtractRequest(
            messages=tuple(messages),
            scope=command.scope,
            includes=command.includes,
            excludes=command.excludes,
            custom_categories=command.custom_categories or settings.custom_categories,
            custom_instructions=command.custom_instructions or settings.custom_instructions,
            language=language,
        )
        if command.infer:
            with span("extract"):
                extraction = await self._extractor.extract(request)
        else:
            size = sum(len(message.content) for message in messages) + len(command.includes) + len(command.excludes)
            extraction = await sliced(verbatim(request), size)
        stored = redacted(messages, extraction.excluded)
        return stored, extraction, command.add_id or self._ids.memory()

    async def _decide(
        self, access: Access, command: AddCommand, messages: Sequence[Message], facts: Sequence[Fact], add_id: str
    ) -> _Decision:
        size = sum(len(fact.text) for fact in facts)
        keys = await sliced(_keys(facts, messages), size)
        scope, known = command.scope.key(), dict[str, Memory]()
        for at in range(0, len(keys), REPEATS):
            with span("ledger"):
                texts = [(scope, key) for key in keys[at : at + REPEATS]]
                found = await self._ledger.repeats(access, texts, self._clock.now())
            known.update((key, memory) for (_, key), memory in found.items())
            await sliced(check_written(list(known.values()), "messages", SPLIT))
        return await sliced(self._decided(command, messages, facts, keys, known, add_id), size)

    def _decided(
        self,
        command: AddCommand,
        messages: Sequence[Message],
        facts: Sequence[Fact],
        keys: Sequence[str],
        known: dict[str, Memory],
        add_id: str,
    ) -> Steps[_Decision]:
        decision = _Decision([], [], {})
        ordinals: dict[int, int] = {}
        for fact, key in zip(facts, keys, strict=True):
            yield
            if key not in known or _too_short_lived(known[key], command):
                at = fact.sources[0]
                ordinal = ordinals[at] = ordinals.get(at, -1) + 1
                unique = key not in known
                known[key] = self._fresh(command, messages, fact, add_id, ordinal)
                decision.puts.append(Put(known[key], Kind.ADDED, unique=unique))
                decision.changes[known[key].id] = ChangeType.ADD
            elif known[key].id not in decision.changes:
                known[key] = self._merged(decision, command, known[key], fact)
            decision.memories.append(known[key])
        yield from check_written([put.memory for put in decision.puts], "messages", SPLIT)
        return decision

    def _fresh(self, command: AddCommand, messages: Sequence[Message], fact: Fact, add_id: str, ordinal: int) -> Memory:
        return Memory(
            id=self._ids.memory(),
            text=fact.text,
            scope=command.scope,
            metadata=command.metadata,
            categories=command.categories or fact.categories,
            given_categories=command.categories,
            expire_time=command.expire_time,
            event_time=fact.event_time,
            speaker=fact.speaker,
            named=fact.named,
            add_id=add_id,
            source_positions=tuple(sorted(fact.sources)),
            conversation=conversation_key(command.scope, add_id),
            position=fact.sources[0],
            ordinal=ordinal,
            said_time=messages[fact.sources[0]].time,
            immutable=command.immutable,
        )

    @staticmethod
    def _merged(decision: _Decision, command: AddCommand, known: Memory, fact: Fact) -> Memory:
        """Merge the metadata, the categories and the later expiry of an exact repeat into the existing memory."""
        merged = replace(
            known,
            metadata={**known.metadata, **command.metadata},
            categories=_union(known.categories, command.categories or fact.categories),
            expire_time=_later(known.expire_time, command.expire_time),
            given_categories=None
            if known.given_categories is None
            else _union(known.given_categories, command.categories),
        )
        if merged == known or known.immutable:
            decision.changes[known.id] = ChangeType.NONE
            return known
        _check_merged(merged)
        decision.puts.append(
            Put(merged_now := replace(merged, update_time=None), Kind.UPDATED, expected=known.revision)
        )
        decision.changes[known.id] = ChangeType.UPDATE
        return merged_now

    async def _embed(
        self, access: Access, generation: Generation, decision: _Decision, made: dict[tuple[int, str], Features]
    ) -> None:
        g = generation.number
        wanted = [put.memory for put in decision.puts if not put.expected and (g, put.memory.spoken) not in made]
        found = await self._features.of(generation, wanted, project=access.project)
        made |= {(g, memory.spoken): features for memory, features in zip(wanted, found, strict=True)}

    async def _with_unchanged(self, access: Access, written: Written) -> Written:
        """Load the unchanged memories: they are part of the answer but not of the commit."""
        named = [
            (id, revision) for id, revision in written.answer["memories"] if (id, revision) not in written.memories
        ]
        if not named:
            return written
        return replace(written, memories={**await self._ledger.revisions(access, named), **written.memories})


def _later(one: int | None, other: int | None) -> int | None:
    """Return the later of two expiry times; None means never."""
    return None if one is None or other is None else max(one, other)


def _too_short_lived(known: Memory, command: AddCommand) -> bool:
    """Whether the known memory is immutable and expires earlier than the caller wants; then the add makes a new one."""
    return known.immutable and _later(known.expire_time, command.expire_time) != known.expire_time


def _check_merged(memory: Memory) -> None:
    """Raise LimitExceeded if repeated adds have merged more into a memory than an update or an import accepts."""
    for name, most, actual in (
        ("metadata", METADATA_BYTES, metadata_size(memory.metadata)),
        ("categories", CATEGORIES, len(memory.categories)),
    ):
        if actual > most:
            text = f"must be at most {most} when merged into memory {memory.id}, which has the same text, not {actual}"
            raise LimitExceeded.at(name, text, limit=most, actual=actual)


def _keys(facts: Sequence[Fact], messages: Sequence[Message]) -> Steps[list[str]]:
    """Return the text key of each fact, which identifies exact repeats."""
    keys = []
    for fact in facts:
        keys.append(text_key(fact.text, fact.speaker, messages[fact.sources[0]].time))
        yield
    return keys


def _stored(decision: _Decision, extraction: Extraction, add_id: str) -> dict[str, Any]:
    distinct = _distinct(decision.memories)
    written = {put.memory.id for put in decision.puts}
    by_message: dict[int, list[str]] = {}
    for fact, memory in zip(extraction.facts, decision.memories, strict=True):
        by_message.setdefault(fact.sources[0], []).append(memory.id)
    verdicts = []
    for i, reason in enumerate(extraction.verdicts):
        ids = list(dict.fromkeys(by_message.get(i, ())))
        if ids:
            changed = any(decision.changes[id] is not ChangeType.NONE for id in ids)
            reason = VerdictReason.STORED if changed else VerdictReason.REPEATED
        verdicts.append([reason.value, ids, extraction.details.get(i, "")])
    return stored_answer(
        [(m.id, m.revision + (m.id in written)) for m in distinct],
        changes=[decision.changes[m.id].value for m in distinct],
        verdicts=verdicts,
        add_id=add_id,
    )


def _answered(written: Written) -> Added:
    answer = written.answer
    results = [
        Result(written.memories[id, revision], ChangeType(change))
        for (id, revision), change in zip(answer["memories"], answer["changes"], strict=True)
        if (id, revision) in written.memories
    ]
    # Answers stored by versions without verdict details have only two parts.
    verdicts = [Verdict(i, VerdictReason(reason), *more) for i, (reason, *more) in enumerate(answer["verdicts"])]
    return Added(results, verdicts, answer["add_id"], written.seq, written.applied)


def _distinct(memories: Iterable[Memory]) -> list[Memory]:
    return list({memory.id: memory for memory in memories}.values())


def _union(*groups: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for group in groups for name in group))
