"""Detection of texts to process ("Translate: …", "Summarise this:" with a text below) and of suppositions ("Pretend I
…"). They are not statements of the sender."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, takewhile

from recalld_server.domain.extraction.first_person import SUBJECTS
from recalld_server.domain.extraction.passages import Line, Origin
from recalld_server.domain.extraction.sentences import bare
from recalld_server.domain.extraction.word_lists import phrase_set, word_set

# A task begins with one of these words or with a verb of _WORK or _WORK_ON.
_LEADS = word_set(
    """
    please pls can could would will help kindly now next then also ok okay hi hey hello and task assignment here bitte
    kannst könntest können könnten würdest hilf hallo peux peux-tu pourrais pourrais-tu pouvez pouvez-vous merci aide
    svp puedes podrías puede por ayúdame hola potresti puoi ciao você pode poderia kun je kunt пожалуйста можешь
    можете помоги
    """
)
_WISHES = phrase_set(
    """
    i need you | i want you | i'd like you | i would like you | we need you | i need help | i need a | i want a |
    i need to | i have to | i want to
    """
)
_WISH_OPENINGS = tuple(f"{phrase} " for phrase in _WISHES)
_WORK = word_set(
    """
    translate translation summarize summarise summary proofread paraphrase rephrase rewrite reword copyedit spellcheck
    transcribe condense tldr übersetze übersetz übersetzen übersetzt übersetzung zusammenfassen zusammenfassung fasse
    fass korrigiere korrigieren umformulieren umschreiben überarbeite überarbeiten umformuliere traduis traduire
    traduisez traduction résume résumer résumez corrige corriger corrigez reformule reformuler reformulez paraphrase
    réécris réécrire traduce traducir traduzca tradúceme tradúcelo resúmeme corregir reescribe reescribir reformula
    reformular parafrasea traduci tradurre riassumi riassumere correggi correggere riscrivi riscrivere parafrasa
    traduza traduz traduzir resuma resumir corrija corrigir reescreva reescrever parafraseie vertaal vertalen
    samenvatten herschrijf herschrijven corrigeer corrigeren переведи переведите перевести перескажи исправь исправьте
    перефразируй çevir tercüme özetle przetłumacz streść popraw översätt sammanfatta oversett oversæt
    """
)
# Task verbs that need one of _OBJECTS: "Fix the grammar of this text" is a task, "Fix: I moved the lamp" is not.
_WORK_ON = word_set(
    """
    check correct fix improve edit review polish shorten expand convert explain analyze analyse classify extract
    answer reply respond format evaluate critique grade debug simplify continue complete resume resumir
    prüfe prüfen verbessere verbessern kürze erkläre analysiere beantworte vérifie améliore explique analyse
    revisa mejora explica analiza controlla migliora spiega analizza verifique melhore explique controleer verbeter
    проверь улучши объясни
    """
)
_OBJECTS = word_set(
    """
    following below text sentence sentences paragraph paragraphs passage message mail email e-mail letter essay
    article story poem code snippet transcript chat conversation grammar spelling lyrics abstract question folgenden
    folgende folgendes satz nachricht brief absatz unten frage suivant suivante texte phrase lettre courriel siguiente
    texto frase mensaje carta correo pregunta seguente testo messaggio lettera seguinte mensagem volgende tekst zin
    bericht следующий следующее текст письмо предложение
    """
)
_POINTING = word_set(
    """
    this these following below it diesen dieses diese folgenden folgende folgendes unten das ce cet cette ceci suivant
    suivante este esta esto siguiente questo questa seguente isto seguinte deze dit volgende этот это следующий
    следующее
    """
)
_ABOVE = word_set("above oben ci-dessus dessus arriba anterior sopra acima hierboven выше")
# "How do you say in French: …": a question followed by the text that it is about.
_ASKED = frozenset({("how", "say"), ("what", "mean"), ("is", "correct"), ("is", "grammatical"), ("was", "heißt")}) | {
    ("wie", "sagt"), ("cómo", "dice"), ("comment", "dit"), ("come", "dice"), ("como", "diz"),
}  # fmt: skip
_UNSPACED = re.compile(
    r"[^:：。\n]{0,40}(?:翻译|翻譯|总结|總結|概括|改写|改寫|润色|潤色|校对|校對|翻訳|要約|添削|校正|번역|요약|교정)[^:：。\n]{0,40}[:：]"
)

_SUPPOSING = word_set(
    """
    pretend imagine suppose supposing assume assuming hypothetically role-play roleplay stell stellen angenommen
    imagine imaginons supposons imagina imaginemos supongamos supón finge digamos immagina supponiamo imagine suponha
    finja представь представим допустим предположим
    """
)
_SUPPOSED = SUBJECTS | word_set(
    """
    that you he she they my our your there a the someone somebody im you're he's she's they're dir vor du er sie mein
    meine dass que tu il elle mon ma mi tú él ella eres soy tengo che lei sono sei meu minha você что ты он она мой
    """
)
_SUPPOSING_UNSPACED = re.compile(r"(?:请|請)?(?:假设|假設|假如|想象|想像一下|假装|假裝)")
_JOINING = word_set("that dass que che что dir vor")
_LISTENER = word_set("you you're tú eres tu du você ты")

_TASK_STARTS = _LEADS | _WORK | _WORK_ON
_STARTS = _TASK_STARTS | _SUPPOSING | {"let's", "i", "i'd", "we"} | {first for first, _ in _ASKED}
_BEFORE = " \t-–—*•_\"'“„«"
_CHUNK = re.compile(r"[^.!?:：。！？…]*(?:[.!?。！？…:：]+|$)")
_ASKING = re.compile("[?？؟]")
_CLOSING = {'"': '"', "“": "”", "„": "“", "«": "»", "「": "」", "『": "』", "‘": "’"}
_HEAD_WORDS = 30  # words of a sentence that are read
_SALUTATION = 60  # characters of the longest salutation line
_QUOTED_LINES = 200  # lines in which the end of a quotation is searched


@dataclass(frozen=True, slots=True)
class _Start:
    """A sentence that introduces a given text: its start in the line, and the start of the given text.

    With `above`, the given text is above the sentence. A supposition is itself the given text: with `whole` it ends
    with its sentence, otherwise with the next question.
    """

    begin: int
    text: int
    supposed: bool = False
    whole: bool = False
    above: bool = False


def marked(lines: Sequence[Line]) -> list[Line]:
    """Mark the lines of given texts as GIVEN, and split lines of which only a part is given."""
    found: list[Line] = []
    above = 0  # number of lines of `found` that are above a sentence that gives them
    left = deque(lines)
    while left:
        line = left.popleft()
        start = _start(line.text, left) if line.readable else None
        if start is None:
            found.append(line)
        else:
            found.append(line.part(0, start.begin))
            above = len(found) if start.above else above
            found.append(replace(line.part(start.begin, start.text), origin=Origin.GIVEN))
            found += _given(line.part(start.text), start, left)
    given = (replace(each, origin=Origin.GIVEN) if each.origin is Origin.OWN else each for each in found[:above])
    return [*given, *found[above:]]


def _start(text: str, following: Sequence[Line]) -> _Start | None:
    """Return the start of the first given text of a line; None if it has none."""
    for match in _CHUNK.finditer(text):
        begin, end = match.span()
        if not _may_begin(match[0]):
            continue
        words = [word for token in match[0].split(None, _HEAD_WORDS)[:_HEAD_WORDS] if (word := bare(token))]
        if not words:
            continue
        if (supposed := _supposition(words, match[0])) is not None:
            return _Start(begin, end if supposed else begin, supposed=True, whole=supposed)
        introduces = match[0][-1] in ":：" and (match[0][-1] == "：" or end == len(text) or text[end].isspace())
        if introduces and (_is_task(words) or _UNSPACED.match(match[0])):
            return _Start(begin, end)
        narrow = _begins(words) and any(word in _WORK for word in words)
        if narrow and any(word in _ABOVE for word in words):
            return _Start(begin, end, above=True)
        pointed = narrow and any(word in _POINTING for word in words)
        if pointed and (not text[end:].strip() or text[end:].lstrip()[0] in _CLOSING):
            return _Start(begin, end)
    return None


def _may_begin(text: str) -> bool:
    """Return whether the first word of a sentence can begin a task or a supposition; a cheap first test."""
    first = text.lstrip(_BEFORE).split(None, 1)
    return bool(first) and (bare(first[0]) in _STARTS or not first[0].isascii())


def _supposition(words: Sequence[str], text: str) -> bool | None:
    """Return None if the words are no supposition, True for one about the listener (one sentence), otherwise False."""
    if _SUPPOSING_UNSPACED.match(text.lstrip()):
        return False
    if words[0] == "let's" and len(words) > 2:
        words = words[1:]
        supposing = words[0] in _SUPPOSING or words[0] == "say"
    else:
        supposing = words[0] in _SUPPOSING
    idiom = words[:2] in (["imagine", "my"], ["imagine", "the"])  # "Imagine my surprise"
    if not supposing or idiom or len(words) < 3 or words[1] not in _SUPPOSED:
        return None
    return next((word for word in words[1:] if word not in _JOINING), "") in _LISTENER


def _begins(words: Sequence[str]) -> bool:
    """Return whether a sentence begins like a task."""
    head = " ".join(words[:5]) + " "
    return words[0] in _TASK_STARTS or head.startswith(_WISH_OPENINGS)


def _is_task(words: Sequence[str]) -> bool:
    if any(words[0] == first and word in words for first, word in _ASKED):
        return True
    if not _begins(words):
        return False
    if any(word in _WORK for word in words):
        return True
    return any(word in _WORK_ON for word in words) and any(word in _OBJECTS for word in words)


def _given(rest: Line, start: _Start, left: deque[Line]) -> Iterator[Line]:
    """Yield the lines of a given text that begins with `rest`; the lines after it stay in `left`."""
    if start.whole or start.above:
        if any(map(str.isalnum, rest.text)):
            left.appendleft(rest)
    elif start.supposed:
        yield from _until(_ASKING, rest, left)
    elif not rest.blank:
        if not (yield from _quotation(rest, left)):
            letter = len(rest.text) <= _SALUTATION and rest.text.rstrip().endswith(",")
            yield from _lines(rest, left, to_end=letter)
    else:
        while left and left[0].blank:
            yield left.popleft()
        if not left:
            return
        first = left.popleft()
        if first.fenced:
            yield replace(first, origin=Origin.GIVEN)
            while left and left[0].fenced:
                yield replace(left.popleft(), origin=Origin.GIVEN)
        elif not first.readable:
            left.appendleft(first)
        elif not (yield from _quotation(first, left)):
            yield from _lines(first, left, to_end=True)


def _lines(first: Line, left: deque[Line], to_end: bool) -> Iterator[Line]:
    """Yield a given text of whole lines: a paragraph, or all remaining lines."""
    yield replace(first, origin=Origin.GIVEN)
    while left and (to_end or (left[0].readable and not left[0].blank)):
        line = left.popleft()
        yield replace(line, origin=Origin.GIVEN) if line.origin is Origin.OWN else line


def _until(mark: re.Pattern[str], first: Line, left: deque[Line]) -> Iterator[Line]:
    """Yield a given text up to its first `mark`, or to the end of its paragraph."""
    line = first
    while not (match := mark.search(line.text)):
        yield replace(line, origin=Origin.GIVEN)
        if not left or left[0].blank or not left[0].readable:
            return
        line = left.popleft()
    yield from _cut(line, match.end(), left)


def _quotation(first: Line, left: deque[Line]) -> Generator[Line, None, bool]:
    """Yield a given text in quotation marks and return True; yield nothing and return False if it has none."""
    text = first.text.lstrip()
    closing = _CLOSING.get(text[0])
    if closing is None:
        return False
    start = len(first.text) - len(text) + 1
    if (end := first.text.find(closing, start)) < 0:
        near = islice(left, _QUOTED_LINES)
        if not any(closing in line.text for line in takewhile(lambda line: line.readable, near)):
            return False
        yield replace(first, origin=Origin.GIVEN)
        while closing not in left[0].text:
            yield replace(left.popleft(), origin=Origin.GIVEN)
        first = left.popleft()
        end = first.text.find(closing)
    yield from _cut(first, end + 1, left)
    return True


def _cut(line: Line, end: int, left: deque[Line]) -> Iterator[Line]:
    """Yield the given part of a line and put the rest of the line back into `left`."""
    yield replace(line.part(0, end), origin=Origin.GIVEN)
    if any(map(str.isalnum, line.text[end:])):
        left.appendleft(line.part(end))
