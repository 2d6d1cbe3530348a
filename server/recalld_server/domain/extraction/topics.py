"""Topics named in free text, as in the `includes` and `excludes` of an add."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from recalld_server.domain.analysis import Analyser
from recalld_server.domain.extraction.topic_words import PATTERNS, TOPICS

# Words such texts are made of that name no topic.
_GENERIC = """
anything everything something information info details facts memory things topics related only please mention include
exclude ignore store remember save concerning regarding user want like personal specific data private number numbers
daten información datos informations données numéro
"""
# "allergies" (allergi) and "allergic" (allerg) share a topic; shorter stems would meet by chance.
_COMMON_STEM = 5


@dataclass(frozen=True, slots=True)
class Topics:
    """What a text names: stems of its content words and their beginnings; and of the topics of the table that it names,
    their categories, stems, pairs of stems and patterns. `words` are the stems of all its words.
    """

    stems: frozenset[str]
    beginnings: frozenset[str]
    words: frozenset[str]
    categories: frozenset[str]
    terms: frozenset[str]
    pairs: frozenset[tuple[str, str]]
    patterns: tuple[re.Pattern[str], ...]

    @classmethod
    def named(cls, text: str, analyser: Analyser) -> Topics:
        """The topics of `text`. Empty for a text without content words."""
        tokens = analyser.tokens(text.replace("_", " "))
        if not tokens:
            return NO_TOPICS
        words = frozenset(tokens)
        stems = words - frozenset(analyser.tokens(_GENERIC))
        names, table = _index(analyser), _terms(analyser)
        spelled = {*((token,) for token in words), *pairwise(tokens)}
        known = sorted(_with_parts(topic for term in spelled for topic in names.get(term, ())))
        terms = {term for topic in known for term in table[topic]}
        return cls(
            stems,
            frozenset(short for stem in stems for short in _beginnings(stem)),
            words,
            frozenset(category for topic in known for category in TOPICS[topic].categories),
            frozenset(term[0] for term in terms if len(term) == 1),
            frozenset((term[0], term[1]) for term in terms if len(term) == 2),
            tuple(PATTERNS[topic] for topic in known if topic in PATTERNS),
        )

    def __bool__(self) -> bool:
        return bool(self.words)

    def match(self, text: str, tokens: Sequence[str], categories: Collection[str], analyser: Analyser) -> bool:
        """True when a text of these tokens and categories is about one of the topics: by a word of theirs, by a
        category, by a word that belongs to a topic of the table, or by the form of a number or an address in it.

        Time is linear in the length of the text.
        """
        if not self.categories.isdisjoint(categories):
            return True
        for category in categories:
            spelled = analyser.tokens(category.replace("_", " "))
            if spelled and self.words.issuperset(spelled):
                return True
        distinct = set(tokens)
        return (
            not self.terms.isdisjoint(distinct)
            or not self.pairs.isdisjoint(pairwise(tokens))
            or any(map(self._names, distinct))
            or any(pattern.search(text) for pattern in self.patterns)
        )

    def _names(self, token: str) -> bool:
        if token in self.beginnings or token in self.stems:
            return True
        return any(short in self.stems for short in _beginnings(token))


NO_TOPICS = Topics(*(frozenset(),) * 6, ())


def _beginnings(stem: str) -> tuple[str, ...]:
    """A stem without its last letter and without its last two, where that is long enough to share a topic."""
    return tuple(stem[:-cut] for cut in (1, 2) if len(stem) - cut >= _COMMON_STEM)


def _with_parts(topics: Iterable[str]) -> set[str]:
    found, wider = set[str](), list(topics)
    while wider:
        topic = wider.pop()
        if topic not in found:
            found.add(topic)
            wider += TOPICS[topic].parts
    return found


@lru_cache(maxsize=8)
def _index(analyser: Analyser) -> dict[tuple[str, ...], tuple[str, ...]]:
    """The stem, or the two stems, of each name to the topics that it names."""
    index: dict[tuple[str, ...], tuple[str, ...]] = {}
    for name, topic in TOPICS.items():
        for term in _stemmed(topic.names, analyser):
            index[term] = (*index.get(term, ()), name)
    return index


@lru_cache(maxsize=8)
def _terms(analyser: Analyser) -> dict[str, set[tuple[str, ...]]]:
    """Each topic to the stems, and pairs of stems, that tell of it."""
    return {name: _stemmed(f"{topic.names} {topic.words}", analyser) for name, topic in TOPICS.items()}


def _stemmed(words: str, analyser: Analyser) -> set[tuple[str, ...]]:
    found = (tuple(analyser.tokens(word.replace("_", " ").replace("-", " "))) for word in words.split())
    return {term for term in found if 0 < len(term) <= 2}
