"""Selection of texts by the `includes` and `excludes` of an add."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence

from recalld_server.domain.analysis import Analyser
from recalld_server.domain.extraction.categories import categorise
from recalld_server.domain.extraction.redaction import MARK
from recalld_server.domain.extraction.sentences import Sentence, bare
from recalld_server.domain.extraction.topics import NO_TOPICS, Topics
from recalld_server.domain.extraction.word_lists import word_set
from recalld_server.domain.steps import Steps

# A sentence that begins with one of these words continues the topic of the sentence before it.
_CONTINUING = word_set(
    "it it's its that that's this these those they they're es das das dies eso esto es cela c'est ça"
)
_WINDOW, _OVERLAP = 2_000, 200  # characters matched in one step, and the overlap, so that no word or pattern is cut


class Selection:
    """Decides which texts and sentences an add may keep. False as a bool if there is no restriction.

    Cases of doubt about `excludes` count as excluded.
    """

    def __init__(self, includes: str, excludes: str, analyser: Analyser) -> None:
        self._asked = includes, excludes
        self._analyser = analyser
        self._included = self._excluded = NO_TOPICS

    def prepare(self) -> Steps[None]:
        """Analyse the topics. Must run before the other methods."""
        includes, excludes = self._asked
        self._included = Topics.named(includes, self._analyser)
        yield
        self._excluded = Topics.named(excludes, self._analyser)

    def __bool__(self) -> bool:
        return bool(self._included or self._excluded)

    def keeps(self, text: str, tokens: Sequence[str], categories: Collection[str]) -> bool:
        """Return whether a fact with these tokens and categories may be kept."""
        if self._excluded and self._excluded.match(text, tokens, categories, self._analyser):
            return False
        return not self._included or self._included.match(text, tokens, categories, self._analyser)

    def excludes(self, text: str, categories: Collection[str] = ()) -> Steps[bool]:
        """Return whether a text names an excluded topic. `categories` are its categories beyond the built-in ones."""
        return (yield from self._matched(self._excluded, text, categories))

    def includes(self, text: str, categories: Collection[str] = ()) -> Steps[bool]:
        """Return whether a text names an included topic; True for all texts if `includes` is empty."""
        return not self._included or (yield from self._matched(self._included, text, categories))

    def _matched(self, topics: Topics, text: str, more: Collection[str]) -> Steps[bool]:
        if not topics:
            return False
        for window in _windows(text):
            yield
            categories = {*more, *(categorise(window) if topics.categories else ())}
            if topics.match(window, self._analyser.tokens(window), categories, self._analyser):
                return True
        return False


def whole(sentence: Sentence) -> str:
    """Return the text of a sentence with its code block."""
    return f"{sentence.text}\n{sentence.block}" if sentence.block else sentence.text


def continues(sentence: Sentence) -> bool:
    """Return whether a sentence continues the topic of the sentence before it: "It's stage two"."""
    return bool(sentence.tokens) and bare(sentence.tokens[0]) in _CONTINUING


def is_mark(sentence: Sentence) -> bool:
    """Return whether a sentence consists only of the redaction mark."""
    return len(sentence.tokens) == 1 and not sentence.block and sentence.tokens[0].strip(",.!?") == MARK


def _windows(text: str) -> Iterator[str]:
    """Yield overlapping windows of a text, cut at blanks if possible."""
    begin = 0
    while len(text) - begin > _WINDOW:
        yield text[begin : begin + _WINDOW]
        last = begin + _WINDOW - _OVERLAP
        blank = text.rfind(" ", begin + _WINDOW // 2, last)
        begin = blank if blank > 0 else last
    yield text[begin:]
