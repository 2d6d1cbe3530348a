"""Provenance: whose words the parts of one message are.

People send more than they say: the mail they answer, a chat they were part of, a text to be translated. Only their own
words tell about them. Time is linear in the length of the message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from recalld_server.domain.extraction import given_texts, mail, quotations, speaker_labels
from recalld_server.domain.extraction.passages import Line, Origin, Passage, joined
from recalld_server.domain.extraction.sentences import fences

KEPT_OUT = {
    Origin.QUOTED: "what is quoted from somebody else",
    Origin.FORWARDED: "a forwarded message",
    Origin.GIVEN: "what is given to be worked on or only supposed",
}
"""The origins that give no facts, in words."""


def passages(content: str, name: str = "", role: str = "user") -> list[Passage]:
    """The passages of a message in order. `name` and `role` are of who sent it; `name` may be empty."""
    lines = _lines(content)
    lines = mail.marked(lines, name)
    lines = quotations.marked(given_texts.marked(lines))
    return list(joined(speaker_labels.labelled(lines, name, role), content))


def _lines(content: str) -> list[Line]:
    found: list[Line] = []
    blocks = deque(fences(content))
    begin = 0
    for whole in content.splitlines(keepends=True):
        while blocks and blocks[0][1] <= begin:
            blocks.popleft()
        fenced = bool(blocks) and blocks[0][0] <= begin
        found.append(Line(whole.splitlines()[0], begin, fenced))
        begin += len(whole)
    return found


def kept_out(parts: Iterable[Passage]) -> str:
    """What of a message gives no facts and why, in words for people; "" when all of it is read."""
    told = dict.fromkeys(KEPT_OUT[part.origin] for part in parts if part.origin in KEPT_OUT)
    return f"Kept out: {', '.join(told)}." if told else ""
