"""Detection of quotations of other people within a line: "She said: "I hate my job"."

Titles ("I read "I, Robot"") and words of the sender ("I told her "I quit"") are not marked.
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
_NEAR = 120  # characters before a quotation, and half as many after it, in which its speaker is searched

# Only third-person forms if the language has a separate first-person form.
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
    """Mark the quotations of other people as QUOTED, together with the words that attribute them."""
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
    """Return whether the words attribute a quotation to somebody other than the sender."""
    words = [bare(token) for token in text.split()]
    if any(word in SUBJECTS for word in words):
        return False
    return any(word in _SPEECH for word in words) or bool(_SPEECH_UNSPACED.search(text))
