"""Speech acts that yield no facts: questions, requests, greetings and acknowledgements."""

from __future__ import annotations

from collections.abc import Sequence

from recalld_server.domain.extraction.facts import VerdictReason
from recalld_server.domain.extraction.sentences import bare
from recalld_server.domain.extraction.word_lists import phrase_set, word_set

FIRST_PERSON = word_set("i i'm im i've ive i'd i'll i'am i'ma")
YES = word_set("yes yeah yep yup sure absolutely definitely certainly ok okay please indeed totally")
NO = word_set("no nope nah never")

_OPENERS = word_set("hi hello hey hiya howdy greetings yo")
_GREETINGS = _OPENERS | phrase_set(
    """
    welcome | bye | goodbye | cheers | goodnight | good morning | good afternoon | good evening | good night | good
    day | nice to meet you | pleased to meet you | see you | see you later | see you soon | take care | have a nice
    day | have a good one | have a great day | happy birthday | merry christmas | happy new year | congratulations |
    good luck | congrats | hope you're doing well | hope you're doing good | catch ya later | hope you are well |
    hope you're well | long time no see | talk to you later | talk soon | what's up
    """
)
_ADDRESSEES = word_set("there again all everyone everybody guys folks team friend buddy mate dear you")

# An acknowledgement may consist entirely of these words.
_ACKNOWLEDGING = (
    YES
    | NO
    | word_set(
        """
    thanks thank you thx ty great cool nice perfect awesome wonderful fantastic excellent amazing brilliant lovely
    good fine right exactly correct true agreed understood alright lol haha hahaha hehe wow oh ah aha hmm hm mm mhm
    uh um ugh phew yay so much very a lot again and well of course k kk got it that's that is it's it sounds looks
    makes sense really fair enough noted gotcha roger done ooh i see this will do helpful for your the help all
    course deal works interesting funny me too same here not at idea question point job my pleasure no problem
    worries welcome you're what i'm we're is was would be
    """
    )
)
# Whole sentences without a fact, whose words can be part of a statement in other sentences.
_EMPTY_STATEMENTS = phrase_set(
    """
    i see | i understand | i agree | i guess | i guess so | i hope so | i think so | i don't know | i dont know |
    i'm not sure | i am not sure | i get it | i got it | i will | i do | i did | i am | i have | i can't wait | i'm
    sorry | i am sorry | sorry | i'm fine | i'm good | i'm ok | i'm okay | i'm ready | i'm back | i'm here | i'm
    done | i appreciate it | i appreciate that | i like it | i love it | i like that | i love that | i like the idea
    | i know | i know that | i mean it | never mind | nevermind | nothing | not really | not yet | maybe | perhaps |
    probably | of course not | whatever | let's see | let me think | let me see | hang on | one moment | wait | idk
    | np | i don't mind | me neither | me too | will do | you too | likewise | same to you | you should | you're
    right | you are right | sure thing | keep it up | sounds like a plan | bummer | nice one | no way | that's cool
    | that is cool | that's so cool | how nice | how cool
    """
)

INTERROGATIVES = word_set("what where why how who which whose when what's where's who's how's whats wheres hows")
_INVERTED = word_set(
    """
    is are am do does did can could should shall would will have has may isn't aren't don't doesn't didn't can't
    couldn't shouldn't wouldn't won't haven't hasn't was were to about
    """
)
_SUBJECTS = word_set("i you we they he she it there anyone anybody someone")
_ASKED = _SUBJECTS | {"my", "your"}
_WISHES = word_set("like want prefer care mind need enjoy love")

# Verbs that begin an order to the listener, regardless of the next words.
_ORDERS = word_set(
    """
    tell give show delete remove forget explain recommend suggest find list generate create translate summarize
    summarise compare describe provide help let let's lets please erase remind write rewrite calculate convert
    define advise solve fix proofread elaborate continue draft search lookup stop ignore clarify
    """
)
# Verbs that begin an order only before one of _OBJECTS: "make me a list" does, "make furniture for a living" does not.
_WEAK_ORDERS = word_set(
    """
    make book send add set open order check look plan play call schedule turn update change put read pick choose get
    buy keep use try run start save share answer respond reply talk teach review analyze analyse print cancel ask
    """
)
_OBJECTS = word_set("me us my our the a an all this that these those it them some any every sure up for in with only")
# "Call me back" is a request, "call me Al" introduces a name.
_CALLED = word_set("back when at on tomorrow later a an if asap now tonight today this")
_REQUESTS = phrase_set(
    """
    i want you to | i need you to | i'd like you to | i would like you to | i'd like to know | i would like to know
    | i want to know | i need to know | i was wondering | i wonder | i'm wondering | i am wondering | i need your
    help | i need some help | i need help | i'd appreciate | i would appreciate | i have a question | i had a
    question | i've a question | i've got a question | i'm looking forward to hearing | could you | can you | would
    you | will you | can u | could u | do not forget to | don't forget to | don't tell | do not tell | don't mention
    | make sure | be sure to | feel free
    """
)
_REQUEST_OPENINGS = tuple(f"{phrase} " for phrase in _REQUESTS)


def is_subject(word: str) -> bool:
    """Return whether a word is "I" or a contraction of it. `word` is in lower case."""
    return word in FIRST_PERSON


def act(words: Sequence[str], asked: bool) -> VerdictReason | None:
    """Return why a clause yields no fact, or None if it may yield one.

    `words` are bare and not empty strings; `asked` is True if the sentence ends with a question mark.
    """
    if not words:
        return VerdictReason.ACKNOWLEDGEMENT
    if is_greeting(words):
        return VerdictReason.GREETING
    if is_request(words):
        return VerdictReason.REQUEST
    if asked or is_question(words):
        return VerdictReason.QUESTION
    if " ".join(words[:6]) in _EMPTY_STATEMENTS and len(words) <= 6:
        return VerdictReason.ACKNOWLEDGEMENT
    if len(words) <= 12 and all(word in _ACKNOWLEDGING for word in words):
        return VerdictReason.ACKNOWLEDGEMENT
    if words[0] in ("thanks", "thank", "thx") and not any(map(is_subject, words)):
        return VerdictReason.ACKNOWLEDGEMENT
    return None


def is_greeting(words: Sequence[str]) -> bool:
    """Return whether the words are a greeting or farewell, with its addressee: "hello there", "good morning Anna"."""
    if len(words) > 6:
        return False
    for size in range(len(words), 0, -1):
        if " ".join(words[:size]) in _GREETINGS:
            rest = words[size:]
            return len(rest) <= 1 or all(word in _ADDRESSEES for word in rest)
    return False


def is_question(words: Sequence[str]) -> bool:
    """Return whether the words have the order of a question, with or without a question mark."""
    first, second, third, fourth = (*words[:4], "", "", "", "")[:4]
    if first in ("what", "which", "how") and third in _INVERTED and fourth in _ASKED:
        return True  # "what music do you", "how old is your"
    if first in INTERROGATIVES and first != "when":
        return second in _INVERTED or "'s" in first or first in ("whats", "wheres", "hows") or len(words) <= 2
    if first == "when":
        return second in _INVERTED and third in _ASKED | {"the"}
    if first in _INVERTED and first not in ("to", "about"):
        return second in _SUBJECTS or (second in ("your", "this") and first not in ("was", "were"))
    return first in ("any", "anyone") and second in (
        "idea",
        "ideas",
        "suggestions",
        "recommendations",
        "tips",
        "advice",
    )


def is_request(words: Sequence[str]) -> bool:
    """Return whether the words ask the listener to do something: "can you …", "tell me …", "delete all …"."""
    head = " ".join(words[:6]) + " "
    if head.startswith(("would you ", "will you ")) and len(words) > 2 and words[2] in _WISHES:
        return False  # an offer, which is a question
    if head.startswith(_REQUEST_OPENINGS):
        return True
    first, second = (*words[:2], "", "")[:2]
    if (first, second) == ("call", "me"):
        return len(words) < 3 or words[2] in _CALLED
    if first == "please":
        return True
    if first in _ORDERS:
        return second not in ("is", "are", "was", "were", "has", "had")
    return first in _WEAK_ORDERS and second in _OBJECTS


def opened(tokens: Sequence[str]) -> int:
    """Return how many tokens at the start of a sentence are a greeting with its addressee: 2 for "Hi Anna, I am …"."""
    if not tokens:
        return 0
    words = [bare(token) for token in tokens[:7]]
    if is_greeting(words):
        return len(tokens)
    size = 0
    if words[0] in _OPENERS:
        size = 1
    elif " ".join(words[:2]) in ("good morning", "good afternoon", "good evening", "good day"):
        size = 2
    if not size:
        return 0
    if _closes(tokens[size - 1]):
        return size
    for extra in range(1, 3):
        place = size + extra - 1
        if place >= len(words):
            break
        if is_subject(words[place]) or words[place] in ("my", "this", "we", "we're"):
            return place
        if _closes(tokens[place]):
            return place + 1
        if extra == 1 and words[place] in _ADDRESSEES:
            size += 1
            break
    return size


def _closes(token: str) -> bool:
    return token[-1] in ",!.;:-–—"
