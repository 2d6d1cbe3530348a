"""Facts from messages by rules: whose messages count, sentence by sentence, with a verdict for every message."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from recalld_server.domain.adoption import adopt, last_question
from recalld_server.domain.analysis import Analyser
from recalld_server.domain.categories import analyser_for, categorise, categorise_custom
from recalld_server.domain.event_times import event_time
from recalld_server.domain.facts import MAX_FACT_CHARACTERS, Extraction, ExtractRequest, Fact, VerdictReason
from recalld_server.domain.memory import Message, fold
from recalld_server.domain.readings import read
from recalld_server.domain.sentences import Sentence, sentences
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
    """The facts of a conversation. Deterministic, never raises on any text, time linear in its length."""
    roles = remembered_roles(request)
    collection = _Collection(request)
    verdicts = []
    for place, message in enumerate(request.messages):
        if message.role not in roles:
            verdicts.append(VerdictReason.ROLE_NOT_REMEMBERED)
        elif not message.content.strip():
            verdicts.append(VerdictReason.EMPTY)
        else:
            verdicts.append(collection.take(place, message))
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
    places: dict[tuple[str, str], int] = field(default_factory=dict)
    analyser: Analyser = field(init=False)
    included: Topics = field(init=False)
    excluded: Topics = field(init=False)

    def __post_init__(self) -> None:
        self.analyser = analyser_for(self.request.language)
        self.included = Topics.named(self.request.includes, self.analyser)
        self.excluded = Topics.named(self.request.excludes, self.analyser)

    def take(self, place: int, message: Message) -> VerdictReason:
        """Adds the facts of one message and says what became of it."""
        outcomes = [
            self._add(text, sources, message) if text else reason
            for text, reason, sources in self._readings(place, message)
        ]
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
            yield adoption.text, VerdictReason.STORED, (place, place - 1)
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
        key = (message.speaker, " ".join(fold(text).split()))
        known = self.places.get(key)
        if known is not None:
            fact = self.facts[known]
            merged = tuple(dict.fromkeys((*fact.sources, *sources)))
            self.facts[known] = Fact(fact.text, merged, fact.speaker, fact.named, fact.categories, fact.event_time)
            return VerdictReason.STORED if fact.sources[0] == sources[0] else VerdictReason.REPEATED
        builtin = categorise(text)
        custom = self.request.custom_categories
        categories = categorise_custom(text, custom, self.analyser) if custom else builtin
        if self._is_excluded(text, {*builtin, *categories}):
            return VerdictReason.EXCLUDED
        self.places[key] = len(self.facts)
        when = event_time(text, message.time)
        self.facts.append(Fact(text, tuple(sources), message.speaker, bool(message.name), categories, when))
        return VerdictReason.STORED

    def _is_excluded(self, text: str, categories: set[str]) -> bool:
        if self.excluded and self.excluded.match(text, categories, self.analyser):
            return True
        return bool(self.included) and not self.included.match(text, categories, self.analyser)


def _pieces(text: str) -> Iterator[str]:
    """`text` in pieces a memory can hold, cut at white space where there is any; an empty text as it is."""
    while len(text) > MAX_FACT_CHARACTERS:
        cut = max(text.rfind(" ", 1, MAX_FACT_CHARACTERS), text.rfind("\n", 1, MAX_FACT_CHARACTERS))
        cut = cut if cut > MAX_FACT_CHARACTERS // 2 else MAX_FACT_CHARACTERS
        yield text[:cut].strip()
        text = text[cut:].strip()
    yield text
