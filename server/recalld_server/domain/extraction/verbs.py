"""English verbs, as far as extraction needs them: tests of verb forms, and the third person singular."""

from __future__ import annotations

from recalld_server.domain.extraction.word_lists import word_set

AUXILIARIES = word_set(
    """
    am is are was were be been has have had do does did can could will would shall should may might must isn't aren't
    wasn't weren't hasn't haven't hadn't don't doesn't didn't can't cannot couldn't won't wouldn't shouldn't mustn't
    dont doesnt didnt cant wont isnt 's
    """
)
MODALS = word_set(
    """
    can could will would shall should may might must can't cannot cant couldn't couldnt won't wont wouldn't wouldnt
    shouldn't shouldnt mustn't needn't to
    """
)

# Verbs of statements about oneself. After "and" they begin a second predicate.
BASES = word_set(
    """
    live own have love like hate prefer enjoy speak eat cook bake sing read write teach go get want need know make
    take bring buy sell keep wear feel think believe hope learn grow collect become begin build catch choose drive
    draw earn fly forget give hear leave lend lose meet pay ride say see send spend swim tell understand win adore
    dislike avoid attend belong come commute consider consist contain cost create depend earn expect explore follow
    happen include intend involve maintain mean move possess raise recommend remember seem serve start stay suffer
    support teach tend use wake watch wish worry weigh meditate jog exercise manage rent pray am
    """
)
# Verbs that are equally often nouns; they begin a second predicate only before a preposition, an article or an adverb.
NOUN_LIKE = word_set("work play study drink dance run walk travel train help sleep plan hike visit volunteer")

IRREGULAR_PAST = word_set(
    """
    was were had did said went got made knew thought took saw came found gave told became felt left kept began brought
    wrote sat stood lost paid met ran bought spoke grew rode won taught sold caught sent built fell held heard led
    understood drove broke spent ate drank drew flew forgot forgave chose swam sang slept threw wore woke rose shook
    stole struck swore tore froze hid dealt meant fought sought lent bent hung laid lit shot slid stuck swung dug fed
    fled bled bred crept overcame underwent withdrew burnt learnt dreamt spelt cannot could would should might used
    wasn't weren't didn't hadn't couldn't wouldn't shouldn't mustn't must may can can't will won't shall
    """
)
# Verbs whose past form equals the base (read, put, quit); they count as past if the clause has a past time.
SAME_PAST = word_set("read put cut hit set let quit cost hurt shut spread bet split beat")
_ED_BASES = word_set("need feed speed bleed breed exceed proceed succeed heed seed weed embed shed wed bed")

_ADVERBS = word_set(
    """
    also always never often sometimes usually just still even already only now once twice ever soon rarely seldom
    hardly almost mostly both either currently actually really kinda quite rather too maybe perhaps then first instead
    honestly definitely probably personally absolutely
    """
)
_NOT_ADVERBS = word_set("reply apply rely supply multiply comply fly ally rally bully family only imply")
_NOT_GERUNDS = word_set(
    """
    interesting amazing boring willing outgoing charming loving caring hardworking easygoing annoying exciting king
    something nothing anything everything sibling evening morning underling weakling darling ping ring spring string
    thing wing being stunning fascinating demanding understanding forgiving uncompromising
    """
)
_VOWELS = "aeiou"


def is_past(word: str) -> bool:
    """Return whether a word is a past form or a modal, which takes no ending either. `word` is in lower case."""
    return word in IRREGULAR_PAST or (word.endswith("ed") and len(word) > 3 and word not in _ED_BASES)


def is_gerund(word: str) -> bool:
    """Return whether a word is a present participle that can follow "I'm": planning, travelling, thinking."""
    return word.endswith("ing") and len(word) > 4 and word not in _NOT_GERUNDS


def third_person(base: str) -> str:
    """Return the third person singular: work → works, study → studies, have → has."""
    irregular = {"have": "has", "do": "does", "go": "goes", "be": "is", "am": "is"}.get(base)
    if irregular:
        return irregular
    if base.endswith(("s", "x", "z", "ch", "sh", "o")):
        return base + "es"
    if base.endswith("y") and len(base) > 1 and base[-2] not in _VOWELS:
        return base[:-1] + "ies"
    return base + "s"


_PRESENTS = frozenset(third_person(base) for base in BASES | NOUN_LIKE)


def is_finite(word: str) -> bool:
    """Return whether a word is a finite verb of a third-person subject: is, lives, went, moved, can."""
    if word in ("named", "called"):
        return False  # "my dog named Rex" is not a clause
    return word in AUXILIARIES or word in _PRESENTS or is_past(word)


def is_adverb(word: str) -> bool:
    """Return whether a word can stand between "I" and its verb: really, always, recently."""
    return word in _ADVERBS or (word.endswith("ly") and len(word) > 4 and word not in _NOT_ADVERBS)
