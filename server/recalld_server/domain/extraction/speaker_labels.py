"""Speaker labels of chat logs: "Alice: …", "[12:03] Alice: …", "<Alice> …".

A label applies until the next one. A label with a time is certain by its form. "Alice: …" may as well be a field
("Note: …", "Age: 34"), so it counts only if the name is plausible and the text after it has first-person or
second-person words.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from recalld_server.domain.extraction.field_names import FIELD_NAMES
from recalld_server.domain.extraction.first_person import speaks
from recalld_server.domain.extraction.passages import Line, Origin
from recalld_server.domain.extraction.sentences import bare
from recalld_server.domain.extraction.word_lists import word_set
from recalld_server.domain.stop_words import STOP_WORDS

_BEFORE = " \t\u200e\u200f\ufeff"
_HEAD = 160  # characters at the start of a line in which a label must end
_TIME = r"\d{1,2}[:.]\d{2}(?:[:.]\d{2})?(?:[ \u202f\u00a0]?[aApP]\.?[mM]\.?)?"
_DATE = r"\d{1,4}[./-]\d{1,2}[./-]\d{1,4}"
_WHEN = rf"(?:{_DATE},?[ T]{{1,2}})?{_TIME}(?:,? {_DATE})?"
_NAME = r"[^:：<>\[\](){}\"|/\\;\t]{1,60}?"
_TIMED = re.compile(
    rf"\[{_WHEN}\]\s{{1,2}}(?:<(?P<a>{_NAME})>|(?P<b>{_NAME})\s?[:：])"  # [12:03] <Alice> …, [12:03] Alice: …
    rf"|{_DATE},?\s{{1,2}}{_TIME}\s[-–—]\s(?P<c>{_NAME})\s?[:：]"  # 12/03/24, 10:05 - Alice: …
    rf"|{_WHEN}(?:\t(?P<d>{_NAME})\t|\s{{1,2}}<(?P<e>{_NAME})>)"  # 10:05⇥Alice⇥…, 10:05 <Alice> …
    rf"|(?P<f>{_NAME})\s{{0,2}}(?:\({_WHEN}\)|\[{_WHEN}\])\s?[:：]"  # Alice (10:05): …
)
_UNSIGNED = re.compile(rf"\[{_WHEN}\]\s|{_DATE},?\s{{1,2}}{_TIME}\s[-–—]\s")  # a system notice in a log with times
_BARE = re.compile(
    rf"(?:[-•]\s+)?(?:{_TIME}\s{{1,2}}(?:-\s)?)?(?:\*\*|__)?(?P<name>[^\W\d_][^:：<>\[\](){{}}\"|/\\;!?*\t]{{0,39}}?)"
    r"(?:\s?(?:\*\*|__)?\s?(?:：|:(?:\*\*|__)?(?=\s|$)))"
)
_HEADING = re.compile(
    rf"(?P<name>[^\W\d_][^:：<>\[\](){{}}\"|/\\;!?*\t]{{0,39}}?),?\s{{1,2}}{_WHEN}$"
)  # Alice  10:05 AM
_NICK = re.compile(r"<(?P<name>[^<>@/\s:=\"]{1,30})>\s")
_INLINE = re.compile(r"(?<=[.!?…])\s+(?=[^\W\d_][\w'’-]{0,20}(?: [^\W\d_][\w'’-]{0,20})?:\s)")
_MARKS = re.compile("[:：<\t]")  # each label has at least one of these
_SPOKEN = re.compile(r"[.!?…。！？]['\"”’)]*$")

_SELF = word_set("me i ich moi yo io eu ik jag jeg ja я 我 私 나")
_COMMON = STOP_WORDS["english"] - {"will", "may"} - _SELF  # words that are never a part of a name
_OF_ROLES = {"user": _SELF | {"user", "human"}, "assistant": _SELF | word_set("assistant ai bot agent model")}
_MACHINES = word_set(
    "assistant ai bot chatbot chatgpt gpt claude gemini copilot system assistent asistente assistente ассистент"
)
_PARTICLES = word_set(
    "de da do dos das del della di du la le van von der den het ten ter zu zur af al el bin ibn ben y e"
)


@dataclass(frozen=True, slots=True)
class _Label:
    """A label at the start of a line: the index of the line, the name, and the offset in the line after the label.

    `sure` is True if the form alone makes it a label, `cased` if the name is capitalised like a name.
    """

    place: int
    name: str
    end: int
    sure: bool
    cased: bool = True

    @property
    def key(self) -> str:
        return self.name.casefold()


def labelled(lines: Sequence[Line], name: str, role: str) -> list[Line]:
    """Mark the lines of named speakers as LABELLED and remove the labels.

    `name` and `role` are those of the sender of the message; lines labelled with the sender stay their own.
    """
    parts = [part for line in lines for part in _parts(line)]
    labels = _log(parts, name)
    if not labels:
        return list(lines)
    timed = labels[0].sure
    at = {label.place: label for label in labels}
    found: list[Line] = []
    origin, speaker = Origin.OWN, ""
    for place, line in enumerate(parts):
        if label := at.get(place):
            origin, speaker = _owner(label, name, role)
        elif timed and line.readable and _UNSIGNED.match(_head(line.text)):
            found.append(replace(line, origin=Origin.QUOTED))
            continue
        said = line.part(label.end if label else 0)
        found.append(replace(said, origin=origin, speaker=speaker) if line.origin is Origin.OWN else line)
    return found


def _owner(label: _Label, name: str, role: str) -> tuple[Origin, str]:
    own = " ".join(name.casefold().split())
    if label.key in _OF_ROLES.get(role, _SELF) or (own and (label.key == own or label.key == own.split()[0])):
        return Origin.OWN, ""
    if own and own == label.key.split()[0]:
        return Origin.OWN, ""
    return (Origin.QUOTED, "") if label.key in _MACHINES else (Origin.LABELLED, label.name)


def _parts(line: Line) -> Iterator[Line]:
    """Split a line before the labels inside it: "Ann: I ski. Bob: I don't."."""
    if not line.readable or not _INLINE.search(line.text) or _bare(0, line.text) is None:
        yield line
        return
    begin = 0
    for match in _INLINE.finditer(line.text):
        label = _bare(0, line.text[match.end() : match.end() + _HEAD])
        if label and label.cased:
            yield line.part(begin, match.start())
            begin = match.end()
    yield line.part(begin)


def _log(lines: Sequence[Line], name: str) -> list[_Label]:
    """Return the labels of `lines` if they are a chat log, otherwise an empty list."""
    tagged = any("</" in line.text for line in lines)
    found = [label for place, line in enumerate(lines) if line.readable and (label := _label(place, line, tagged))]
    if not found:
        return []
    sure = {label.key for label in found if label.sure}
    if sure:
        return [label for label in found if label.sure or label.key in sure]
    ends = [label.place for label in found[1:]] + [len(lines)]
    bodies = [_body(lines, label, end) for label, end in zip(found, ends, strict=True)]
    spoken = [speaks(body) for body in bodies]
    if len({label.key for label in found}) == 1:
        known = found[0].cased or found[0].key in (*_SELF, name.casefold())
        return found if known and spoken[0] else []
    said = sum(speaking or bool(_SPOKEN.search(body)) for speaking, body in zip(spoken, bodies, strict=True))
    log = said == len(found) if not all(label.cased for label in found) else said * 2 >= len(found)
    return found if log and any(spoken) else []


def _body(lines: Sequence[Line], label: _Label, end: int) -> str:
    """Return the text after a label, or the next line if there is none."""
    body = lines[label.place].text[label.end :].strip()
    return body if body or label.place + 1 >= end else lines[label.place + 1].text.strip()


def _label(place: int, line: Line, tagged: bool) -> _Label | None:
    if not _MARKS.search(line.text, 0, _HEAD):
        return None
    return _timed(place, line.text) or _bare(place, line.text) or _nick(place, line, tagged)


def _timed(place: int, text: str) -> _Label | None:
    head = _head(text)
    match = _TIMED.match(head)
    name = _name(match[match.lastgroup]) if match and match.lastgroup else ""
    return _Label(place, name, _before(text) + match.end(), sure=True) if match and name else None


def _bare(place: int, text: str) -> _Label | None:
    head = _head(text)
    match = _BARE.match(head) or _HEADING.match(head)
    name = _name(match["name"]) if match else ""
    if not match or not name:
        return None
    words = name.split()
    cased = all(word[0].lower() == word[0].upper() or word[0].isupper() or word in _PARTICLES for word in words)
    if not cased and len(words) > 1:
        return None
    return _Label(place, name, _before(text) + match.end(), sure=False, cased=cased and words[0] not in _PARTICLES)


def _nick(place: int, line: Line, tagged: bool) -> _Label | None:
    """Return a label with the name in angle brackets, unless the text looks like markup."""
    match = None if tagged else _NICK.match(_head(line.text))
    name = _name(match["name"]) if match else ""
    return _Label(place, name, _before(line.text) + match.end(), sure=False) if match and name else None


def _head(text: str) -> str:
    """Return the start of a line without the white space and the invisible marks that chat programs put before it."""
    return text.lstrip(_BEFORE)[:_HEAD]


def _before(text: str) -> int:
    """Return how many characters `_head` drops at the start of the line."""
    return len(text) - len(text.lstrip(_BEFORE))


def _name(text: str) -> str:
    """Return the name in a label; "" if it cannot be a name, but is a field, a sentence or unprintable."""
    shown = text if text.isascii() else "".join(char for char in text if unicodedata.category(char) != "Cf")
    name = " ".join(shown.strip(" ~@*_'").split())
    words = name.split()
    if not name.isprintable() or not 1 <= len(words) <= 4:
        return ""
    plain = [bare(word) for word in words]
    if any(word in FIELD_NAMES or word in _COMMON for word in plain):
        return ""
    spaced = name.isascii() or any(char.isupper() or char.islower() for char in name)
    return name if spaced or len(name) <= 8 else ""
