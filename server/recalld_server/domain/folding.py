"""The forms in which texts are compared."""

from __future__ import annotations

import re
import unicodedata
from typing import Final

TYPED: Final = dict.fromkeys((0x00AD, 0x200B, 0x200C, 0x200D, 0x2060, 0xFEFF)) | dict.fromkeys(map(ord, "’‘ʼ`´"), "'")
"""Removes invisible characters and unifies apostrophes. Applied before folding, which turns ´ into a space."""

_HYPHENS: Final = dict.fromkeys(range(0x2010, 0x2014), "-") | {0x2212: "-"}  # ‐ ‑ ‒ – and the minus sign
_ACCENTS: Final = re.compile("[\u0300-\u036f]+")
_BASE: Final = str.maketrans({"ı": "i", "ø": "o", "ł": "l", "đ": "d", "ð": "d", "þ": "th", "æ": "ae", "œ": "oe"})
"""Letters that have no canonical decomposition in Unicode, so that NFD keeps them."""


def fold(text: str) -> str:
    """Fold a text for caseless comparison: NFKC, case folding, NFKC (Unicode Standard 3.13, D147)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def loose(text: str) -> str:
    """The form in which ICONTAINS compares: folded, without accents and invisible characters, typed on any keyboard.

    "José’s" becomes "jose's", "İstanbul" becomes "istanbul", and a non-breaking hyphen a plain one. Stored: a change
    needs a migration of the ledger and a new schema of the embedded index.
    """
    if text.isascii():
        return text.replace("`", "'").lower()
    # NFKC makes hyphens and apostrophes of other characters, so these are unified after it, too.
    folded = fold(text.translate(TYPED)).translate(TYPED | _HYPHENS)
    return without_accents(folded.replace("i\u0307", "i"))


def without_accents(text: str) -> str:
    """Remove accents of Latin, Greek and Cyrillic letters ("josé" to "jose"); keep the marks of other scripts."""
    if text.isascii():
        return text
    apart = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", _ACCENTS.sub("", apart)).translate(_BASE)
