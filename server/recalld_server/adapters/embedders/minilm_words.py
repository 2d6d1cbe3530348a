"""Measures how many words of a text all-MiniLM-L6-v2 knows.

Its vocabulary is English, built from text in many scripts. For Russian, Hindi or Chinese it has little more than single
letters and endings; for Thai or emoji it has nothing, and the tokenizer emits [UNK]. The vectors of such texts are
similar whatever the texts say: unrelated sentences have cosines of .5 to 1, the same as questions and their answers
(tests/unit/test_known_words.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

UNKNOWN: Final = 100  # the id of [UNK]

# The rank of a token. The highest rank among a word's tokens is the rank of the word.
_SIGN, _NUMBER, _LETTER, _PIECE = range(4)


class KnownWords:
    """Counts known words by the tokens of a text. Thread-safe."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        """`vocabulary`: the tokens of the file in the order of their ids. Tokens inside a word start with "##"."""
        self._ranks = np.array([_rank(token.removeprefix("##")) for token in vocabulary], dtype=np.int8)

    def share(self, text: str, encoding: Any) -> float:
        """The share of known words among the words with letters, 0 to 1. `encoding`: the tokenizer's result for `text`.

        A word is known if one of its tokens has at least three letters or consists of ASCII letters. A text without
        letters has the share 1 if it contains a number, else 0.
        """
        ids = np.array(encoding.ids, dtype=np.int64)
        if not len(ids):
            return 0.0
        ranks = self._ranks[ids]
        unknown = np.flatnonzero(ids == UNKNOWN).tolist()
        if unknown:
            places = encoding.offsets
            ranks[unknown] = [_rank_of_unknown(text[slice(*places[at])]) for at in unknown]
        words = np.array(encoding.word_ids, dtype=np.int64)
        starts = np.flatnonzero(np.diff(words, prepend=-1))
        by_word = np.maximum.reduceat(ranks, starts)
        lettered = int(np.count_nonzero(by_word >= _LETTER))
        if not lettered:
            return float((by_word == _NUMBER).any())
        return int(np.count_nonzero(by_word == _PIECE)) / lettered


def _rank(piece: str) -> int:
    """Tokens of one or two letters carry no meaning, except ASCII ones, because the model was trained on English."""
    if any(map(str.isalpha, piece)):
        return _PIECE if len(piece) > 2 or piece.isascii() else _LETTER
    return _NUMBER if any(map(str.isnumeric, piece)) else _SIGN


def _rank_of_unknown(word: str) -> int:
    """The rank of an [UNK] token: at most _LETTER. Emoji rank as signs, so they do not count among the words."""
    return min(_rank(word), _LETTER)
