"""Clauses of a sentence: splits a coordination only if both parts can be understood alone.

"I'm a vegetarian and I'm allergic to nuts" yields two clauses. "I tried chicken and I loved it" stays one clause with
two parts, because the second part refers to the first. Lists ("pizza, pasta and sushi") are never split.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from recalld_server.domain.extraction.sentences import DASHES, bare
from recalld_server.domain.extraction.speech_acts import is_question, is_request, is_subject
from recalld_server.domain.extraction.verbs import BASES, MODALS, NOUN_LIKE, is_adverb, is_finite, is_past
from recalld_server.domain.extraction.word_lists import word_set

Tokens = tuple[str, ...]

_CONJUNCTIONS = word_set("and but so plus & yet")
_SUBORDINATORS = word_set(
    """
    if when while because since although though as after before unless whenever once until whether cause given
    """
)
_REASONS = word_set("since because as given")
_THANKS = word_set("thanks thank sorry congratulations congrats")
_BACKWARD = word_set(
    """
    it it's its it'll it'd they they're they've he he's she she's him her his hers them their theirs there one ones
    that that's this these those such both neither latter former
    """
)
# Before these words, "this" and "that" name a time and do not refer to an earlier clause.
_TIMES = word_set(
    """
    week month year morning afternoon evening weekend summer winter spring autumn fall semester time season
    """
)
_PREDICATES = word_set("allergic intolerant interested originally based married divorced single retired afraid")
_AFTER_NOUN_LIKE = word_set("as at for in with on from to the a an my every hard part full abroad there remotely")
_BEFORE_SUBJECTS = _SUBORDINATORS | word_set("that so and but or where think know hope believe guess say said feel")
_OTHERS = word_set("they he she it we you who which")
_REACH = 6  # words after "my" in which its verb is searched: "my older sister from Rome lives"


@dataclass(frozen=True, slots=True)
class Clause:
    """A clause that can be understood alone, as parts of (joining word, tokens); the first part has no joining word."""

    parts: tuple[tuple[str, Tokens], ...]


@dataclass(frozen=True, slots=True)
class _Cut:
    """The start of the next clause, the word that joins it, and the subject it shares with the clause before.

    `continues` makes it a part of that clause although it could stand alone: "I usually get up early and go running".
    """

    begin: int
    joint: str = ""
    subject: Tokens = ()
    continues: bool = False


def clauses(tokens: Sequence[str]) -> list[Clause]:
    """Return the clauses of one sentence in order. Each word except the joining ones is in exactly one clause."""
    words = [bare(token) for token in tokens]
    found: list[list[tuple[str, Tokens]]] = []
    cut = _Cut(0)
    # A modal or "to" also governs a second verb ("I want to cook and eat"), and so does another subject: then the
    # second verb does not get an "I" of its own.
    governed = bool(words) and words[0].endswith(("'ll", "'d"))
    for place in range(1, len(tokens)):
        governed = governed or words[place] in MODALS or words[place].partition("'")[0] in _OTHERS
        following = _cut(tokens, words, cut.begin, place, governed) if place > cut.begin else None
        if following:
            # "Since I'm a vegetarian, what …": the statement loses its "since" when the question is split off.
            reason = words[cut.begin] in _REASONS and is_subject(words[cut.begin + 1])
            _append(found, cut, tokens[cut.begin + reason : place])
            cut = following
            governed = words[cut.begin].endswith(("'ll", "'d"))
    _append(found, cut, tokens[cut.begin :])
    return [Clause(tuple(parts)) for parts in found]


def _append(found: list[list[tuple[str, Tokens]]], cut: _Cut, tokens: Sequence[str]) -> None:
    """Add a clause, or a part of the last clause if it refers to that one."""
    words = [bare(token) for token in tokens]
    if found and (cut.continues or points_back(words)):
        found[-1].append((cut.joint, (*cut.subject, *tokens)))
        return
    found.append([("", (*cut.subject, *tokens))])


def points_back(words: Sequence[str]) -> bool:
    """Return whether a clause refers to something in an earlier one: "I loved it", "he lives there"."""
    for place, word in enumerate(words):
        if word in _BACKWARD:
            following = words[place + 1] if place + 1 < len(words) else ""
            dated = word in ("this", "that", "these", "those") and (following in _TIMES or is_subject(following))
            if not dated and not (word == "there" and following in ("is", "are", "was", "were")):
                return True
    return False


def _cut(tokens: Sequence[str], words: Sequence[str], start: int, place: int, governed: bool) -> _Cut | None:
    """Return the cut before the token at `place`, or None. Reads a bounded number of tokens on both sides."""
    conjunction = words[place] in _CONJUNCTIONS or tokens[place] in DASHES
    begin = place + 1 if conjunction else place
    if begin >= len(tokens) or not (conjunction or tokens[place - 1].endswith((",", ";"))):
        return None
    if conjunction and words[begin] in ("so", "also", "then", "now") and begin + 1 < len(tokens):
        begin += 1
    head, tail = words[start : min(place, start + 8)], words[begin : begin + _REACH + 2]
    joint = words[place] if words[place] in _CONJUNCTIONS else tokens[place] if conjunction else ""
    asking = (
        is_question(tail) or tail[:2] in (["can", "you"], ["could", "you"], ["would", "you"]) or tail[0] == "please"
    )
    if head[0] in _SUBORDINATORS and not (asking and head[0] in _REASONS):
        return None
    if not (_has_verb(head) or (head[0] in _THANKS and not conjunction)):
        return None
    if asking or (_opens(tokens, words, begin) and not (joint == "and" and _paired(tokens, words, start, place))):
        return _Cut(begin, joint)
    if conjunction and is_subject(head[0]):
        being = head[0] in ("i'm", "im") or head[:2] == ["i", "am"]
        if being and tail[0] in _PREDICATES:
            return _Cut(begin, joint, ("I'm",))
        if _is_second_verb(head, tail) and not governed:
            return _Cut(begin, joint, ("I",), continues=len(head) == 2 or len(tail) == 1 or is_adverb(head[1]))
    return None


def _is_second_verb(head: Sequence[str], tail: Sequence[str]) -> bool:
    """Return whether `tail` begins with a present-tense verb whose subject is the "I" of `head`."""
    if len(head) < 2 or (head[0] == "i" and is_past(head[1])):
        return False
    if tail[0] in ("don't", "dont"):
        return len(tail) > 1
    after = tail[1] if len(tail) > 1 else ""
    noun = tail[0] in NOUN_LIKE and after not in _AFTER_NOUN_LIKE
    paired = len(head) == 2 and head[0] == "i"  # "I sing and dance"
    return (tail[0] in BASES and (bool(after) or paired)) or (tail[0] in NOUN_LIKE and (paired or not noun))


def _has_verb(head: Sequence[str]) -> bool:
    if is_subject(head[0]):
        return len(head) > 1
    verbs = (is_finite(word) or is_subject(word) or word == "name's" for word in head[1:])
    return any(verbs) or is_request(head) or is_question(head)


def _opens(tokens: Sequence[str], words: Sequence[str], begin: int) -> bool:
    """Return whether a clause with its own subject begins at `begin`: "I …", "we …", "my sister lives …"."""
    if begin + 1 >= len(words):
        return False
    if is_subject(words[begin]) or words[begin] in ("we", "we're", "we've", "we'll"):
        return True
    if words[begin] != "my":
        return False
    for place in range(begin + 1, min(begin + 1 + _REACH, len(words))):
        if place > begin + 1 and is_finite(words[place]):
            return True
        if tokens[place].endswith((",", ";")) or words[place] in _CONJUNCTIONS:
            return False
    return False


def _paired(tokens: Sequence[str], words: Sequence[str], start: int, place: int) -> bool:
    """Return whether the "and" at `place` joins two subjects, as in "my wife and I"."""
    for first in range(place - 1, max(start, place - 4) - 1, -1):
        if is_finite(words[first]) or words[first] == "name's":
            return False
        if words[first] in ("my", "our") or (first == place - 1 and tokens[first][0].isupper()):
            before = words[first - 1] if first > start else ""
            if first == start or before in _BEFORE_SUBJECTS or tokens[first - 1].endswith(","):
                return True
    return False
