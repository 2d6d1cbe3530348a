"""Analyser: turns text into the terms of the keyword leg (in both engines) and of the ranking.

It folds the text (NFKC, case folding), splits it into words, drops possessive endings and stop words, stems the words
with Snowball (Porter 2001) in the language of the project, and removes accents. Scripts without spaces between words
(Han, kana, Hangul, Thai, Lao, Khmer, Burmese) yield single characters and pairs of adjacent characters instead of
words. Each emoji or other pictorial symbol is a term.
"""

from __future__ import annotations

import hashlib
import re
import threading
import unicodedata
from functools import lru_cache
from itertools import pairwise
from typing import Final

import numpy as np
import snowballstemmer

from recalld_server.domain.folding import TYPED, fold, without_accents
from recalld_server.domain.stop_words import STOP_WORDS
from recalld_server.domain.vectors import UInt32Array

ANALYSER_VERSION: Final = 2
"""Increase it with every change of the terms. An index of an older version is searched with the terms of that version
until it is rebuilt. Version 1 dropped symbols and kept accents."""

CACHED_WORDS: Final = 1 << 16  # a stem takes 33 µs, a cached one 0.1 µs; bounded because callers choose the words

UNSPACED: Final = (
    "\u3005-\u3007\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
    "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff"  # kana
    "\u1100-\u11ff\ua960-\ua97f\uac00-\ud7a3\ud7b0-\ud7fb"  # Hangul
    "\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46"  # Thai
    "\u0e81-\u0eb0\u0eb2\u0eb3\u0ebd-\u0ec6\u0edc-\u0edf"  # Lao
    "\u1780-\u17b3\u17d7\u17dc"  # Khmer
    "\u1000-\u102a\u103f\u1050-\u1055\uaa60-\uaa7a"  # Burmese
)
"""Characters of scripts without spaces between words, as the inside of a character class."""


def _marks() -> str:
    """Return combining marks as a character class. `\\w` excludes them, and would split Hindi words at each vowel."""
    blocks = (range(0x300, 0x3100), range(0xA66F, 0xAC00), range(0xFE20, 0xFE30), range(0x11000, 0x11A00))
    return "".join(chr(c) for block in blocks for c in block if unicodedata.category(chr(c)).startswith("M"))


_MARKS: Final = _marks()
_SYMBOLS: Final = "".join(
    chr(c)
    for block in (range(0x2000, 0x3100), range(0x1F000, 0x1FC00))
    for c in block
    if unicodedata.category(chr(c)) == "So"
)
_SYMBOL: Final = rf"[\U0001f1e6-\U0001f1ff]{{2}}|[{_SYMBOLS}]"  # two regional indicators are a flag
_WORD: Final = rf"(?:[^\W_{UNSPACED}][{_MARKS}]*)+"
_PIECE: Final = re.compile(rf"(?P<run>(?:[{UNSPACED}][{_MARKS}]*)+)|(?P<symbol>{_SYMBOL})|{_WORD}(?:'{_WORD})*")
_CHARACTER: Final = re.compile(rf"[{UNSPACED}][{_MARKS}]*")
_ENDING: Final = re.compile(r"'(?:s|m|re|ve|ll|d)$")


class Analyser:
    """The analyser of one language. Thread-safe."""

    def __init__(self, language: str = "english", version: int = ANALYSER_VERSION) -> None:
        """Make an analyser that yields the terms of ANALYSER_VERSION `version`.

        `language` is the name of a Snowball algorithm; raises ValueError, which lists them, if it is not.
        """
        if language not in snowballstemmer.algorithms():
            raise ValueError(f"language must be one of {', '.join(snowballstemmer.algorithms())}; not {language!r}")
        self.language = language
        self._first = version < 2
        self._english = language in ("english", "porter")
        self._stop_words = STOP_WORDS.get("english" if self._english else language, frozenset())
        self._stemmer = snowballstemmer.stemmer(language)
        self._lock = threading.Lock()  # the stemmer stores the current word in its own state
        self._stem = lru_cache(CACHED_WORDS)(self._stemmed)
        self._hash = lru_cache(CACHED_WORDS)(_hashed)

    def tokens(self, text: str) -> list[str]:
        """Return the tokens of a text in order, with repeats. The time is linear in the length of the text."""
        tokens: list[str] = []
        for piece in _PIECE.finditer(fold(text.translate(TYPED))):
            if piece["run"]:
                tokens.extend(_characters_and_pairs(piece["run"]))
            elif piece["symbol"]:
                tokens += [] if self._first else [piece["symbol"]]
            else:
                tokens.extend(self._words(piece[0]))
        return tokens

    def terms(self, text: str) -> UInt32Array:
        """Return the hash of each token in order, with repeats: (number of tokens,)."""
        hashes = [self._hash(token) for token in self.tokens(text)]
        return np.array(hashes, dtype=np.uint32)

    def is_stop_word(self, word: str) -> bool:
        """Return whether the word is a stop word, regardless of case."""
        return fold(word.translate(TYPED)) in self._stop_words

    def _words(self, word: str) -> list[str]:
        """Return the stems of one word as written: "alex's" yields one, "l'avion" two, "don't" none."""
        if self._english and word.endswith("n't"):
            return []
        if not self._first:
            word = word.replace("i\u0307", "i")  # the lower case of İ
        bare = _ENDING.sub("", word) if self._english else word.removesuffix("'s")
        return [self._stem(part) for part in bare.split("'") if part not in self._stop_words]

    def _stemmed(self, word: str) -> str:
        """Stem a word and remove its accents.

        English words lose accents before stemming, because "résumé" and "resume" are both written. Other languages lose
        them afterwards, because their stemmers recognise endings by accents.
        """
        if self._english and not self._first:
            word = without_accents(word)
        with self._lock:
            stem: str = self._stemmer.stemWord(word)
        return stem if self._first else without_accents(stem)


def _characters_and_pairs(run: str) -> list[str]:
    """Return the characters of a run and its pairs of adjacent characters.

    Single characters match words of one character; pairs distinguish words that share characters.
    """
    characters = _CHARACTER.findall(run)
    return characters + [a + b for a, b in pairwise(characters)]


def _hashed(token: str) -> int:
    """Return the first four bytes of BLAKE2b. Two words collide with a probability of 2^-32 and then count as one."""
    return int.from_bytes(hashlib.blake2b(token.encode()).digest()[:4], "big")
