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
    """What a text names: stems of its content words, and the categories it spells out."""

    stems: frozenset[str]
    words: frozenset[str]

    @classmethod
    def named(cls, text: str, analyser: Analyser) -> Topics:
        """The topics of `text`. Empty for a text without content words."""
        words = frozenset(analyser.tokens(text.replace("_", " ")))
        return cls(words - frozenset(analyser.tokens(_GENERIC)), words)

    def __bool__(self) -> bool:
        return bool(self.words)

    def match(self, text: str, categories: Collection[str], analyser: Analyser) -> bool:
        """True when `text` shares a content word with the topics, or one of its categories is among them."""
        for category in categories:
            spelled = analyser.tokens(category.replace("_", " "))
            if spelled and self.words.issuperset(spelled):
                return True
        tokens = frozenset(analyser.tokens(text))
        return not self.stems.isdisjoint(tokens) or any(_related(a, b) for a in self.stems for b in tokens)


def _related(one: str, other: str) -> bool:
    short, long = sorted((one, other), key=len)
    return len(short) >= _COMMON_STEM and long.startswith(short) and len(long) - len(short) <= 2
