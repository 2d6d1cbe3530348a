"""The readings of one sentence: its statements, or the reasons why it has none."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence

from recalld_server.domain.extraction.clauses import clauses
from recalld_server.domain.extraction.facts import VerdictReason
from recalld_server.domain.extraction.sentences import CLOSERS, Sentence, bare
from recalld_server.domain.extraction.speech_acts import NO, YES, act, is_subject, opened
from recalld_server.domain.extraction.statements import statements
from recalld_server.domain.extraction.word_lists import phrase_set, word_set

Reading = tuple[str, VerdictReason]
"""(statement, STORED), or ("", reason) for a sentence that yields no statement."""

_SUBJECTS = word_set("my we we're we've we'll he she they it the our i'm there")
# Introductory words and phrases before a comma or a subject, which are not part of the statement.
_LEADS = (
    YES
    | NO
    | word_set(
        """
        well so oh ah also actually honestly anyway btw hmm hm um uh wow haha lol thanks ty great cool nice perfect
        awesome alright right understood hey and but plus fyi look listen true exactly sorry good wonderful basically
        additionally moreover furthermore besides however
        """
    )
    | phrase_set(
        """
        by the way | to be honest | in fact | as you know | as i said | as you may know | thank you | thanks a lot |
        thank you so much | of course | got it | i see | no worries | no problem | sounds good | that's great | for
        your information | just so you know | for the record | in case you wonder | that's right | not at all | oh
        well | nice to meet you | in addition
        """
    )
)
# Requests to remember something: the statement follows.
_REMINDERS = phrase_set(
    """
    remember | please remember | note | please note | keep in mind | please keep in mind | bear in mind | don't forget
    | do not forget | please don't forget | you should know | i want you to remember | i want you to know | i told you
    | i already told you | let me tell you | also remember | please be aware | be aware | did i mention | did i tell
    you | know
    """
)
_ANSWERS = word_set("yes yeah yep yup no nope")  # a name after these is an answer: "Yes, Paris"
_LONGEST_LEAD = 6
_MOST_LEADS = 8


def read(sentence: Sentence) -> Iterator[Reading]:
    """Yield the readings of a sentence, at least one. A fenced block is appended to the last statement before it."""
    readings = list(_prose(sentence.tokens)) if sentence.tokens else []
    block = sentence.block if any(char.isalnum() for char in sentence.block) else ""
    if block and not readings:
        readings = [("", VerdictReason.GIVEN_TEXT)]
    elif block and readings[-1][0]:
        mark = ":" if sentence.tokens[-1].endswith(":") else ""
        readings[-1] = (f"{readings[-1][0]}{mark}\n{block}", VerdictReason.STORED)
    yield from readings or [("", VerdictReason.NO_FACT)]


def _prose(tokens: Sequence[str]) -> Iterator[Reading]:
    greeted = opened(tokens)
    rest = _led(tokens[greeted:])
    addressee = len(rest) == 1 and len(tokens) > 1 and rest[0][0].isupper() and bare(tokens[0]) not in _ANSWERS
    if not rest or addressee:
        yield "", VerdictReason.GREETING if greeted else VerdictReason.ACKNOWLEDGEMENT
        return
    asked = rest[-1].rstrip(CLOSERS).endswith(("?", "？", "؟"))
    said = clauses(rest)
    for place, clause in enumerate(said):
        words = [word for _, part in clause.parts for token in part if (word := bare(token)) and _tells(word)]
        if not words:
            yield "", _wordless(clause.parts[0][1])
            continue
        reason = act(words, asked and place == len(said) - 1) or _addressed(clause.parts[-1][1], words)
        if reason:
            yield "", reason
            continue
        for text in statements(clause):
            yield (text, VerdictReason.STORED) if text else ("", VerdictReason.NO_FACT)


def _led(tokens: Sequence[str]) -> Sequence[str]:
    """Return the tokens without introductory phrases; removes at most 8, so that "yes yes yes …" takes linear time."""
    for _ in range(_MOST_LEADS):
        size = _lead(tokens)
        if not size:
            return tokens
        tokens = tokens[size:]
    return tokens


def _lead(tokens: Sequence[str]) -> int:
    words = [bare(token) for token in tokens[: _LONGEST_LEAD + 1]]
    for size in range(min(_LONGEST_LEAD, len(words)), 0, -1):
        phrase = " ".join(words[:size])
        following = words[size] if size < len(words) else ""
        subject = is_subject(following) or following in _SUBJECTS or (size == 1 and following in YES | NO)
        if phrase in _LEADS and (not following or subject or tokens[size - 1][-1] in ",!.;:-–—"):
            return size
        if phrase in _REMINDERS and following == "that":
            return size + 1
        if phrase in _REMINDERS and subject:
            return size
    return 0


def _tells(word: str) -> bool:
    return any(char.isalnum() for char in word)


def _addressed(tokens: Sequence[str], words: Sequence[str]) -> VerdictReason | None:
    """Return why a clause yields no fact without the name before or after it, or None: "That's so cool, Anna"."""
    if len(tokens) < 2 or len(words) < 2:
        return None
    if tokens[-2].endswith(",") and tokens[-1][0].isupper():
        return act(words[:-1], asked=False)
    return act(words[1:], asked=False) if tokens[0].endswith(",") and tokens[0][0].isupper() else None


def _wordless(tokens: Sequence[str]) -> VerdictReason:
    """Return the verdict on a clause without words: emoji are an acknowledgement, punctuation is no fact."""
    pictured = any(unicodedata.category(char) == "So" for token in tokens for char in token)
    return VerdictReason.ACKNOWLEDGEMENT if pictured else VerdictReason.NO_FACT
