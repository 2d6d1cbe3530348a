"""Facts from messages by rules: whose messages count, sentence by sentence, with a verdict for every message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from recalld_server.domain.adoption import adopt, last_question
from recalld_server.domain.analysis import Analyser
from recalld_server.domain.categories import CustomCategories, analyser_for, categorise
from recalld_server.domain.errors import LimitExceeded
from recalld_server.domain.event_times import event_time
from recalld_server.domain.facts import MAX_FACT_CHARACTERS, Extraction, ExtractRequest, Fact, VerdictReason
from recalld_server.domain.limits import FACTS, SOURCE_BYTES, SOURCES
from recalld_server.domain.memory import Message, text_key
from recalld_server.domain.readings import read
from recalld_server.domain.sentences import Sentence, sentences
from recalld_server.domain.steps import Steps, completed
from recalld_server.domain.topics import Topics

# What a message without facts is said to be when its sentences differ: the first of these that occurs.
_PRECEDENCE = (
    VerdictReason.EXCLUDED,
    VerdictReason.QUESTION,
    VerdictReason.REQUEST,
    VerdictReason.GREETING,
    VerdictReason.ACKNOWLEDGEMENT,
)


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
        if message.role not in roles:
            verdicts.append(VerdictReason.ROLE_NOT_REMEMBERED)
        elif not message.content.strip():
            verdicts.append(VerdictReason.EMPTY)
        else:
            verdicts.append((yield from collection.take(place, message)))
    return Extraction(tuple(collection.facts), tuple(verdicts))


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


@dataclass(slots=True)
class _Collection:
    """The facts found so far in one request."""

    request: ExtractRequest
    facts: list[Fact] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)  # of each fact, by the identity of its text
    analyser: Analyser = field(init=False)
    included: Topics = field(init=False)
    excluded: Topics = field(init=False)
    custom: CustomCategories = field(init=False)
    sizes: list[int] = field(init=False)  # bytes of each message

    def __post_init__(self) -> None:
        self.analyser = analyser_for(self.request.language)
        self.custom = CustomCategories(self.analyser)
        self.sizes = [len(message.content.encode()) for message in self.request.messages]

    def prepare(self) -> Steps[None]:
        """Analyse once what every fact is compared with."""
        self.included = Topics.named(self.request.includes, self.analyser)
        yield
        self.excluded = Topics.named(self.request.excludes, self.analyser)
        for name, description in self.request.custom_categories:
            yield
            self.custom.define(name, description)

    def take(self, place: int, message: Message) -> Steps[VerdictReason]:
        """Adds the facts of one message and says what became of it."""
        outcomes = set()
        for text, reason, sources in self._readings(place, message):
            yield
            outcomes.add(self._add(text, sources, message) if text else reason)
        if VerdictReason.STORED in outcomes:
            return VerdictReason.STORED
        if VerdictReason.REPEATED in outcomes:
            return VerdictReason.REPEATED
        return next((reason for reason in _PRECEDENCE if reason in outcomes), VerdictReason.NO_FACT)

    def _readings(self, place: int, message: Message) -> Iterator[tuple[str, VerdictReason, tuple[int, ...]]]:
        said = list(sentences(message.content))
        question = self._question_before(place, message)
        adoption = adopt(question, said) if question and said else None
        if adoption:
            for piece in _pieces(adoption.text):
                yield piece, VerdictReason.STORED, (place, place - 1)
        for sentence in said[adoption.used if adoption else 0 :]:
            for text, reason in read(sentence):
                for piece in _pieces(text):
                    yield piece, reason, (place,)

    def _question_before(self, place: int, message: Message) -> Sentence | None:
        """The question this message may answer: the last one of the message before it, if somebody else's."""
        before = self.request.messages[place - 1] if place else None
        if before is None or before.speaker == message.speaker or before.role not in ("user", "assistant"):
            return None
        return last_question(list(sentences(before.content)))

    def _add(self, text: str, sources: Sequence[int], message: Message) -> VerdictReason:
        key = text_key(text, message.speaker, message.time)
        known = self.places.get(key)
        if known is not None:
            fact = self.facts[known]
            self.facts[known] = replace(fact, sources=self._fitting(fact.sources, sources))
            return VerdictReason.STORED if fact.sources[0] == sources[0] else VerdictReason.REPEATED
        categories = builtin = categorise(text)
        if self.custom or self.included or self.excluded:
            tokens = frozenset(self.analyser.tokens(text))
            categories = self.custom.of(tokens, builtin) if self.custom else builtin
            if self._is_excluded(tokens, {*builtin, *categories}):
                return VerdictReason.EXCLUDED
        if len(self.facts) == FACTS:
            text = f"must give at most {FACTS} facts; split the conversation into several adds"
            raise LimitExceeded.at("messages", text, limit=FACTS)
        self.places[key] = len(self.facts)
        when = event_time(text, message.time)
        self.facts.append(Fact(text, tuple(sources), message.speaker, bool(message.name), categories, when))
        return VerdictReason.STORED

    def _fitting(self, sources: Sequence[int], more: Sequence[int]) -> tuple[int, ...]:
        """The sources of a fact that is said again: the first messages that say it, as many as a memory may have."""
        merged = list(dict.fromkeys((*sources, *more)))
        fits = len(merged) <= SOURCES and sum(self.sizes[place] for place in merged) <= SOURCE_BYTES
        return tuple(merged if fits else sources)

    def _is_excluded(self, tokens: frozenset[str], categories: set[str]) -> bool:
        if self.excluded and self.excluded.match(tokens, categories, self.analyser):
            return True
        return bool(self.included) and not self.included.match(tokens, categories, self.analyser)


def _pieces(text: str) -> Iterator[str]:
    """`text` in pieces a memory can hold, cut at white space where there is any; an empty text as it is."""
    while len(text) > MAX_FACT_CHARACTERS:
        cut = max(text.rfind(" ", 1, MAX_FACT_CHARACTERS), text.rfind("\n", 1, MAX_FACT_CHARACTERS))
        cut = cut if cut > MAX_FACT_CHARACTERS // 2 else MAX_FACT_CHARACTERS
        yield text[:cut].strip()
        text = text[cut:].strip()
    yield text
