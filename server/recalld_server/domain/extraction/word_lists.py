"""Helpers for the word lists of the extraction rules."""

from __future__ import annotations


def word_set(text: str) -> frozenset[str]:
    """Return the words of a text, separated by white space."""
    return frozenset(text.split())


def phrase_set(text: str) -> frozenset[str]:
    """Return the phrases of a text, separated by bars; white space inside a phrase becomes one blank."""
    return frozenset(" ".join(phrase.split()) for phrase in text.split("|"))
