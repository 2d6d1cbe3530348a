"""Synthetic texts and questions with a fixed seed, so that all runs are comparable.

The most frequent words are everyday words, followed by compounds of two. The n-th most frequent word has the weight
1 / (n + 2.7) (Mandelbrot 1953). All words are English, so that tokenizers split them as they split real texts.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Final

import numpy as np

SEED: Final = 20_261_123
MANDELBROT: Final = 2.7
FUNCTION_SHARE: Final = 0.4  # share of function words in a text, as in English prose
SHORTEST, LONGEST = 6, 18  # words per text
DRAWN: Final = 3  # common words per question, besides a unique pair of rare words

_FUNCTION: Final = """
the a and to of in it is was for on with at that this my his her they we she he I you but or so when then from about by
"""

_COMMON: Final = """
work family friend weekend music garden coffee travel summer dinner school kitchen morning movie guitar river mountain
running painting book doctor sister brother mother father daughter teacher concert festival beach museum recipe bicycle
camera winter birthday holiday market office project meeting train flight hotel ticket photo letter story game team
football tennis swimming yoga hiking camping fishing baking cooking reading writing singing dancing drawing sewing
knitting pottery chess puzzle piano violin drum choir theatre poem novel lecture exam course degree language Spanish
French Italian Japanese chicken salad soup bread cheese apple lemon pepper rice noodle pancake chocolate tea juice water
dog cat horse parrot rabbit turtle tree flower rose tomato lawn fence roof door window table chair lamp carpet mirror
car bus boat bridge street corner village city island forest desert lake storm snow rain sunshine evening midnight
happy tired proud nervous quiet loud bright heavy gentle broken borrowed painted planted visited finished started
bought sold lost found promised forgot learned taught called answered moved married adopted rescued repaired
"""

_FIRST: Final = """
river lamp stone apple moon paper silver garden winter copper cloud school bridge forest glass harbor ribbon button
cotton barley candle feather hammer island jacket kettle ladder market needle orchard pepper quartz railway saddle
timber umbrella velvet wagon willow basket cedar dragon eagle falcon ginger hollow iron juniper kitten lemon maple
nickel olive pebble rocket summer tulip valley
"""

_SECOND: Final = """
house shop yard light path field boat club song wall town room box cup cake wheel gate tower hill store walk fair trip
bench class show race band coat board bag book map clock bell chair desk door floor farm pond road stage star
team tent track train trail truck view watch wave wood work worm year zone camp cart
"""

_QUESTIONS: Final = (
    "What did {0} say about the {1}?",
    "When was the {0} with the {1}?",
    "Who went to the {1} for {0}?",
    "Why did they talk about {0} and {1}?",
    "Where is the {0} from the {1}?",
)


class Corpus:
    """A stream of texts and a stream of questions over one vocabulary. Equal seeds give equal streams."""

    def __init__(self, seed: int = SEED) -> None:
        self._texts = np.random.default_rng((seed, 0))
        self._asked = np.random.default_rng((seed, 1))
        compounds = [first + second for first in _FIRST.split() for second in _SECOND.split()]
        np.random.default_rng((SEED, 2)).shuffle(compounds)
        self.rare = tuple(compounds)
        self._words = np.array([*_COMMON.split(), *compounds])
        weights = 1 / (np.arange(len(self._words)) + 1 + MANDELBROT)
        self._shares = weights / weights.sum()

    def texts(self, number: int) -> list[str]:
        """The next `number` texts."""
        lengths = self._texts.integers(SHORTEST, LONGEST + 1, number)
        total = int(lengths.sum())
        words = self._texts.choice(self._words, total, p=self._shares)
        fillers = self._texts.choice(_FUNCTION.split(), total)
        mixed = np.where(self._texts.random(total) < FUNCTION_SHARE, fillers, words).tolist()
        ends = np.cumsum(lengths).tolist()
        return [" ".join(mixed[end - length : end]) for end, length in zip(ends, lengths.tolist(), strict=True)]

    def questions(self) -> Iterator[str]:
        """An endless stream of questions. The first 10 million are unique: each has its own pair of rare words."""
        for number in count():
            common = " ".join(self._asked.choice(self._words, DRAWN, p=self._shares))
            pair = self._pair(number)
            yield _QUESTIONS[number % len(_QUESTIONS)].format(f"{pair[0]} {common}", pair[1])

    def _pair(self, number: int) -> tuple[str, str]:
        size = len(self.rare)
        step = number // size + 1  # rare words `step` apart, so that each round has new pairs
        return self.rare[number % size], self.rare[(number + step) % size]
