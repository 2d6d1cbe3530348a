"""Passages: runs of lines of a message that have the same author."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from recalld_server.domain.extraction.sentences import Sentence, sentences


class Origin(str, Enum):
    """The author of a passage."""

    OWN = "OWN"  # the sender of the message
    QUOTED = "QUOTED"  # the author of a text that the message quotes
    FORWARDED = "FORWARDED"  # the author of a message that the sender forwards
    LABELLED = "LABELLED"  # the speaker named by a label
    GIVEN = "GIVEN"  # unknown: a text to process, or a supposition


@dataclass(frozen=True, slots=True)
class Line:
    """A line or a part of a line. `begin` is its offset in the message, in code points.

    `fenced` is True inside a fenced block. `speaker` is set for LABELLED lines.
    """

    text: str
    begin: int = 0
    fenced: bool = False
    origin: Origin = Origin.OWN
    speaker: str = ""

    @property
    def readable(self) -> bool:
        """Whether the line is prose of the sender, as far as is known."""
        return self.origin is Origin.OWN and not self.fenced

    def part(self, begin: int, end: int | None = None) -> Line:
        """Return the part of the line from `begin` to `end`."""
        return replace(self, text=self.text[begin:end], begin=self.begin + begin)

    @property
    def blank(self) -> bool:
        return not self.text.strip()


@dataclass(frozen=True, slots=True)
class Passage:
    """A text of one origin, and its offset in the message, in code points."""

    text: str
    origin: Origin
    speaker: str = ""
    begin: int = 0

    def sentences(self) -> Iterator[Sentence]:
        """Yield its sentences, with their offsets in the message."""
        for sentence in sentences(self.text):
            yield replace(sentence, begin=self.begin + sentence.begin, end=self.begin + sentence.end)


def joined(lines: Iterable[Line], content: str) -> Iterator[Passage]:
    """Yield the passages of `content` from its lines, in order and without blank ones.

    A label is not part of any line, so it separates two passages of the same speaker.
    """
    run: list[Line] = []
    for line in lines:
        if run and not _continues(run[-1], line, content):
            yield from _passage(run, content)
            run = []
        run.append(line)
    yield from _passage(run, content)


def _continues(last: Line, line: Line, content: str) -> bool:
    same = (line.origin, line.speaker) == (last.origin, last.speaker)
    return same and not content[last.begin + len(last.text) : line.begin].strip()


def _passage(run: Sequence[Line], content: str) -> Iterator[Passage]:
    if run:
        begin, end = run[0].begin, run[-1].begin + len(run[-1].text)
        if content[begin:end].strip():
            yield Passage(content[begin:end], run[0].origin, run[0].speaker, begin)
