"""Messages without the parts that an add may not keep."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from recalld_server.domain.memory import Message

MARK: Final = "[excluded]"
"""Stands in a stored message for what was left out of it."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """A part of a message: the index of the message, and code points of its content from `begin` up to `end`."""

    message: int
    begin: int
    end: int


def redacted(messages: Sequence[Message], excluded: Iterable[Span]) -> list[Message]:
    """The messages with one mark for each run of excluded spans. Passages of one message do not overlap."""
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
        between = content[end : span.begin]
        if not kept or between.strip():
            kept += [between, MARK]
        end = span.end
    return "".join((*kept, content[end:]))
