"""Messages without the parts that an add may not keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from recalld_server.domain.limits import MESSAGE_BYTES
from recalld_server.domain.memory import Message

MARK: Final = "[excluded]"
"""Stands in a stored message for what was left out of it."""

MARKS: Final = 100  # in one message: with more of them little is left that makes sense


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A part of a message: the index of the message, and code points of its content from `begin` up to `end`."""

    message: int
    begin: int
    end: int


def runs(content: str, spans: Iterable[Span]) -> list[Span]:
    """The parts of one message that a mark shall stand for, in order: spans with nothing but white space between them
    are one.

    All of the message where there would be too many marks, or where they would make it longer than a message may be.
    """
    found: list[Span] = []
    for span in sorted(spans):
        if found and not content[found[-1].end : span.begin].strip():
            found[-1] = replace(found[-1], end=max(span.end, found[-1].end))
        else:
            found.append(span)
    grown = len(_marked(content, found).encode()) if found else 0
    if len(found) > MARKS or grown > MESSAGE_BYTES:
        return [Span(found[0].message, 0, len(content))]
    return found


def redacted(messages: Sequence[Message], excluded: Iterable[Span]) -> list[Message]:
    """The messages with a mark for each span. Spans of one message do not overlap."""
    found: dict[int, list[Span]] = {}
    for span in sorted(excluded):
        found.setdefault(span.message, []).append(span)
    return [
        replace(message, content=_marked(message.content, found[place])) if place in found else message
        for place, message in enumerate(messages)
    ]


def _marked(content: str, spans: Sequence[Span]) -> str:
    kept: list[str] = []
    end = 0
    for span in spans:
        kept += [content[end : span.begin], MARK]
        end = span.end
    return "".join((*kept, content[end:]))
