"""How many of a text's words all-MiniLM-L6-v2 knows.

Its vocabulary is English, and was made from text in many scripts: of Russian, Hindi or Chinese it has little but single
letters and endings, of Thai or emoji nothing, which [UNK] stands for. Vectors of texts read so are alike whatever they
say: those of unrelated sentences have cosines of .5 to 1, as questions and their answers have
(tests/unit/test_known_words.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np

UNKNOWN: Final = 100  # the id of [UNK]

# What a token tells of its word, by rank: the highest of a word's tokens holds for the word.
_SIGN, _NUMBER, _LETTER, _PIECE = range(4)


class KnownWords:
    """Safe to share between threads."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        """`vocabulary`: the tokens in the order of their ids, as the file has them ("##" leads those inside a word)."""
        self._ranks = np.array([_rank(token.removeprefix("##")) for token in vocabulary], dtype=np.int8)

    def share(self, text: str, encoding: Any) -> float:
        """The share of known words among those with letters, 0 to 1; `encoding` is the tokenizer's of `text`.

        A word is known if a token of three letters, or of Latin ones, is part of it. Texts without letters are known if
        they have a number, and not if they have none.
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
    """One or two letters tell nothing of a word, but for Latin ones, which the model was trained on."""
    if any(map(str.isalpha, piece)):
        return _PIECE if len(piece) > 2 or piece.isascii() else _LETTER
    return _NUMBER if any(map(str.isnumeric, piece)) else _SIGN


def _rank_of_unknown(word: str) -> int:
    """Emoji are signs: beside words they say nothing of what the model knows."""
    return min(_rank(word), _LETTER)
