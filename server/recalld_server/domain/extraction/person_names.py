"""Names in self-introductions: "I'm Alex", but not "I'm Italian"."""

from __future__ import annotations

from collections.abc import Sequence

from recalld_server.domain.extraction.sentences import bare, trimmed
from recalld_server.domain.extraction.speech_acts import act
from recalld_server.domain.extraction.word_lists import word_set

_PARTICLES = word_set("de da di del della van von der den bin al el la le ibn ter")
_TITLES = word_set("dr mr mrs ms prof professor sir captain")
_FOLLOWERS = word_set("a an the from and your")
# Words that may be capitalised after "I'm" but are not names.
_NOT_NAMES = word_set(
    """
    american african british english scottish irish welsh french german italian spanish portuguese dutch belgian swiss
    austrian swedish norwegian danish finnish icelandic polish czech slovak hungarian romanian bulgarian greek turkish
    russian ukrainian serbian croatian bosnian albanian estonian latvian lithuanian european asian indian pakistani
    bangladeshi nepali chinese japanese korean vietnamese thai filipino indonesian malaysian singaporean taiwanese
    australian canadian mexican brazilian argentinian chilean colombian peruvian venezuelan cuban israeli palestinian
    lebanese syrian iraqi iranian persian arab egyptian moroccan tunisian algerian nigerian kenyan ethiopian ghanaian
    latino latina hispanic catholic protestant orthodox jewish muslim hindu buddhist sikh mormon atheist agnostic
    vegan vegetarian pescatarian gay lesbian bisexual trans queer straight married single divorced retired allergic
    happy sad sorry ok okay fine good great well busy tired hungry sick ill lost new here back ready done sure not
    very so really just also still always never currently now interested excited afraid glad proud aware able deaf
    blind diabetic lactose gluten celiac autistic pregnant left right-handed left-handed in on at from a an the my
    your over under about into off up down out going looking trying planning thinking working living learning
    """
)
_LONGEST = 4


def introduced(complement: Sequence[str]) -> tuple[str, tuple[str, ...]]:
    """Return the name after "I'm" and the rest of the statement: ("Alex", ("a", "nurse")) for "Alex, a nurse".

    Returns ("", ()) if there is no name. Names must be capitalised, because otherwise they look like adjectives.
    """
    size = 0
    for token in complement[:_LONGEST]:
        if not _capital(token, first=size == 0):
            break
        size += 1
        if token.endswith((",", ";")) or (token.endswith((".", "!")) and bare(token) not in _TITLES):
            break
    rest = tuple(complement[size:])
    last = complement[size - 1] if size else ""
    if not size or bare(last) in _TITLES or (bare(last) in _PARTICLES and last.islower()):
        return "", ()
    if rest and last.endswith(",") and act([bare(token) for token in rest], asked=False):
        rest = ()  # "I'm Sam, nice to meet you"
    if rest and bare(rest[0]) not in _FOLLOWERS and any(char.isalnum() for char in "".join(rest)):
        return "", ()
    if rest and (bare(rest[0]) == "and" or not bare(rest[0])):
        rest = rest[1:] if len(rest) > 1 and bare(rest[1]) in _FOLLOWERS | {"from"} else ()
    return trimmed(" ".join(complement[:size])), rest


def _capital(token: str, first: bool) -> bool:
    word = bare(token)
    letters = word.replace("'", "").replace("-", "").replace(".", "")
    if not letters.isalpha() or "://" in token:
        return False
    if not first and word in _PARTICLES:
        return True
    lead = token.lstrip("\"'“‘(*_")
    acronym = lead.rstrip(".,!").isupper() and 1 < len(letters) <= 5
    return lead[0].isupper() and word not in _NOT_NAMES and not acronym


def titled(tokens: Sequence[str]) -> str:
    """Capitalise a name: "alex smith" → "Alex Smith". Names with capitals or more than four words stay unchanged."""
    text = trimmed(" ".join(tokens))
    if text != text.lower() or len(text.split()) > _LONGEST:
        return text
    return " ".join(word if word in _PARTICLES else word[:1].upper() + word[1:] for word in text.split())
