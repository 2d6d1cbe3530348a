"""Redaction: replaces the excluded parts of messages with a mark before they are stored."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from recalld_server.domain.limits import MESSAGE_BYTES
from recalld_server.domain.memory import Message

MARK: Final = "[excluded]"
"""Replaces each excluded part in a stored message."""

MARKS: Final = 100  # limit per message; with more marks the rest of the text is hardly readable


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A part of a message: the index of the message, and the code points of its content from `begin` up to `end`."""

    message: int
    begin: int
    end: int


def runs(content: str, spans: Iterable[Span]) -> list[Span]:
    """Merge the spans of one message that have only white space between them; return the result in order.

    Returns the whole message as one span if it needed more than MARKS marks, or would exceed MESSAGE_BYTES with them.
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
    """Return the messages with each span replaced by a mark. Spans of one message must not overlap."""
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
