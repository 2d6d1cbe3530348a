"""Topics named in free text, as in the `includes` and `excludes` of an add."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from recalld_server.domain.analysis import Analyser

# Words such texts are made of that name no topic.
_GENERIC = """
anything everything something information info details facts memory things topics related only please mention include
exclude ignore store remember save concerning regarding user want like personal specific
"""
# "allergies" (allergi) and "allergic" (allerg) share a topic; shorter stems would meet by chance.
_COMMON_STEM = 5


@dataclass(frozen=True, slots=True)
class Topics:
    """What a text names: stems of its content words, their beginnings, and the categories it spells out."""

    stems: frozenset[str]
    beginnings: frozenset[str]
    words: frozenset[str]

    @classmethod
    def named(cls, text: str, analyser: Analyser) -> Topics:
        """The topics of `text`. Empty for a text without content words."""
        words = frozenset(analyser.tokens(text.replace("_", " ")))
        stems = words - frozenset(analyser.tokens(_GENERIC))
        return cls(stems, frozenset(short for stem in stems for short in _beginnings(stem)), words)

    def __bool__(self) -> bool:
        return bool(self.words)

    def match(self, tokens: Collection[str], categories: Collection[str], analyser: Analyser) -> bool:
        """True when a text of these tokens shares a content word with the topics, or one of its categories is among
        them. Time is linear in the number of tokens.
        """
        for category in categories:
            spelled = analyser.tokens(category.replace("_", " "))
            if spelled and self.words.issuperset(spelled):
                return True
        return any(map(self._names, tokens))

    def _names(self, token: str) -> bool:
        longer = len(token) >= _COMMON_STEM and token in self.beginnings
        return longer or token in self.stems or any(short in self.stems for short in _beginnings(token))


def _beginnings(stem: str) -> tuple[str, ...]:
    """A stem without its last letter and without its last two, where that is long enough to share a topic."""
    return tuple(stem[:-cut] for cut in (1, 2) if len(stem) - cut >= _COMMON_STEM)
