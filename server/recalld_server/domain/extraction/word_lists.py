"""Closed classes of words, as the rules of extraction list them."""

from __future__ import annotations


def word_set(text: str) -> frozenset[str]:
    """The words of a text separated by white space."""
    return frozenset(text.split())


def phrase_set(text: str) -> frozenset[str]:
    """The phrases of a text separated by bars; white space inside them counts as one blank."""
    return frozenset(" ".join(phrase.split()) for phrase in text.split("|"))
