"""What is derived from a text that is kept as it stands: its categories, and when it happened."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recalld_server.domain.extraction.categories import MISC, CustomCategories, analyser_for, categorise
from recalld_server.domain.extraction.event_times import event_time
from recalld_server.domain.memory import Memory
from recalld_server.domain.steps import Steps


class Derivation:
    """Derives from the texts of one project.

    `custom` are (name, description) pairs, which replace the built-in categories if there are any.
    """

    def __init__(self, custom: Sequence[tuple[str, str]], language: str) -> None:
        self._defined = custom
        self._analyser = analyser_for(language)
        self._custom = CustomCategories(self._analyser)

    def prepare(self) -> Steps[None]:
        """Analyse once what every text is compared with."""
        for name, description in self._defined:
            yield
            self._custom.define(name, description)

    def categories(self, text: str) -> tuple[str, ...]:
        """The categories of a text, as an add chooses them."""
        return self.project_categories(text, categorise(text))

    def project_categories(self, text: str, builtin: tuple[str, ...]) -> tuple[str, ...]:
        """The categories of a text among the custom ones; the built-in ones, which it has, where none are defined."""
        if not self._custom:
            return builtin
        return self._custom.of(frozenset(self._analyser.tokens(text)), builtin)

    def renewed(self, before: Memory, after: Memory) -> Memory:
        """`after`, which has another text than `before`, with everything derived from that text.

        Categories that a caller gave stay. Of a memory from before that was kept, those count as given that its text
        does not lead to.
        """
        given = after.given_categories
        if given is None:
            given = tuple(name for name in before.categories if name not in categorise(before.text))
        categories = after.categories
        if not given or set(categories) - set(given):
            derived = self.categories(after.text)
            categories = tuple(dict.fromkeys((*given, *(name for name in derived if not given or name != MISC))))
        return replace(
            after,
            categories=categories,
            given_categories=given,
            event_time=event_time(after.text, after.said_time),
        )
