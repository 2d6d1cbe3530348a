"""Facts from messages by rules: whose messages count, sentence by sentence, with a verdict for every message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from recalld_server.domain.analysis import Analyser
from recalld_server.domain.errors import LimitExceeded
from recalld_server.domain.extraction.answer_resolution import adopt, last_question
from recalld_server.domain.extraction.categories import analyser_for, categorise
from recalld_server.domain.extraction.derivation import Derivation
from recalld_server.domain.extraction.event_times import event_time
from recalld_server.domain.extraction.facts import MAX_FACT_CHARACTERS, Extraction, ExtractRequest, Fact, VerdictReason
from recalld_server.domain.extraction.passages import Origin, Passage
from recalld_server.domain.extraction.provenance import kept_out, passages
from recalld_server.domain.extraction.readings import Reading, read
from recalld_server.domain.extraction.redaction import Span, runs
from recalld_server.domain.extraction.selection import Selection, continues, is_mark, whole
from recalld_server.domain.extraction.sentences import Sentence, sentences
from recalld_server.domain.limits import FACTS, SOURCE_BYTES, SOURCES
from recalld_server.domain.memory import Message, text_key
from recalld_server.domain.steps import Steps, completed

# What a message without facts is said to be when its sentences differ: the first of these that occurs.
_PRECEDENCE = (
    VerdictReason.EXCLUDED,
    VerdictReason.QUOTED,
    VerdictReason.GIVEN_TEXT,
    VerdictReason.QUESTION,
    VerdictReason.REQUEST,
    VerdictReason.GREETING,
    VerdictReason.ACKNOWLEDGEMENT,
)
_KEPT_OUT = {
    Origin.QUOTED: VerdictReason.QUOTED,
    Origin.FORWARDED: VerdictReason.QUOTED,
    Origin.GIVEN: VerdictReason.GIVEN_TEXT,
}


def extract(request: ExtractRequest) -> Extraction:
    """The facts of a conversation, computed at once; see `extracting`."""
    return completed(extracting(request))


def extracting(request: ExtractRequest) -> Steps[Extraction]:
    """The facts of a conversation. Deterministic, and time is linear in the length of the request.

    Raises LimitExceeded, and nothing else on any text, for a conversation with more than FACTS facts.
    """
    roles = remembered_roles(request)
    collection = _Collection(request)
    yield from collection.prepare()
    verdicts = []
    for place, message in enumerate(request.messages):
        collection.settle(place - 1)  # the one before may still be answered
        if message.role not in roles:
            yield from collection.leave(place, message)
            verdicts.append(VerdictReason.ROLE_NOT_REMEMBERED)
        elif not message.content.strip():
            verdicts.append(VerdictReason.EMPTY)
        else:
            verdicts.append((yield from collection.take(place, message)))
    collection.settle(len(request.messages))
    return Extraction(tuple(collection.facts), tuple(verdicts), tuple(collection.excluded), collection.details)


def remembered_roles(request: ExtractRequest) -> frozenset[str]:
    """The roles whose messages give facts.

    The user's, except that with an agent id alone it is the assistant's; and when there the assistant says nothing,
    what is said to it is meant for it to keep.
    """
    scope = request.scope
    alone = scope.agent_id and not (scope.user_id or scope.app_id or scope.run_id)
    if alone and any(message.role == "assistant" and message.content.strip() for message in request.messages):
        return frozenset({"assistant"})
    return frozenset({"user"})


@dataclass(frozen=True, slots=True)
class _Said:
    """Sentences, each with the index of its message, and what is read from them together.

    `told` says that they are about what was excluded before them: they answer or continue it.
    """

    sentences: Sequence[tuple[int, Sentence]]
    readings: Iterable[Reading] = ()
    told: bool = False

    @property
    def sources(self) -> tuple[int, ...]:
        """The messages, the one that says it first."""
        return tuple(dict.fromkeys(place for place, _ in self.sentences))

    @property
    def spans(self) -> set[Span]:
        """Where the sentences stand."""
        return {Span(place, sentence.begin, sentence.end) for place, sentence in self.sentences}


@dataclass(slots=True)
class _Collection:
    """The facts found so far in one request."""

    request: ExtractRequest
    facts: list[Fact] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)  # of each fact, by the identity of its text
    details: dict[int, str] = field(default_factory=dict)  # what was kept out of each message
    analyser: Analyser = field(init=False)
    selection: Selection = field(init=False)
    excluded: list[Span] = field(default_factory=list)  # of the messages that are settled
    ruled_out: set[Span] = field(default_factory=set)
    outside: set[Span] = field(default_factory=set)  # of what is included, unless a fact was read from them
    kept: set[Span] = field(default_factory=set)  # a fact was read from them
    derivation: Derivation = field(init=False)
    sizes: list[int] = field(init=False)  # bytes of each message

    def __post_init__(self) -> None:
        self.analyser = analyser_for(self.request.language)
        self.selection = Selection(self.request.includes, self.request.excludes, self.analyser)
        self.derivation = Derivation(self.request.custom_categories, self.request.language)
        self.sizes = [len(message.content.encode()) for message in self.request.messages]

    def prepare(self) -> Steps[None]:
        """Analyse once what every fact is compared with."""
        yield from self.selection.prepare()
        yield from self.derivation.prepare()

    def settle(self, end: int) -> None:
        """Decides about the parts of the messages before `end`: no later one reads facts from them."""
        parts = self.ruled_out | (self.outside - self.kept)
        for place in sorted({span.message for span in parts if span.message < end}):
            content = self.request.messages[place].content
            self.excluded += runs(content, (span for span in parts if span.message == place))
        for spans in (self.ruled_out, self.outside, self.kept):
            spans -= {span for span in spans if span.message < end}

    def take(self, place: int, message: Message) -> Steps[VerdictReason]:
        """Adds the facts of one message and says what became of it."""
        outcomes = set[VerdictReason]()
        parts = passages(message.content, message.name, message.role)
        yield
        if detail := kept_out(parts):
            self.details[place] = detail
        question = self._question_before(place, message)
        named = yield from self._is_named(question)
        for number, part in enumerate(parts):
            answered = question if number == 0 and part.origin is Origin.OWN else None
            named = yield from self._take_part(place, message, part, answered, named, outcomes)
        if VerdictReason.STORED in outcomes:
            return VerdictReason.STORED
        if VerdictReason.REPEATED in outcomes:
            return VerdictReason.REPEATED
        return next((reason for reason in _PRECEDENCE if reason in outcomes), VerdictReason.NO_FACT)

    def _take_part(
        self,
        place: int,
        message: Message,
        part: Passage,
        question: Sentence | None,
        named: bool,
        outcomes: set[VerdictReason],
    ) -> Steps[bool]:
        """Adds the facts of a passage and what became of it. `question` is what it may answer.

        `named` says that what stands before it names what is excluded; the answer, that its own end does.
        """
        said = list(part.sentences())
        adoption = adopt(question, said) if question and said else None
        used = adoption.used if adoption else 0
        if adoption and question:
            answer = [(place, sentence) for sentence in said[: used or 1]]
            adopted = _Said([*answer, (place - 1, question)], [(adoption.text, VerdictReason.STORED)], named)
            named = yield from self._read(adopted, message, outcomes)
        speaker = replace(message, name=part.speaker) if part.origin is Origin.LABELLED else message
        for number, sentence in enumerate(said[used:], used):
            told = named and ((number == 0 and part.begin == 0) or continues(sentence))
            readings = read(sentence) if not is_mark(sentence) else [("", VerdictReason.EXCLUDED)]
            if reason := _KEPT_OUT.get(part.origin):
                readings = [("", reason)]
            named = yield from self._read(_Said([(place, sentence)], readings, told), speaker, outcomes)
        return named

    def leave(self, place: int, message: Message) -> Steps[None]:
        """Looks for what is excluded in a message that gives no facts."""
        if not self.selection:
            return
        named = yield from self._is_named(self._question_before(place, message))
        for number, sentence in enumerate(sentences(message.content)):
            told = named and (number == 0 or continues(sentence))
            named = yield from self._read(_Said([(place, sentence)], told=told), message, set())

    def _is_named(self, question: Sentence | None) -> Steps[bool]:
        """Whether a question is about what is excluded, and so its answer."""
        if question is None or not self.selection:
            return False
        return (yield from self.selection.excludes(whole(question)))

    def _read(self, said: _Said, message: Message, outcomes: set[VerdictReason]) -> Steps[bool]:
        """Adds the facts of sentences to the others and their verdicts to `outcomes`. True when the sentences name what
        is excluded.
        """
        found = ((piece, reason) for text, reason in said.readings for piece in _pieces(text))
        if not self.selection:
            for text, reason in found:
                yield
                outcomes.add(self._add(text, said.sources, message) if text else reason)
            return False
        named, included = said.told, True
        for _, sentence in said.sentences:
            named = named or (yield from self.selection.excludes(whole(sentence)))
            included = included and (yield from self.selection.includes(whole(sentence)))
        judged = []
        for text, reason in found:
            yield
            judged.append((text, reason, bool(text) and not said.told and self._keeps(text)))
        if named and all(keeps for text, _, keeps in judged if text):
            judged = [(text, reason, False) for text, reason, _ in judged]  # it shows in the whole sentence alone
        for text, reason, keeps in judged:
            yield
            if not text:
                outcomes.add(reason)
            elif keeps:
                outcomes.add(self._add(text, said.sources, message))
                self.kept |= said.spans
            else:
                outcomes.add(VerdictReason.EXCLUDED)
                self.ruled_out |= said.spans
        if named:
            self.ruled_out |= said.spans
        elif not included:
            self.outside |= said.spans
        return named

    def _keeps(self, text: str) -> bool:
        builtin = categorise(text)
        categories = {*builtin, *self.derivation.project_categories(text, builtin)}
        return self.selection.keeps(text, self.analyser.tokens(text), categories)

    def _question_before(self, place: int, message: Message) -> Sentence | None:
        """The question this message may answer: the last one of the message before it, if somebody else's."""
        before = self.request.messages[place - 1] if place else None
        if before is None or before.speaker == message.speaker or before.role not in ("user", "assistant"):
            return None
        parts = passages(before.content, before.name, before.role)
        return last_question([sentence for part in parts if part.origin is Origin.OWN for sentence in part.sentences()])

    def _add(self, text: str, sources: Sequence[int], message: Message) -> VerdictReason:
        key = text_key(text, message.speaker, message.time)
        known = self.places.get(key)
        if known is not None:
            fact = self.facts[known]
            self.facts[known] = replace(fact, sources=self._fitting(fact.sources, sources))
            return VerdictReason.STORED if fact.sources[0] == sources[0] else VerdictReason.REPEATED
        if len(self.facts) == FACTS:
            text = f"must give at most {FACTS} facts; split the conversation into several adds"
            raise LimitExceeded.at("messages", text, limit=FACTS)
        self.places[key] = len(self.facts)
        when = event_time(text, message.time)
        categories = self.derivation.categories(text)
        self.facts.append(Fact(text, tuple(sources), message.speaker, bool(message.name), categories, when))
        return VerdictReason.STORED

    def _fitting(self, sources: Sequence[int], more: Sequence[int]) -> tuple[int, ...]:
        """The sources of a fact that is said again: the first messages that say it, as many as a memory may have."""
        merged = list(dict.fromkeys((*sources, *more)))
        fits = len(merged) <= SOURCES and sum(self.sizes[place] for place in merged) <= SOURCE_BYTES
        return tuple(merged if fits else sources)


def _pieces(text: str) -> Iterator[str]:
    """`text` in pieces a memory can hold, cut at white space where there is any; an empty text as it is."""
    while len(text) > MAX_FACT_CHARACTERS:
        cut = max(text.rfind(" ", 1, MAX_FACT_CHARACTERS), text.rfind("\n", 1, MAX_FACT_CHARACTERS))
        cut = cut if cut > MAX_FACT_CHARACTERS // 2 else MAX_FACT_CHARACTERS
        yield text[:cut].strip()
        text = text[cut:].strip()
    yield text
