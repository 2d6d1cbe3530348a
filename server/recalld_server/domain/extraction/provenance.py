"""Provenance: the authors of the parts of a message.

Messages contain text that their sender did not write: the mail they answer, a chat log, a text to translate. Only the
sender's own words are statements about the sender. The time is linear in the length of the message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from recalld_server.domain.extraction import given_texts, mail, quotations, speaker_labels
from recalld_server.domain.extraction.passages import Line, Origin, Passage, joined
from recalld_server.domain.extraction.sentences import fences

KEPT_OUT = {
    Origin.QUOTED: "text quoted from somebody else",
    Origin.FORWARDED: "a forwarded message",
    Origin.GIVEN: "text given to be processed or only supposed",
}
"""The origins that yield no facts, with their description for callers."""


def passages(content: str, name: str = "", role: str = "user") -> list[Passage]:
    """Return the passages of a message in order. `name` (may be empty) and `role` are those of the sender."""
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
    """Describe the parts of a message that yield no facts and why; "" if there are none."""
    told = dict.fromkeys(KEPT_OUT[part.origin] for part in parts if part.origin in KEPT_OUT)
    return f"Not extracted: {', '.join(told)}." if told else ""
