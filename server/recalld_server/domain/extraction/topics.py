"""Topics named in free text, such as the `includes` and `excludes` of an add."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise

from recalld_server.domain.analysis import Analyser
from recalld_server.domain.extraction.topic_words import PATTERNS, TOPICS

# Words of such texts that do not name a topic.
_GENERIC = """
anything everything something information info details facts memory things topics related only please mention include
exclude ignore store remember save concerning regarding user want like personal specific data private number numbers
daten información datos informations données numéro
"""
# Minimum length of a shortened stem: "allergies" (allergi) and "allergic" (allerg) share a topic, but shorter stems
# would match by chance.
_COMMON_STEM = 5


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics named by a text.

    `stems` and `beginnings` come from its content words, `words` are the stems of all its words. `categories`, `terms`
    (stems), `pairs` (of stems) and `patterns` come from the topics of the table that the text names.
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
        """Return the topics named by `text`; NO_TOPICS if the text has no words except stop words."""
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
        """Return whether a text with these tokens and categories is about one of the topics.

        It is if it has a named word, a category of the topics, a word of a topic in the table, or a match of a pattern
        (numbers, addresses). The time is linear in the length of the text.
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
    """Return the stem without its last letter and without its last two, if these are long enough."""
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
    """Return the topics by name, where a name is one stem or two stems."""
    index: dict[tuple[str, ...], tuple[str, ...]] = {}
    for name, topic in TOPICS.items():
        for term in _stemmed(topic.names, analyser):
            index[term] = (*index.get(term, ()), name)
    return index


@lru_cache(maxsize=8)
def _terms(analyser: Analyser) -> dict[str, set[tuple[str, ...]]]:
    """Return for each topic the stems and pairs of stems that identify it."""
    return {name: _stemmed(f"{topic.names} {topic.words}", analyser) for name, topic in TOPICS.items()}


def _stemmed(words: str, analyser: Analyser) -> set[tuple[str, ...]]:
    found = (tuple(analyser.tokens(word.replace("_", " ").replace("-", " "))) for word in words.split())
    return {term for term in found if 0 < len(term) <= 2}
