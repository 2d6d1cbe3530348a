"""The analysis of a search text: its terms, the speakers it asks about and the dates it names."""

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
from recalld_server.domain.folding import fold
from recalld_server.domain.vectors import Int64Array, UInt32Array

USER: Final = "user"
"""The speaker of messages without a name; in a question, "I" refers to this speaker."""

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
_LEAD_LENGTH: Final = 16  # characters before a month that are searched; searching all of them takes quadratic time
_SENTENCE_START: Final = re.compile(r"(?:^|[.!?:])[\s\"'(\[]*$")


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """An analysed question.

    `terms`: (q,), distinct and ascending, without the names of the speakers in `asked`. `embed_text`: the question
    without these names. `asked`: the speakers it asks about. `years`, `months` (1 to 12) and `days` (of the month): the
    dates it names; each may be empty.
    """

    terms: UInt32Array
    embed_text: str
    asked: frozenset[str] = frozenset()
    years: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()

    def agreement(self, dates: Int64Array, year_only: float, other_day: float) -> NDArray[np.float64]:
        """Return how well each date (µs, UTC) agrees with the dates of the question, 0 to 1: (n,).

        All are 0 if the question names neither a month nor a year. `year_only` is the agreement if the year is right
        and no month is named, `other_day` if the month is right and the day is not.
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
    """Analyse a question about a scope with these `speakers`.

    The name of a speaker is removed from the terms, because it occurs in most messages addressed to that speaker. A
    question that contains only names keeps them as terms, so that it still finds something.
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
    """Return the speakers whose names occur, and the text without these names and their 's; longer names first."""
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
    """Return a pattern for a name as a whole word in any case; for stop words such as Will only capitalised."""
    written = name[:1].upper() + name[1:] if stop_word else name
    words = r"\s+".join(re.escape(word) for word in written.split())
    start = "" if _UNSPACED.match(name[0]) else r"(?<!\w)"
    end = "" if _UNSPACED.match(name[-1]) else r"(?:['’]s?)?(?!\w)"
    return re.compile(start + words + end, 0 if stop_word else re.IGNORECASE)


def _dates(text: str) -> tuple[frozenset[int], frozenset[int], frozenset[int]]:
    """Return the years, months and days of the month that a text names."""
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
    """Return whether a found month name means a month.

    Month names that are also words or names of persons (may, march, April, Jan) must have a number next to them, a
    preposition or similar word before them, or a capital letter that does not begin a sentence.
    """
    name = found["name"]
    if name.lower() in _CERTAIN or found["before"] or found["after"] or found["year"]:
        return True
    before = text[max(0, found.start("name") - _LEAD_LENGTH) : found.start("name")]
    return bool(_LEADS.search(before)) or (name[0].isupper() and not _SENTENCE_START.search(before))
