"""Rule-based extraction: facts from the sentences of messages, and a verdict for every message."""

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
from recalld_server.domain.extraction.redaction import MARK, Span, runs
from recalld_server.domain.extraction.selection import Selection, continues, is_mark, whole
from recalld_server.domain.extraction.sentences import Sentence, sentences
from recalld_server.domain.limits import FACTS, SOURCE_BYTES, SOURCES
from recalld_server.domain.memory import Message, text_key
from recalld_server.domain.steps import Steps, completed

# The verdict on a message without facts whose sentences have different verdicts: the first of these that occurs.
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
    """Extract the facts of a conversation without a pause; see `extracting`."""
    return completed(extracting(request))


def extracting(request: ExtractRequest) -> Steps[Extraction]:
    """Extract the facts of a conversation. Deterministic; the time is linear in the length of the request.

    Raises LimitExceeded if the conversation has more than FACTS facts. No text raises any other error.
    """
    roles = remembered_roles(request)
    collection = _Collection(request)
    yield from collection.prepare()
    verdicts = []
    for place, message in enumerate(request.messages):
        collection.settle(place - 1)  # this message may still answer a question of the previous one
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
    """Return the roles whose messages yield facts.

    This is "user". For a scope with only an agent_id it is "assistant" if a message of the assistant is not empty;
    otherwise the user's messages are taken as statements for the agent to remember.
    """
    scope = request.scope
    alone = scope.agent_id and not (scope.user_id or scope.app_id or scope.run_id)
    if alone and any(message.role == "assistant" and message.content.strip() for message in request.messages):
        return frozenset({"assistant"})
    return frozenset({"user"})


@dataclass(frozen=True, slots=True)
class _Said:
    """Sentences, each with the index of its message, and the readings of them together.

    `told` is True if they answer or continue an excluded sentence, and so are about an excluded topic.
    """

    sentences: Sequence[tuple[int, Sentence]]
    readings: Iterable[Reading] = ()
    told: bool = False

    @property
    def sources(self) -> tuple[int, ...]:
        """The indices of their messages, beginning with the message the fact belongs to."""
        return tuple(dict.fromkeys(place for place, _ in self.sentences))

    @property
    def spans(self) -> set[Span]:
        """The spans of the sentences."""
        return {Span(place, sentence.begin, sentence.end) for place, sentence in self.sentences}


@dataclass(slots=True)
class _Collection:
    """The facts found so far in one request."""

    request: ExtractRequest
    facts: list[Fact] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)  # index of each fact by its text key
    details: dict[int, str] = field(default_factory=dict)  # parts without facts, by message
    analyser: Analyser = field(init=False)
    selection: Selection = field(init=False)
    excluded: list[Span] = field(default_factory=list)  # the final result for settled messages
    ruled_out: set[Span] = field(default_factory=set)  # spans that match `excludes`
    outside: set[Span] = field(default_factory=set)  # spans that do not match `includes`; kept if they yielded a fact
    kept: set[Span] = field(default_factory=set)  # spans that yielded a fact
    derivation: Derivation = field(init=False)
    sizes: list[int] = field(init=False)  # bytes of each message

    def __post_init__(self) -> None:
        self.analyser = analyser_for(self.request.language)
        self.selection = Selection(self.request.includes, self.request.excludes, self.analyser)
        self.derivation = Derivation(self.request.custom_categories, self.request.language)
        self.sizes = [len(message.content.encode()) for message in self.request.messages]

    def prepare(self) -> Steps[None]:
        """Analyse the topics and the custom categories."""
        yield from self.selection.prepare()
        yield from self.derivation.prepare()

    def settle(self, end: int) -> None:
        """Decide which parts of the messages before `end` are excluded; later messages no longer read them."""
        parts = self.ruled_out | (self.outside - self.kept)
        for place in sorted({span.message for span in parts if span.message < end}):
            content = self.request.messages[place].content
            self.excluded += runs(content, (span for span in parts if span.message == place))
        for spans in (self.ruled_out, self.outside, self.kept):
            spans -= {span for span in spans if span.message < end}

    def take(self, place: int, message: Message) -> Steps[VerdictReason]:
        """Add the facts of one message and return its verdict."""
        outcomes = set[VerdictReason]()
        parts = passages(message.content, message.name, message.role)
        yield
        if self.selection:
            parts = yield from self._without_excluded_labels(place, message.content, parts)
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
        """Add the facts of a passage, and its verdicts to `outcomes`. `question` is the question it may answer.

        `named` tells whether the sentence before it names an excluded topic; returns the same for its last sentence.
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

    def _without_excluded_labels(self, place: int, content: str, parts: Sequence[Passage]) -> Steps[list[Passage]]:
        """Rule out the labels that name an excluded topic, such as a phone number, and mark the speakers they name.

        Labels are what no passage contains.
        """
        found: list[Passage] = []
        end = 0
        for part in (*parts, Passage("", Origin.OWN, begin=len(content))):
            label = content[end : part.begin]
            if label.strip() and (yield from self.selection.excludes(label)):
                begin = end + len(label) - len(label.lstrip())
                self.ruled_out.add(Span(place, begin, begin + len(label.strip())))
                part = replace(part, speaker=MARK) if part.origin is Origin.LABELLED else part
            found.append(part)
            end = part.begin + len(part.text)
        return found[:-1]

    def leave(self, place: int, message: Message) -> Steps[None]:
        """Find the excluded parts of a message that yields no facts."""
        if not self.selection:
            return
        named = yield from self._is_named(self._question_before(place, message))
        for number, sentence in enumerate(sentences(message.content)):
            told = named and (number == 0 or continues(sentence))
            named = yield from self._read(_Said([(place, sentence)], told=told), message, set())

    def _is_named(self, question: Sentence | None) -> Steps[bool]:
        """Return whether a question names an excluded topic; then its answer is excluded, too."""
        if question is None or not self.selection:
            return False
        return (yield from self.selection.excludes(whole(question)))

    def _read(self, said: _Said, message: Message, outcomes: set[VerdictReason]) -> Steps[bool]:
        """Add the facts of sentences, and their verdicts to `outcomes`.

        Returns whether the sentences name an excluded topic.
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
            # The excluded topic can be seen only in the whole sentence, so no single fact is safe to keep.
            judged = [(text, reason, False) for text, reason, _ in judged]
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
        """Return the question this message may answer: the last one in the previous message of another speaker."""
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
            text = f"must yield at most {FACTS} facts; split the conversation into several adds"
            raise LimitExceeded.at("messages", text, limit=FACTS)
        self.places[key] = len(self.facts)
        when = event_time(text, message.time)
        categories = self.derivation.categories(text)
        self.facts.append(Fact(text, tuple(sources), message.speaker, bool(message.name), categories, when))
        return VerdictReason.STORED

    def _fitting(self, sources: Sequence[int], more: Sequence[int]) -> tuple[int, ...]:
        """Return the sources of a repeated fact: both if they fit into the limits of a memory, otherwise `sources`."""
        merged = list(dict.fromkeys((*sources, *more)))
        fits = len(merged) <= SOURCES and sum(self.sizes[place] for place in merged) <= SOURCE_BYTES
        return tuple(merged if fits else sources)


def _pieces(text: str) -> Iterator[str]:
    """Split `text` into pieces that fit into a memory, at white space if possible; yields an empty text unchanged."""
    while len(text) > MAX_FACT_CHARACTERS:
        cut = max(text.rfind(" ", 1, MAX_FACT_CHARACTERS), text.rfind("\n", 1, MAX_FACT_CHARACTERS))
        cut = cut if cut > MAX_FACT_CHARACTERS // 2 else MAX_FACT_CHARACTERS
        yield text[:cut].strip()
        text = text[cut:].strip()
    yield text
