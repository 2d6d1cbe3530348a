"""Quotations within a line that somebody else is said to have said: "She said: "I hate my job"."

A title ("I read "I, Robot"") and one's own words ("I told her "I quit"") stay where they are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from recalld_server.domain.extraction.first_person import SUBJECTS
from recalld_server.domain.extraction.passages import Line, Origin
from recalld_server.domain.extraction.sentences import bare
from recalld_server.domain.extraction.word_lists import word_set

_QUOTATION = re.compile(r"\"[^\"\n]+\"|“[^”\n]+”|„[^“”\n]+[“”]|«[^»\n]+»|「[^」\n]+」|『[^』\n]+』")
_SENTENCE_END = re.compile(r"[.!?。！？]\s*")
_NEAR = 120  # characters before a quotation, and half as many after it, that may say whose it is

# Forms of the third person alone where a language has its own for the first.
_SPEECH = word_set(
    """
    said says tells told wrote writes asked replied answered texted messaged posted yelled shouted whispered insisted
    sagte sagt meinte schrieb schreibt erzählte fragte antwortete dit écrit répondu demandé dijo dice escribió preguntó
    respondió contestó detto disse scritto scrisse rispose falou escreveu perguntou respondeu zei zegt schreef vroeg
    сказал сказала говорит написал написала спросил спросила ответил ответила
    """
)
_SPEECH_UNSPACED = re.compile("说|說|写道|寫道|言った|言って|言いました")


def marked(lines: Sequence[Line]) -> list[Line]:
    """Lines with the quotations of others marked, each with the words that say whose it is."""
    return [part for line in lines for part in (_parts(line) if line.readable else [line])]


def _parts(line: Line) -> Iterator[Line]:
    done = 0
    for match in _QUOTATION.finditer(line.text):
        begin, end = match.span()
        if begin < done:
            continue
        start = max(done, begin - _NEAR)
        for stop in _SENTENCE_END.finditer(line.text, start, begin):
            start = stop.end()
        tail = _SENTENCE_END.search(line.text, end, end + _NEAR // 2)
        after = line.text[end : tail.end() if tail else end + _NEAR // 2]
        if _reports(line.text[start:begin]):
            pass
        elif match[0][-2] in ",!?，" and _reports(after):
            end += len(after)
        else:
            continue
        yield line.part(done, start)
        yield replace(line.part(start, end), origin=Origin.QUOTED)
        done = end
    yield line.part(done)


def _reports(text: str) -> bool:
    """True for words by which somebody else is said to speak."""
    words = [bare(token) for token in text.split()]
    if any(word in SUBJECTS for word in words):
        return False
    return any(word in _SPEECH for word in words) or bool(_SPEECH_UNSPACED.search(text))
