"""Detection of mails inside a message: quoted mails that it answers, and forwarded mails."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from recalld_server.domain.extraction.first_person import SUBJECTS
from recalld_server.domain.extraction.passages import Line, Origin
from recalld_server.domain.extraction.sentences import bare
from recalld_server.domain.extraction.word_lists import phrase_set, word_set

_QUOTED = re.compile(r"\s{0,3}[>＞]")
_LONGEST = 300  # characters of the longest line that can introduce a mail or be a header
_WRAPS = 3  # lines over which mail programs wrap "On …, … wrote:"

# "On Mon, 4 May, Sam <s@x.com> wrote:" begins with one of these words, or has a date or an address; "Sam wrote:" has at
# most _SHORT words.
_OPENINGS = word_set("on am le il el em op w dnia den på в")
_SHORT = 8  # words
_WRITING = re.compile(
    r"\b(?<!\bi )(?<!\bwe )(?:wrote|schrieb(?: [^:]{1,120})?|a écrit|escribió|ha scritto|escreveu|schreef"
    r"(?: [^:]{1,120})?|skrev(?: [^:]{1,120})?|napisał(?:\(a\)|a)?|написал(?:\(а\)|а)?|пишет|kirjoitti|yazdı)\s*[:：]$"
    r"|(?:写道|寫道|wrote|のメール|さんは書きました)\s*[:：]$",
    re.IGNORECASE,
)
_DATED = re.compile(r"\d{4}[年./-]|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}|<[^<>\s]{1,100}@[^<>\s]{1,100}>")

_FORWARDS = phrase_set(
    """
    forwarded message | original message | original appointment | forwarded by | weitergeleitete nachricht |
    ursprüngliche nachricht | originalnachricht | message transféré | message d'origine | message original | mensaje
    reenviado | mensaje original | messaggio inoltrato | messaggio originale | mensagem encaminhada | mensagem
    original | doorgestuurd bericht | oorspronkelijk bericht | vidarebefordrat meddelande | ursprungligt meddelande |
    wiadomość przekazana | wiadomość oryginalna | пересылаемое сообщение | исходное сообщение | пересланное сообщение
    | 转发的邮件 | 转发邮件 | 原始邮件 | 轉寄郵件 | 原始郵件 | 転送メッセージ | 転送されたメッセージ | 元のメッセージ
    | 전달된 메시지 | 원본 메시지
    """
)
_BEGINNINGS = phrase_set(
    """
    begin forwarded message | anfang der weitergeleiteten nachricht | début du message réexpédié | début du message
    transféré | inicio del mensaje reenviado | inizio messaggio inoltrato | início da mensagem encaminhada |
    início da mensagem reencaminhada | begin doorgestuurd bericht | начало переадресованного сообщения
    """
)
_ENDINGS = phrase_set(
    """
    end of forwarded message | end forwarded message | ende der weitergeleiteten nachricht | fin du message transféré
    | fin del mensaje reenviado | fine messaggio inoltrato | fim da mensagem encaminhada
    """
)
_FROM = word_set("from von de da van från fra od от 发件人 寄件者 差出人 보낸사람")
_HEADERS = word_set(
    """
    sent date to subject cc bcc gesendet datum an betreff envoyé date à objet enviado enviada fecha para asunto
    inviato data a oggetto assunto verzonden aan onderwerp skickat till ämne sendt til emne wysłano do temat
    отправлено дата кому тема reply-to 发送时间 日期 收件人 主题 主旨 日付 宛先 件名 送信日時
    """
)
# Headers that only mails have. "From: Rome", "To: Paris", "Date: 12 May" may as well describe a journey.
_MAIL_ALONE = word_set(
    """
    sent subject gesendet betreff envoyé objet enviado enviada asunto inviato oggetto assunto verzonden onderwerp
    skickat ämne sendt emne wysłano temat отправлено тема 发送时间 主题 主旨 件名 送信日時
    """
)
_ON_ONE_LINE = re.compile(rf"\s(?:{'|'.join(sorted(_MAIL_ALONE))})\s?[:：]", re.IGNORECASE)


def marked(lines: Sequence[Line], name: str) -> list[Line]:
    """Mark quoted and forwarded lines. `name` is that of the sender; a forwarded mail of the sender stays their own."""
    found: list[Line] = []
    attributions = _attributions(lines)
    place, rest = 0, Origin.OWN
    while place < len(lines):
        line = lines[place]
        if line.fenced:
            found.append(line if rest is Origin.OWN else replace(line, origin=rest))
            place += 1
            continue
        if rest is Origin.FORWARDED and _rule_text(line.text) in _ENDINGS:
            found.append(replace(line, origin=rest))
            rest = Origin.OWN
            place += 1
            continue
        origin, size = rest, 1
        if rest is Origin.OWN and place in attributions:
            origin, size = Origin.QUOTED, attributions[place]
        elif rest is Origin.OWN:
            origin, size = _opened(lines, place)
        if origin is Origin.FORWARDED and rest is Origin.OWN and _is_from(lines[place].text, name):
            origin = Origin.QUOTED  # only the headers, because the sender wrote the mail
        elif origin is Origin.FORWARDED or (origin is Origin.QUOTED and _goes_on(lines, place, size)):
            rest = origin
        taken = lines[place : place + size]
        found += taken if origin is Origin.OWN else [replace(each, origin=origin) for each in taken]
        place += size
    return found


def _opened(lines: Sequence[Line], place: int) -> tuple[Origin, int]:
    """Return the origin of the lines from `place` on, and the number of lines that introduce it."""
    text = lines[place].text
    if _QUOTED.match(text):
        return Origin.QUOTED, 1
    if len(text) > _LONGEST or not text.strip():
        return Origin.OWN, 1
    rule = _rule_text(text)
    if rule in _BEGINNINGS or (rule in _FORWARDS and text.lstrip()[0] in "-_—=*"):
        return Origin.FORWARDED, 1
    if size := _head(lines, place):
        return Origin.FORWARDED, size
    return Origin.OWN, 1


def _rule_text(text: str) -> str:
    """Return the words of a separator line such as "---- Original Message ----"."""
    return " ".join(text[:_LONGEST].replace("’", "'").strip(" \t-_—=*:：").casefold().split())


def _head(lines: Sequence[Line], place: int) -> int:
    """Return how many lines from `place` on are the headers of a mail, "From: …", "Sent: …"."""
    if _field(lines[place].text) not in _FROM:
        return 0
    size, known = 1, "@" in lines[place].text or bool(_ON_ONE_LINE.search(lines[place].text[:_LONGEST]))
    while place + size < len(lines) and (field := _field(lines[place + size].text)) in _HEADERS:
        size, known = size + 1, known or field in _MAIL_ALONE
    return size if known else 0


def _field(text: str) -> str:
    """Return the name of a header line in lower case; "" for any other line."""
    head, colon, _ = text[:60].replace("：", ":").partition(":")
    return head.strip(" \t*").replace(" ", "").casefold() if colon else ""


def _is_from(text: str, name: str) -> bool:
    return bool(name) and _field(text) in _FROM and name.casefold() in text.casefold()


def _attributions(lines: Sequence[Line]) -> dict[int, int]:
    """Return the attributions ("Sam wrote:"): the number of their lines by the index of the first line."""
    found = {}
    for place, line in enumerate(lines):
        end = line.text.rstrip("*_ \t")
        if line.readable and end[-1:] in (":", "：") and _WRITING.search(_last_two(lines, place, end)):
            sizes = range(min(_WRAPS, place + 1), 0, -1)
            size = next((size for size in sizes if _attributes(lines[place + 1 - size : place + 1])), 0)
            if size:
                found[place + 1 - size] = size
    return found


def _last_two(lines: Sequence[Line], place: int, end: str) -> str:
    """Return the end of a line and of the line before it; an attribution has its verb there."""
    before = lines[place - 1].text[-_LONGEST:].strip() if place else ""
    return f"{before} {end[-_LONGEST:].strip()}"


def _attributes(lines: Sequence[Line]) -> bool:
    """Return whether the lines together are an attribution: "On Mon, Sam", "wrote:"."""
    if any(line.blank or len(line.text) > _LONGEST or _QUOTED.match(line.text) for line in lines):
        return False
    text = " ".join(line.text.strip() for line in lines)
    if not _WRITING.search(text.rstrip("*_ ")) or any(line.text.rstrip()[-1] in ".!?。！？" for line in lines):
        return False
    words = [bare(word) for word in text.split()]
    if _DATED.search(lines[0].text):
        return True
    introduced = words[0] in _OPENINGS or (len(lines) == 1 and len(words) <= _SHORT)
    return introduced and not any(word in SUBJECTS for word in words)


def _goes_on(lines: Sequence[Line], place: int, size: int) -> bool:
    """Return whether the lines after an attribution belong to the quoted mail although they have no ">" marks."""
    if _QUOTED.match(lines[place].text):
        return False
    following = next((line.text for line in lines[place + size : place + size + 3] if not line.blank), "")
    return not _QUOTED.match(following)
