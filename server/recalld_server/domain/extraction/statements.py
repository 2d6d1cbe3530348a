"""Statements: rewrites a clause about its speaker in the third person, without the subject.

"I'm allergic to nuts" becomes "Is allergic to nuts", "I don't eat meat" becomes "Doesn't eat meat", "My sister Anna
lives in Paris" becomes "Sister Anna lives in Paris". A clause that matches no rule stays unchanged.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from recalld_server.domain.extraction.clauses import Clause, Tokens
from recalld_server.domain.extraction.person_names import introduced, titled
from recalld_server.domain.extraction.sentences import bare, trimmed
from recalld_server.domain.extraction.speech_acts import is_subject
from recalld_server.domain.extraction.verbs import SAME_PAST, is_adverb, is_finite, is_gerund, is_past, third_person
from recalld_server.domain.extraction.word_lists import word_set

_LEADING = word_set(
    """
    currently recently usually normally sometimes often now originally typically generally lately occasionally
    nowadays previously formerly finally luckily unfortunately sadly
    """
)
_LEADING_TIME = re.compile(
    r"(?:yesterday|today|tomorrow|tonight|lately|nowadays|these days|right now|at the moment|at present|"
    r"(?:the )?(?:last|next|this|every|each) [\w-]+(?: [\w-]+)?|(?:since|during) [\w'-]+(?: [\w'-]+){0,2}|"
    r"in (?:the )?(?:\d{4}|past|future|mornings?|evenings?|afternoons?|summer|winter|spring|autumn|fall|january|"
    r"february|march|april|may|june|july|august|september|october|november|december)(?: \d{4})?|"
    r"in (?:my (?:free|spare) time|high school|college|school)|for (?:work|breakfast|lunch|dinner)|"
    r"on (?:my birthday|(?:the )?weekends?|\w+days?(?: \w+)?)|"
    r"(?:an? |one |\w+ )?\w+ [\w-]+ ago|\w+ ago)"
)
_FEELING = word_set("love hate prefer enjoy adore dislike like")
_HABITS = word_set("eat drink smoke drive own speak have want need live work")
# When "I" becomes "they", its verb must agree: I was → they were.
_AGREEMENT = {"am": "are", "was": "were", "wasn't": "weren't", "wasnt": "weren't"}
_THEIRS = {
    "i": "they", "i'm": "they're", "im": "they're", "i've": "they've", "ive": "they've", "i'd": "they'd",
    "i'll": "they'll", "me": "them", "my": "their", "mine": "theirs", "myself": "themselves",
}  # fmt: skip
_PLURALS = word_set("they they're they've they'd they'll them their theirs themselves")
_DO = {"do": "does", "don't": "doesn't", "dont": "doesn't"}
_HAVE = {"have": "has", "haven't": "hasn't", "havent": "hasn't", "ain't": "isn't", "aint": "isn't"}
_REPAIRED = {
    "cant": "can't", "wont": "won't", "didnt": "didn't", "couldnt": "couldn't", "wouldnt": "wouldn't",
    "wasnt": "wasn't",
}  # fmt: skip
_PAST_TIMES = re.compile(r"\b(?:yesterday|ago|last|earlier)\b")
_HAD = word_set("been had better gone done seen never already made")
_SUBJECT_WORDS = 9  # words in which the verb after "My …" is searched
_DROPPED_BE = word_set("interested gonna")


def statements(clause: Clause) -> list[str]:
    """Return the statements of a clause: one, or several for a self-introduction."""
    first = _leading_subject(_completed(clause.parts[0][1]))
    if is_subject(bare(first[0])) and len(first) > 1:
        told = _first_person(first)
        joined = [_continued(joint, part) for joint, part in clause.parts[1:]]
        return [_finished(told[0], joined), *(_finished(text, []) for text in told[1:])]
    rest = [" ".join((joint, *part) if joint else part) for joint, part in clause.parts[1:]]
    return [_finished(_third_party(first), rest)]


def _finished(text: str, rest: Sequence[str]) -> str:
    return capitalised(trimmed(" ".join((text, *rest))))


def capitalised(text: str) -> str:
    """Capitalise the first letter of a text, unless its first word already has capitals, like "iPhone"."""
    word = text.split(" ", 1)[0]
    return text[:1].upper() + text[1:] if word == word.lower() and text[:1].isascii() else text


def _completed(tokens: Tokens) -> Tokens:
    """Add the missing "I" to clauses such as "Love jazz" and "don't eat meat"."""
    words = [bare(token) for token in tokens[:2]]
    if len(words) < 2 or not (
        words[0] in _FEELING or (words[0] in ("don't", "dont") and words[1] in _FEELING | _HABITS)
    ):
        return tokens
    return ("I", words[0], *tokens[1:])


def _continued(joint: str, part: Tokens) -> str:
    """Return a further part of a clause about "I", without its subject if that is "I" as well."""
    text = " ".join(part)
    if is_subject(bare(part[0])) and len(part) > 1:
        told = _predicate(part)
        text = told[:1].lower() + told[1:]
    else:
        text = " ".join(_distanced(part))
    return f"{joint} {text}" if joint else text


def _leading_subject(tokens: Tokens) -> Tokens:
    """Move "I" to the front: "Last week I moved" → "I moved last week". Other clauses stay unchanged."""
    for place in range(1, min(7, len(tokens) - 1)):
        if not is_subject(bare(tokens[place])):
            continue
        lead = " ".join(bare(token) for token in tokens[:place])
        if place == 1 and lead in _LEADING:
            return (tokens[1], *tokens[:1], *tokens[2:]) if bare(tokens[1]) == "i" else tokens
        if _LEADING_TIME.fullmatch(lead):
            head = tokens[0].lower() if tokens[0].istitle() and lead.split()[0] in _LOWERED else tokens[0]
            last = trimmed(tokens[-1])
            return (*tokens[place:-1], last, head, *tokens[1 : place - 1], *_uncomma(tokens, place))
        break
    return tokens


_LOWERED = word_set(
    """
    yesterday today tomorrow tonight lately nowadays these right at the last next this every each in on since during
    for a an one two three four five six seven eight nine ten several few
    """
)


def _uncomma(tokens: Tokens, place: int) -> Tokens:
    return (tokens[place - 1].rstrip(","),) if place > 1 else ()


def _third_party(tokens: Tokens) -> str:
    """Return a statement about another subject, without a leading "My", because the speaker is known."""
    words = [bare(token) for token in tokens[:_SUBJECT_WORDS]]
    told = any(word == "name's" or is_finite(word) for word in words[2:]) or words[1:2] == ["name's"]
    if words[0] == "my" and told and "and i" not in " ".join(words[:5]):
        if words[1] == "name" or words[1] == "name's":
            return _named(tokens[1:])
        return " ".join(tokens[1:])
    if words[:2] == ["the", "name"] and len(tokens) > 3:
        return _named(tokens[1:])
    if words[:2] == ["call", "me"] or words[:4] == ["you", "can", "call", "me"]:
        return "Prefers to be called " + titled(tokens[words.index("me") + 1 :])
    return " ".join(tokens)


def _named(tokens: Tokens) -> str:
    """Rewrite "name is alex" and "name's Alex" as "Name is Alex"."""
    if bare(tokens[0]) == "name's":
        return "Name is " + titled(tokens[1:])
    if bare(tokens[1]) == "is" and len(tokens) > 2:
        return "Name is " + titled(tokens[2:])
    return " ".join(tokens)


def _first_person(tokens: Tokens) -> list[str]:
    """Return the statements of a clause that begins with "I": its predicate, or a name and the text after it."""
    subject, verb = bare(tokens[0]), bare(tokens[1])
    being = subject in ("i'm", "im")
    complement = tokens[1:] if being else tokens[2:] if subject == "i" and verb == "am" else ()
    if complement:
        name, rest = introduced(complement)
        if name:
            return ["Name is " + name, *(["Is " + " ".join(_distanced(rest))] if rest else [])]
        if len(complement) > 1 and bare(complement[0]) == "called":
            return ["Name is " + titled(complement[1:])]
    return [_predicate(tokens)]


def _predicate(tokens: Tokens) -> str:
    """Return the predicate of a clause that begins with "I", with its verb in the third person."""
    subject, rest = bare(tokens[0]), tokens[1:]
    adverbs = 0
    while adverbs < len(rest) - 1 and (is_adverb(bare(rest[adverbs])) or _no_longer(rest[adverbs : adverbs + 2])):
        adverbs += 1 if is_adverb(bare(rest[adverbs])) else 2
    adverbs = min(adverbs, len(rest) - 1)
    lead, verb, after = rest[:adverbs], bare(rest[adverbs]), rest[adverbs + 1 :]
    if subject in ("i'm", "im") or (subject == "i" and verb == "am"):
        complement = (*lead, *after) if subject == "i" else rest
        return " ".join(_distanced(complement if _drops_be(complement) else ("is", *complement)))
    if subject in ("i've", "ive") or (subject == "i" and verb == "have"):
        whole = (*lead, rest[adverbs], *after) if subject != "i" else after
        if whole and bare(whole[0]) == "got":
            whole = whole[1:]  # "I've got a dog" is "I have a dog"
        return " ".join(_distanced((*lead, "has", *whole) if subject == "i" else ("has", *whole)))
    if subject == "i'd":
        return " ".join(_distanced(("had" if verb in _HAD else "would", *rest)))
    if subject == "i'll":
        return " ".join(_distanced(("will", *rest)))
    return " ".join(_distanced((*lead, _inflected(rest[adverbs], verb, rest), *after)))


def _inflected(token: str, verb: str, rest: Sequence[str]) -> str:
    known = _DO.get(verb) or _HAVE.get(verb) or _REPAIRED.get(verb)
    if known:
        return known
    simple = verb.isascii() and verb.isalpha()
    past = is_past(verb) or (verb in SAME_PAST and bool(_PAST_TIMES.search(" ".join(rest).casefold())))
    if not simple or past:
        return token
    # Punctuation around the verb stays: "love," → "loves,".
    begin = token.casefold().find(verb)
    return token[:begin] + third_person(verb) + token[begin + len(verb) :] if begin >= 0 else token


def _no_longer(tokens: Sequence[str]) -> bool:
    return [bare(token) for token in tokens] == ["no", "longer"]


def _drops_be(complement: Sequence[str]) -> bool:
    """Return whether "is" is dropped, as before "planning a trip", "not eating meat" and "interested in jazz"."""
    for token in complement[:4]:
        word = bare(token)
        if word == "not" or is_adverb(word):
            continue
        return is_gerund(word) or word in _DROPPED_BE
    return False


def _distanced(tokens: Sequence[str]) -> list[str]:
    """Replace "my" by "their" and so on, unless the tokens already have a "they" that is somebody else."""
    words = [bare(token) for token in tokens]
    if any(word in _PLURALS for word in words):
        return list(tokens)
    told: list[str] = []
    for place, (token, word) in enumerate(zip(tokens, words, strict=True)):
        replacement = _THEIRS.get(word)
        if replacement is None and place and words[place - 1] == "i":
            replacement = _AGREEMENT.get(word)
        begin = token.replace("’", "'").casefold().find(word)
        fits = replacement is not None and begin >= 0
        told.append(token[:begin] + str(replacement) + token[begin + len(word) :] if fits else token)
    return told
