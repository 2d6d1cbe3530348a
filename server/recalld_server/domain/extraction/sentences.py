"""Sentences of chat text: prose is split at punctuation and line breaks, lists at their items; fenced code is a block.

Every function takes linear time: a text is split at white space once, and each token is read a bounded number of times.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from recalld_server.domain.extraction.redaction import MARK
from recalld_server.domain.extraction.word_lists import word_set

PUNCTUATION = ' \t\r\n.,;:!?…·"“”„«»()[]{}<>*_~`。！？、，；：؟।'
TERMINATORS = ".!?…。！？｡؟।"
CLOSERS = "\"'”’)]*_»」』）"
DASHES = frozenset(("-", "–", "—", "--"))

_FENCE = re.compile(r"\s{0,3}(```|~~~)")
_BULLET = re.compile(r"\s{0,12}(?:[-*•–]|\d{1,3}[.)])\s+")
_WIDE_STOP = "[。！？｡][」』”’）]*"
_TOKEN = re.compile(rf"[^\s。！？｡]+(?:{_WIDE_STOP})?|{_WIDE_STOP}")
_ABBREVIATIONS = word_set(
    """
    dr mr mrs ms prof st mt rev sr jr vs etc e.g i.e eg ie cf al approx no nr vol dept est fig inc ltd corp co jan feb
    mar apr jun jul aug sep sept oct nov dec ca resp bros gen col sgt capt lt hon a.m p.m
    """
)
# If a line has at least this many characters and the next one begins in lower case, a program has wrapped the text.
_WRAPPED = 60


@dataclass(frozen=True, slots=True)
class Sentence:
    """The unchanged tokens of a sentence, and the fenced code that follows it (may be empty).

    `begin` and `end` are the offsets of the sentence with its code in the text, in code points.
    """

    tokens: tuple[str, ...]
    block: str = ""
    begin: int = 0
    end: int = 0

    @property
    def text(self) -> str:
        return " ".join(self.tokens)


_Piece = tuple[int, str]
"""The offset in the text, and the line, part of a line or token that begins there."""


def bare(token: str) -> str:
    """Return a token in its form for comparison: case folded, with straight apostrophes, without outer punctuation."""
    return token.replace("’", "'").replace("ʼ", "'").strip(PUNCTUATION).casefold().strip("'")


def sentences(text: str) -> Iterator[Sentence]:
    """Yield the sentences of `text` in order; together they contain all of it except white space and list marks."""
    for prose, (begin, code) in _blocks(text):
        found = [tokens for paragraph in _paragraphs(prose) for tokens in _split(paragraph)]
        for tokens in found[:-1]:
            yield _sentence(tokens)
        last = _sentence(found[-1]) if found else Sentence((), begin=begin)
        if code:
            yield replace(last, block="\n".join(code.splitlines()), end=begin + len(code))
        elif found:
            yield last


def _sentence(tokens: Sequence[_Piece]) -> Sentence:
    begin, (last, token) = tokens[0][0], tokens[-1]
    return Sentence(tuple(token for _, token in tokens), begin=begin, end=last + len(token))


def _blocks(text: str) -> Iterator[tuple[list[_Piece], _Piece]]:
    """Yield runs of prose lines, each with the fenced block after it. An open fence extends to the end of the text."""
    prose: list[_Piece] = []
    fence, opened, begin = "", 0, 0
    for whole in text.splitlines(keepends=True):
        line = whole.splitlines()[0]
        mark = _FENCE.match(line)
        if fence:
            if mark and mark[1] == fence and line.strip() == fence:
                yield prose, (opened, text[opened : begin + len(line)])
                prose, fence = [], ""
        elif mark:
            fence, opened = mark[1], begin
        else:
            prose.append((begin, line))
        begin += len(whole)
    yield prose, (opened, text[opened:] if fence else "")


def fences(text: str) -> list[tuple[int, int]]:
    """Return the (begin, end) offsets of the fenced blocks of `text`."""
    return [(begin, begin + len(code)) for _, (begin, code) in _blocks(text) if code]


def _paragraphs(lines: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    """Yield groups of lines: wrapped lines, and the items of a list with the line that introduces it."""
    kept: list[_Piece] = []
    introduces = False
    for begin, line in lines:
        bullet = _BULLET.match(line)
        item = line[bullet.end() :].rstrip() if bullet else line.lstrip().lstrip("#> ").rstrip()
        if not item:
            if not introduces:
                yield kept
                kept = []
            continue
        listed = bool(bullet) and introduces
        wrapped = bool(kept) and not introduces and not bullet and len(kept[-1][1]) >= _WRAPPED and item[0].islower()
        if listed:
            if len(kept) > 1:
                kept[-1] = (kept[-1][0], kept[-1][1].rstrip(",;.") + ",")
        elif not wrapped:
            yield kept
            kept = []
        introduces = listed or (item.endswith(":") and not bullet)
        kept.append((begin + len(line.rstrip()) - len(item), item))
    yield kept


def _split(paragraph: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    tokens = [(begin + found.start(), found[0]) for begin, piece in paragraph for found in _TOKEN.finditer(piece)]
    current: list[_Piece] = []
    for place, (begin, token) in enumerate(tokens):
        current.append((begin, token))
        following = tokens[place + 1][1] if place + 1 < len(tokens) else ""
        if following and _ends(token, following):
            yield current
            current = []
    if current:
        yield current


def _ends(token: str, following: str) -> bool:
    """Return whether a sentence ends after `token`."""
    if MARK in (token, following):
        return True
    head = token.rstrip(CLOSERS)
    if not head or head[-1] not in TERMINATORS:
        return _pictured(token) and following[0].isupper()
    if _pictured(following) or not following[0].isalnum():
        # An emoji or a dash after a full stop belongs to the sentence before it.
        return not (_pictured(following) or following in DASHES)
    if head.endswith(("...", "…")):
        return not following[0].islower() or bare(following).split("'")[0] == "i"
    if head[-1] != ".":
        return True
    word = bare(head)
    if word in _ABBREVIATIONS:
        return word in ("a.m", "p.m", "etc", "inc", "ltd", "co") and following[0].isupper()
    initial = len(word) == 1 and word != "i" and head[:1].isupper() and following[0].isupper()
    acronym = "." in word and word.replace(".", "").isalpha() and len(word) <= 5 and not following[0].isupper()
    return not (initial or acronym)


def _pictured(token: str) -> bool:
    """Return whether a token consists only of emoji or other symbols."""
    return not any(map(str.isalnum, token)) and any(unicodedata.category(char) == "So" for char in token)


def trimmed(text: str) -> str:
    """Return a text without outer white space and without the punctuation and emoji at its end."""
    end = len(text)
    while end and _trailing(text, end):
        end -= 1
    return text[:end].strip()


def _trailing(text: str, end: int) -> bool:
    """Return whether the character before `end` can be dropped: punctuation, a blank, an emoji or a modifier of one."""
    char = text[end - 1]
    if char in ".!…。！｡।,;:":
        return not _dotted(text, end)
    return char.isspace() or char in "\ufe0e\ufe0f" or unicodedata.category(char) in ("So", "Sk", "Cf")


def _dotted(text: str, end: int) -> bool:
    """Return whether the full stop before `end` belongs to an acronym such as p.m. or U.S."""
    return end >= 4 and text[end - 1] == "." and text[end - 3] == "." and text[end - 2].isalpha()
