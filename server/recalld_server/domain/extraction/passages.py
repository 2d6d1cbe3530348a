"""Passages: runs of lines of one message that come from one author."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum

from recalld_server.domain.extraction.sentences import Sentence, sentences


class Origin(str, Enum):
    """Whose words a passage is."""

    OWN = "OWN"  # of who sent the message
    QUOTED = "QUOTED"  # of somebody else, whose message is answered
    FORWARDED = "FORWARDED"  # of somebody else, whose message is passed on
    LABELLED = "LABELLED"  # of the speaker whom a label names
    GIVEN = "GIVEN"  # of nobody: text to be worked on, or a supposition


@dataclass(frozen=True, slots=True)
class Line:
    """One line, or a part of one. `begin` is where it stands in the message.

    `fenced` says that it is part of a fenced block; `speaker` goes with LABELLED.
    """

    text: str
    begin: int = 0
    fenced: bool = False
    origin: Origin = Origin.OWN
    speaker: str = ""

    @property
    def readable(self) -> bool:
        """True for prose that nobody else is known to have written."""
        return self.origin is Origin.OWN and not self.fenced

    def part(self, begin: int, end: int | None = None) -> Line:
        """The line from one character to another."""
        return replace(self, text=self.text[begin:end], begin=self.begin + begin)

    @property
    def blank(self) -> bool:
        return not self.text.strip()


@dataclass(frozen=True, slots=True)
class Passage:
    """Text of one origin, and where it begins in its message."""

    text: str
    origin: Origin
    speaker: str = ""
    begin: int = 0

    def sentences(self) -> Iterator[Sentence]:
        """Its sentences, with their places in the message."""
        for sentence in sentences(self.text):
            yield replace(sentence, begin=self.begin + sentence.begin, end=self.begin + sentence.end)


def joined(lines: Iterable[Line], content: str) -> Iterator[Passage]:
    """The passages of `content` that its lines form, in order; blank ones are left out.

    A label, which no line holds, divides two passages of one speaker.
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
