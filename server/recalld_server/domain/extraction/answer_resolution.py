"""Resolution of short answers: "Yes, please! Especially in Tokyo." becomes a statement by means of its question.

The answer takes over the object of the question ("Interested in vegetarian restaurants in Tokyo") or its predicate ("Do
you like jazz?" – "No." → "Doesn't like jazz"), or fills its gap ("Where do you live?" – "Paris" → "Lives in Paris").
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from recalld_server.domain.extraction.clauses import points_back
from recalld_server.domain.extraction.person_names import titled
from recalld_server.domain.extraction.sentences import Sentence, bare, trimmed
from recalld_server.domain.extraction.speech_acts import INTERROGATIVES, NO, YES, act, is_question, is_subject
from recalld_server.domain.extraction.statements import capitalised
from recalld_server.domain.extraction.verbs import is_finite, is_gerund, third_person
from recalld_server.domain.extraction.word_lists import word_set


@dataclass(frozen=True, slots=True)
class Adoption:
    """The statement made from a question and its answer, and how many sentences of the answer it uses."""

    text: str
    used: int


_REFINING = word_set("especially particularly preferably mainly mostly ideally specifically maybe")
_AGREEING = re.compile(
    r"(?:of course|why not|please do|(?:that )?(?:sounds|would be|'d be) (?:good|great|nice|lovely|awesome|perfect)|"
    r"(?:i would|i'd) love (?:that|to|it|some)|i (?:would|do|am|have|did|can|will)|thanks(?: a lot)?|"
    r"thank you(?: very much| so much)?|very much)"
)
_DENYING = re.compile(
    r"i (?:don't|do not|am not|haven't|have not|can't|cannot|didn't|did not|won't)|i'm not|not (?:really|yet)"
)
_PREPOSITIONS = word_set("in at near around on for with from by to about under within")
_OFFERS = re.compile(
    r"(?:would you (?:like|want|care for)|do you (?:want|need)|can i (?:offer|get) you|"
    r"(?P<topic>(?:are you|would you be) interested in|how about|what about)|"
    r"(?P<act>should i|shall i|can i|may i))(?: |$)"
)
_ASSISTING = re.compile(
    r"(?:me to )?(?:recommend|suggest|find|share|show|list|give|provide|send|look for|look up|search for|tell)"
    r"(?: you| with you| for you)?(?: about)? "
)
_GIFTS = re.compile(
    r"(?:(?:some|any|a few|more|a|the|a list of|further|specific|personalized) )*"
    r"(?:recommendations?|suggestions?|tips|ideas|information|info|advice|help|options|details|list|lists)"
    r" (?:for|on|about|with|of|regarding|to|in) "
)
_QUANTIFIERS = re.compile(r"(?:(?:some|any|a few|more) )+")
_DIETS = re.compile(r"\b(vegetarian|vegan|pescatarian|halal|kosher|gluten-free|keto)-friendly\b")
_UNTOLD = word_set("know think mean remember see mind understand agree want need realize realise")
_ANSWER_WORDS = 12


def last_question(sentences: Sequence[Sentence]) -> Sentence | None:
    """Return the last question among the sentences, or None."""
    for sentence in reversed(sentences):
        words = [bare(token) for token in sentence.tokens]
        if sentence.text.rstrip("\"'”’)* ").endswith(("?", "？")) or is_question(words):
            return sentence
    return None


def adopt(question: Sentence, answer: Sequence[Sentence]) -> Adoption | None:
    """Return the statement that `answer` makes as an answer to `question`.

    Returns None if the answer is complete without the question, or does not answer it. `answer` has at least one
    sentence; only its first two are read.
    """
    asked = _asked(question)
    words = [bare(token) for token in answer[0].tokens]
    if not asked or not words or "?" in answer[0].text:
        return None
    whole = " ".join(words[:_ANSWER_WORDS])
    if words[0] in NO or _DENYING.fullmatch(whole):
        _, used = _refinement(answer, words)
        said = _denied(asked)
    elif words[0] in YES or (_AGREEING.fullmatch(whole) and words[0] not in ("thanks", "thank")):
        refinement, used = _refinement(answer, words)
        said = _confirmed(asked, refinement)
    else:
        return _filled(asked, answer[0], words)
    return Adoption(capitalised(trimmed(said)), used) if said else None


def _asked(question: Sentence) -> list[str]:
    """Return the tokens of a question from its first interrogative word on; only that word is folded."""
    tokens = question.tokens
    words = [bare(token) for token in tokens]
    for place in range(len(tokens)):
        begins = place == 0 or tokens[place - 1].endswith((",", ";")) or words[place - 1] in ("and", "so", "but")
        if begins and (words[place] in INTERROGATIVES or is_question(words[place : place + 4])):
            return [words[place], *(token.rstrip("?？!") for token in tokens[place + 1 : place + 60])]
    return []


def _refinement(answer: Sequence[Sentence], words: Sequence[str]) -> tuple[tuple[str, ...], int]:
    """Return the tokens that refine a yes ("in Tokyo"), and the number of sentences the answer takes with them."""
    place = 0
    while place < len(words) and (words[place] in YES | NO or not words[place]):
        place += 1
    rest = " ".join(words[place : place + 6]) + " "
    if (match := _AGREEING.match(rest)) and rest[match.end()] == " " and not is_subject(words[place]):
        place += len(match[0].split())
    elif _AGREEING.fullmatch(rest.strip()) or _DENYING.fullmatch(rest.strip()):
        place = len(words)
    while place < len(words) and (words[place] in YES or not words[place]):
        place += 1
    if place < len(words):
        if words[place] in _REFINING:
            return answer[0].tokens[place + 1 :], 1
        return (), 0 if act(words[place:], asked=False) is None else 1
    if len(answer) > 1 and answer[1].tokens and bare(answer[1].tokens[0]) in _REFINING:
        return answer[1].tokens[1:], 2
    return (), 1


def _confirmed(asked: Sequence[str], refinement: Sequence[str]) -> str:
    text = " ".join(asked)
    if match := _OFFERS.match(text.casefold()):
        wanted = text[match.end() :]
        assisting = _ASSISTING.match(wanted.casefold())
        if assisting:
            wanted = wanted[assisting.end() :]
        elif match["act"] or wanted.casefold().startswith("me "):
            return ""  # a permission, which says nothing about the person who gives it
        gift = _GIFTS.match(wanted.casefold())
        wanted = wanted[gift.end() :] if gift else _QUANTIFIERS.sub("", wanted, count=1)
        if not wanted.strip() or points_back([bare(token) for token in wanted.split()]):
            return ""
        lead = "Interested in " if gift or assisting or match["topic"] else "Would like "
        return lead + _refined(_DIETS.sub(r"\1", wanted), refinement)
    return _predicated(asked, denied=False, refinement=refinement)


def _denied(asked: Sequence[str]) -> str:
    declined = _OFFERS.match(" ".join(asked).casefold())
    return "" if declined and not declined["topic"] else _predicated(asked, denied=True)


def _predicated(asked: Sequence[str], denied: bool, refinement: Sequence[str] = ()) -> str:
    """Turn "do you like jazz" into "Likes jazz" or "Doesn't like jazz"; "" for questions not about the listener."""
    words = [bare(token) for token in asked]
    if len(words) < 3 or words[1] != "you":
        return ""
    rest = [{"your": "their", "yourself": "themselves"}.get(bare(token), token) for token in asked[2:]]
    ever = bare(rest[0]) == "ever"
    rest = [token for token in rest if bare(token) not in ("ever", "any", "also")]
    if not rest or "you" in words[2:] or points_back(words[2:]) or bare(rest[0]) in _UNTOLD:
        return ""
    verb, tail = bare(rest[0]), _refined(" ".join(rest[1:]), refinement)
    whole = _refined(" ".join(rest), refinement)
    match words[0]:
        case "do":
            return f"Doesn't {whole}" if denied else f"{third_person(verb)} {tail}"
        case "are":
            positive = whole if is_gerund(verb) or verb == "interested" else f"Is {whole}"
            return f"{'Not' if is_gerund(verb) else 'Is not'} {whole}" if denied else positive
        case "have":
            return f"Has {'never' if ever else 'not'} {whole}" if denied else f"Has {whole}"
        case "did" | "can" | "will":
            negative = {"did": "Didn't", "can": "Can't", "will": "Won't"}[words[0]]
            return f"{negative} {whole}" if denied else f"{words[0]} {whole}"
    return ""


def _filled(asked: Sequence[str], answer: Sentence, words: Sequence[str]) -> Adoption | None:
    """Fill the gap of an open question with a bare answer: "What's your name?" – "Alex" → "Name is Alex"."""
    whole = len(words) > _ANSWER_WORDS or any(is_subject(word) or is_finite(word) for word in words)
    if whole or answer.block or act(words, asked=False) is not None:
        return None
    text, given = " ".join(bare(token) for token in asked), trimmed(answer.text)
    placed = given if words[0] in _PREPOSITIONS else f"in {given}"
    if match := re.match(
        r"(?:what's|what is|what are|when is|when's|who is|who's|where is) your ([\w' -]{1,60})$", text
    ):
        said = f"Name is {titled(answer.tokens)}" if match[1] == "name" else f"{match[1]} is {given}"
    elif text == "where are you from":
        said = f"Is from {given.removeprefix('From ').removeprefix('from ')}"
    elif match := re.match(r"where do you (\w{1,20})$", text):
        said = f"{third_person(match[1])} {placed[:1].lower() + placed[1:]}"
    elif text.startswith("how old are you"):
        said = f"Is {given} years old" if given.isdigit() else f"Is {given}"
    elif re.match(r"what do you do(?: for (?:a living|work))?$", text):
        said = f"Works as {given[:1].lower() + given[1:] if words[0] in ('a', 'an', 'the') else given}"
    elif match := re.match(r"what (?:[\w' -]{1,40} )?do you (\w{1,20})$", text):
        said = f"{third_person(match[1])} {given}"
    else:
        return None
    return Adoption(capitalised(said), 1)


def _refined(text: str, refinement: Sequence[str]) -> str:
    """Refine `text`: "in Tokyo" replaces "in Japan" at its end, any other refinement is appended."""
    narrower = trimmed(" ".join(refinement))
    if not narrower:
        return text
    tokens, preposition = text.split(), bare(refinement[0])
    if preposition not in _PREPOSITIONS:
        return f"{text}, especially {narrower}"
    for place in range(len(tokens) - 1, 0, -1):
        if bare(tokens[place]) == preposition:
            return " ".join((*tokens[:place], narrower))
    return f"{text} {narrower}"
