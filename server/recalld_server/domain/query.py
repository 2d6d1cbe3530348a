"""What a question asks: its terms, whom it asks about and when."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
from numpy.typing import NDArray

from recalld_server.domain.analysis import UNSPACED, Analyser
from recalld_server.domain.memory import fold
from recalld_server.domain.vectors import Int64Array, UInt32Array

USER: Final = "user"
"""The speaker of messages without a name; questions say "I" for them."""

_UNSPACED: Final = re.compile(f"[{UNSPACED}]")
_FIRST_PERSON: Final = re.compile(r"\b(?:i|me|my|mine|we|us|our)\b", re.IGNORECASE)
_UNITED_STATES: Final = re.compile(r"\bUS\b")

_NAMES: Final = "january february march april may june july august september october november december"
_MONTHS: Final = {name: i + 1 for i, full in enumerate(_NAMES.split()) for name in (full, full[:3])} | {"sept": 9}
_CERTAIN: Final = frozenset({"january", "february", "july", "september", "october", "november", "december"})

_DAY: Final = r"(?P<{0}>[12][0-9]|3[01]|0?[1-9])(?:st|nd|rd|th)?"
_YEAR: Final = re.compile(r"(?<!\w)(?:19[0-9]{2}|20[0-9]{2}|2100)(?![0-9A-Za-z])(?![.,][0-9])")
_ISO: Final = re.compile(r"(?<![\w-])(\d{4})-(0[1-9]|1[0-2])(?:-(0[1-9]|[12]\d|3[01]))?(?![\d-])")
_MONTH: Final = re.compile(
    rf"(?:(?<![\w.,:]){_DAY.format('before')}\s+(?:of\s+)?)?"
    rf"\b(?P<name>{'|'.join(sorted(_MONTHS, key=len, reverse=True))})\b\.?"
    rf"(?:\s+(?:the\s+)?{_DAY.format('after')}(?![\w:]))?"
    r"(?P<year>,?\s+(?:of\s+)?(?:19|20)[0-9]{2}\b)?",
    re.IGNORECASE,
)
_LEADS: Final = re.compile(
    r"\b(?:in|of|since|until|till|by|during|from|last|this|next|early|late|mid|before|after|around|between|every)\s+$",
    re.IGNORECASE,
)
_LEAD_LENGTH: Final = 16  # characters; looking at all that stands before each month would be quadratic
_SENTENCE_START: Final = re.compile(r"(?:^|[.!?:])[\s\"'(\[]*$")


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A question, analysed.

    `terms`: (q,) distinct and ascending, without the names asked about. `embed_text`: the question without these names.
    `asked`: speakers it asks about. `years`, `months` (1 to 12) and `days` of the month it names, each perhaps empty.
    """

    terms: UInt32Array
    embed_text: str
    asked: frozenset[str] = frozenset()
    years: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()

    def agreement(self, dates: Int64Array, year_only: float, other_day: float) -> NDArray[np.float64]:
        """How far each date (µs UTC) is the one the question names, 0 to 1; 0 when it names no month and no year.

        `year_only`: what a year without a month is worth; `other_day`: the right month, but not the day that is named.
        """
        if not self.months and not self.years:
            return np.zeros(len(dates))
        moments = dates.astype("datetime64[us]")
        months = moments.astype("datetime64[M]")
        number = months.astype(np.int64)
        agreement = np.ones(len(dates))
        if self.years:
            agreement *= np.isin(number // 12 + 1970, list(self.years))
        if not self.months:
            return agreement * year_only
        agreement *= np.isin(number % 12 + 1, list(self.months))
        if self.days:
            day = (moments.astype("datetime64[D]") - months).astype(np.int64) + 1
            agreement *= np.where(np.isin(day, list(self.days)), 1.0, other_day)
        return agreement


def ask(text: str, speakers: Collection[str], analyser: Analyser) -> Question:
    """Analyse a question about a scope in which `speakers` have spoken.

    Whoever is asked about counts as speaker, not as a word: their name stands in most of what others say to them. A
    question that says nothing but names keeps them, so that it still finds something.
    """
    plain = unicodedata.normalize("NFKC", text)
    asked, rest = _without_names(plain, speakers, analyser)
    years, months, days = _dates(rest)
    terms = analyser.terms(rest)
    if not len(terms):
        rest, terms = plain, analyser.terms(plain)
    if USER in speakers and _FIRST_PERSON.search(_UNITED_STATES.sub(" ", plain)):
        asked |= {USER}
    embed_text = text if rest == plain else " ".join(rest.split())
    return Question(np.unique(terms), embed_text, asked, years, months, days)


def _without_names(plain: str, speakers: Collection[str], analyser: Analyser) -> tuple[frozenset[str], str]:
    """The speakers whose names occur, and the text without these and their 's. Longer names go first."""
    folded = " ".join(fold(plain).split())
    asked = set()
    rest = plain
    for speaker in sorted(speakers, key=lambda name: (-len(name), name)):
        name = unicodedata.normalize("NFKC", speaker).strip()
        if not name or " ".join(fold(name).split()) not in folded:
            continue
        pattern = _name_pattern(name, analyser.is_stop_word(name))
        rest, found = pattern.subn(" ", rest)
        if found:
            asked.add(speaker)
    return frozenset(asked), rest


@lru_cache(1024)
def _name_pattern(name: str, stop_word: bool) -> re.Pattern[str]:
    """Finds a name as a whole word in any case; one that is a stop word, such as Will, only if capitalised."""
    written = name[:1].upper() + name[1:] if stop_word else name
    words = r"\s+".join(re.escape(word) for word in written.split())
    start = "" if _UNSPACED.match(name[0]) else r"(?<!\w)"
    end = "" if _UNSPACED.match(name[-1]) else r"(?:['’]s?)?(?!\w)"
    return re.compile(start + words + end, 0 if stop_word else re.IGNORECASE)


def _dates(text: str) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
    """Years, months and days of the month that a text names."""
    years = {int(year) for year in _YEAR.findall(text)}
    months, days = set(), set()
    for iso in _ISO.finditer(text):
        years.add(int(iso[1]))
        months.add(int(iso[2]))
        days.update([int(iso[3])] if iso[3] else [])
    for found in _MONTH.finditer(text):
        if _is_month(found, text):
            months.add(_MONTHS[found["name"].lower()])
            days.update(int(found[part]) for part in ("before", "after") if found[part])
    return frozenset(y for y in years if 1900 <= y <= 2100), frozenset(months), frozenset(days)


def _is_month(found: re.Match[str], text: str) -> bool:
    """Names of months that are also words or people (may, march, April, Jan) need a number beside them, a word that
    leads to a time before them, or a capital inside a sentence."""
    name = found["name"]
    if name.lower() in _CERTAIN or found["before"] or found["after"] or found["year"]:
        return True
    before = text[max(0, found.start("name") - _LEAD_LENGTH) : found.start("name")]
    return bool(_LEADS.search(before)) or (name[0].isupper() and not _SENTENCE_START.search(before))
