"""Derivation of categories and event times from the texts of memories."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from recalld_server.domain.extraction.categories import MISC, CustomCategories, analyser_for, categorise
from recalld_server.domain.extraction.event_times import event_time
from recalld_server.domain.memory import Memory
from recalld_server.domain.steps import Steps


class Derivation:
    """Derives the categories and event times of the texts of one project.

    `custom` are (name, description) pairs of custom categories; if there are any, they replace the built-in ones.
    """

    def __init__(self, custom: Sequence[tuple[str, str]], language: str) -> None:
        self._defined = custom
        self._analyser = analyser_for(language)
        self._custom = CustomCategories(self._analyser)

    def prepare(self) -> Steps[None]:
        """Analyse the custom categories. Must run before the other methods."""
        for name, description in self._defined:
            yield
            self._custom.define(name, description)

    def categories(self, text: str) -> tuple[str, ...]:
        """Return the categories of a text, by the same rules as an add."""
        return self.project_categories(text, categorise(text))

    def project_categories(self, text: str, builtin: tuple[str, ...]) -> tuple[str, ...]:
        """Return the custom categories of a text, or its built-in categories `builtin` if none are defined."""
        if not self._custom:
            return builtin
        return self._custom.of(frozenset(self._analyser.tokens(text)), builtin)

    def renewed(self, before: Memory, after: Memory) -> Memory:
        """Return `after`, whose text differs from that of `before`, with newly derived categories and event time.

        Categories given by a caller stay. For memories stored by a version that did not record them, the categories
        that cannot be derived from the old text count as given.
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
