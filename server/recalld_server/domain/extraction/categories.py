"""Categories of a statement, found with a small lexicon of English stems.

The names are those in the documentation of the Mem0 Platform, plus `food_preferences` and `likes` from its guide.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import lru_cache
from itertools import pairwise
from typing import Final

import snowballstemmer

from recalld_server.domain.analysis import Analyser

MISC: Final = "misc"

_DIETS: Final = """
vegetarian vegan pescatarian vegetarianism veganism carnivore omnivore halal kosher keto paleo diet gluten lactose
celiac dairy-free
"""
_PREFERENCES: Final = """
like love enjoy prefer preference favorite favourite hate dislike avoid crave adore eat drink allergic allergy
intolerant interested fan fond craving want try can't stand
"""

# One entry per category, in the order of results. Two words joined by "_" match only as neighbours.
_LEXICON: Final[dict[str, str]] = {
    "personal_details": """
        birthday age aged years_old born address phone_number email nationality hometown gender zodiac
        pronouns married single divorced engaged widowed citizen resident native originally nickname
    """,
    "family": """
        family sister brother mother father mom mum dad mommy daddy parent wife husband spouse son daughter kid
        child children baby aunt uncle cousin grandmother grandfather grandma grandpa grandparent grandson
        granddaughter grandchild grandchildren nephew niece sibling twin fiance fiancee stepmother stepfather
        stepson stepdaughter relative married mother-in-law father-in-law toddler
    """,
    "professional_details": """
        work job career company employer employee employed employment engineer developer programmer nurse teacher
        lawyer pilot architect designer accountant scientist researcher consultant manager director ceo cto founder
        analyst journalist electrician plumber chef salary interview resume promotion promoted office startup
        colleague coworker boss freelance freelancer intern internship hired fired retired profession professional
        business client university college degree student professor tutor phd bachelor school studies major
        occupation industry workplace deadline earn carpenter mechanic barista waiter waitress secretary
        dentist surgeon
    """,
    "likes": "like love enjoy favorite favourite fav adore fan fond dislike hate loathe obsessed passionate into_it",
    "food_preferences": _DIETS,
    "food": _DIETS
    + """
        food meal dish cuisine restaurant recipe cook bake eat ate breakfast lunch dinner brunch snack supper pizza
        pasta sushi ramen noodle rice bread cheese meat beef pork chicken fish seafood shellfish shrimp salmon tuna
        egg milk dairy yogurt butter vegetable fruit apple banana orange strawberry tomato potato carrot onion
        garlic mushroom salad soup sandwich burger steak taco burrito curry tofu bean lentil nut peanut almond
        cashew walnut chocolate candy cake cookie dessert ice_cream sugar sweets spicy coffee tea juice wine beer
        whisky whiskey cocktail soda smoothie water_bottle cilantro coriander olive avocado honey bacon ham lamb
        turkey_breast dumpling pancake waffle cereal oat kitchen alcohol delicious tasty barbecue bbq vegetables
        hungry foodie
    """,
    "travel": """
        travel trip vacation holiday flight fly flew airport airline hotel hostel airbnb itinerary passport visa
        tourist tourism tour journey cruise abroad backpacking beach destination roadtrip sightseeing visit luggage
        suitcase souvenir jet_lag train_ride explore resort
    """,
    "music": """
        music song sing singer guitar piano violin cello drum drummer flute saxophone trumpet bass band concert
        album jazz hip-hop rap rapper techno opera choir orchestra symphony vinyl spotify playlist karaoke melody
        musician composer dj rock_music pop_music classical metal_band ukulele
    """,
    "sports": """
        sport football soccer basketball tennis baseball volleyball rugby cricket hockey golf badminton marathon
        jogging jog runner swim swimming cycling cyclist bike ski skiing snowboard yoga pilates gym workout climb
        climbing bouldering surf surfing skate boxing karate judo taekwondo athlete coach tournament match
        championship league triathlon fitness martial_arts go_running morning_run rowing wrestling hike hiking
    """,
    "health": """
        health healthy allergic allergy intolerant doctor hospital medicine medication pill prescription ill illness
        sick disease pain headache migraine surgery therapy therapist diabetes diabetic asthma asthmatic blood
        cancer injury injured anxiety depression insomnia vitamin pregnant pregnancy dental dentist vaccine symptom
        diagnosed diagnosis weight calories sober smoke smoking smoker adhd autism autistic celiac fever flu covid
        physiotherapy mental
    """,
    "technology": """
        technology tech computer laptop phone smartphone iphone ipad android mac macbook linux software hardware
        programming program code coding python javascript typescript java rust golang database api app server cloud
        ai chatbot robot internet wifi website gadget gpu tablet smartwatch kubernetes docker github algorithm
        machine_learning cybersecurity browser keyboard
    """,
    "hobbies": """
        hobby painting paint drawing draw sketch photography photograph gardening garden knit knitting crochet sew
        sewing read reading chess puzzle board_game pottery ceramics woodworking collect collecting camping camp
        hiking hike dance dancing craft origami calligraphy birdwatching origami baking blogging scrapbooking
        model_trains volunteering stargazing
    """,
    "fashion": """
        fashion clothes clothing dress shirt shoe sneaker jacket coat jeans skirt sweater hoodie outfit wear wore
        jewelry jewellery necklace earring handbag sunglasses style wardrobe makeup scarf boots tattoo
    """,
    "entertainment": """
        movie film cinema theater theatre tv television netflix series show anime manga comic cartoon novel podcast
        youtube streaming game gaming videogame playstation xbox nintendo minecraft festival comedy documentary
        sitcom actor actress disney musical concert watch_movies
    """,
    "milestones": """
        milestone birthday anniversary graduate graduated graduation wedding married engaged engagement promoted
        promotion retired retirement award won achievement celebrate celebration pregnant newborn bought_house
        new_job new_house moved baby_born passed_exam first_time finished_degree
    """,
    "user_preferences": """
        prefer preference concise verbose tone dark_mode light_mode notification favorite favourite
        bullet_points format rather short_answers detailed_answers
    """,
}
# Patterns for phrases that consist mostly of stop words, which the lexicon cannot contain.
_PHRASES: Final = {
    "personal_details": re.compile(
        r"\b(?:lives?|lived|living|moved|moving) (?:in|at|near|with|to|alone|on)\b|\b(?:is|am|i'm) from\b|\bis \d{1,3}$"
        r"|\bspeaks?\b|\bgr[eo]w up\b|\bname(?:'s)?\b|\b(?:is|be) called\b"
    ),
    "sports": re.compile(r"\b(?:go|goes|going|went|loves?|likes?|enjoys?) (?:running|for (?:a run|runs))\b"),
    "hobbies": re.compile(r"\bfishing\b"),
    "entertainment": re.compile(r"\bbooks\b|\b(?:a|the|this|that|new|good|favorite|favourite) book\b"),
    "technology": re.compile(r"\bc\+\+|\bc#"),
}
# "like" in comparisons, which is no preference.
_COMPARING: Final = re.compile(
    r"\b(?:would|'d|feel|feels|felt|look|looks|looked|sound|sounds|seem|seems|just|more) like\b"
)


def categorise(text: str) -> tuple[str, ...]:
    """Return the categories of a statement in the order of the lexicon; ("misc",) if none matches.

    `food_preferences` needs a food and a preference, or a diet. English only: texts in other languages are "misc".
    """
    folded = text.replace("’", "'").casefold()
    tokens = _english().tokens(_COMPARING.sub(" ", folded))
    terms = {*tokens, *(f"{one} {other}" for one, other in pairwise(tokens))}
    index = _index()
    found = {category for term in terms for category in index.get(term, ())}
    found |= {category for category, pattern in _PHRASES.items() if pattern.search(folded)}
    if "food" in found and not terms.isdisjoint(_stems(_PREFERENCES)):
        found.add("food_preferences")
    return tuple(name for name in _LEXICON if name in found) or (MISC,)


class CustomCategories:
    """Categories defined by a caller, matched by the words of their names and descriptions."""

    def __init__(self, analyser: Analyser) -> None:
        self._analyser = analyser
        self._names: dict[str, int] = {}
        self._named: dict[str, list[str]] = {}  # token → names

    def __bool__(self) -> bool:
        return bool(self._names)

    def define(self, name: str, description: str) -> None:
        """Add a category. Results are in the order of the first definitions."""
        self._names.setdefault(name, len(self._names))
        for token in set(self._analyser.tokens(f"{name} {description}".replace("_", " "))):
            self._named.setdefault(token, []).append(name)

    def of(self, tokens: Collection[str], builtin: Collection[str]) -> tuple[str, ...]:
        """Return the categories that share a word with the tokens of a text or with its built-in categories."""
        spelled = self._analyser.tokens(" ".join(builtin).replace("_", " ").replace(MISC, ""))
        fitting = {name for token in (*tokens, *spelled) for name in self._named.get(token, ())}
        return tuple(sorted(fitting, key=self._names.__getitem__))


def analyser_for(language: str) -> Analyser:
    """Return the shared analyser of a language, which caches stems; that of English if Snowball lacks the language."""
    return _analyser(language if language in snowballstemmer.algorithms() else "english")


@lru_cache(maxsize=8)
def _analyser(language: str) -> Analyser:
    return Analyser(language)


def _english() -> Analyser:
    return _analyser("english")


@lru_cache(maxsize=1)
def _index() -> dict[str, tuple[str, ...]]:
    """Return the categories by stem, or by two stems joined with a blank."""
    index: dict[str, tuple[str, ...]] = {}
    for category, words in _LEXICON.items():
        for term in _stems(words):
            index[term] = (*index.get(term, ()), category)
    return index


@lru_cache(maxsize=64)
def _stems(words: str) -> frozenset[str]:
    analysed = (" ".join(_english().tokens(word.replace("_", " ").replace("-", " "))) for word in words.split())
    return frozenset(term for term in analysed if term)
