"""Extraction with infer = false: each message becomes one fact with its unchanged text."""

from __future__ import annotations

from collections.abc import Sequence

from recalld_server.domain.errors import LimitExceeded
from recalld_server.domain.extraction.answer_resolution import last_question
from recalld_server.domain.extraction.categories import analyser_for
from recalld_server.domain.extraction.derivation import Derivation
from recalld_server.domain.extraction.event_times import event_time
from recalld_server.domain.extraction.facts import Extraction, ExtractRequest, Fact, VerdictReason
from recalld_server.domain.extraction.redaction import Span
from recalld_server.domain.extraction.selection import Selection, whole
from recalld_server.domain.extraction.sentences import sentences
from recalld_server.domain.limits import TEXT_BYTES
from recalld_server.domain.memory import Message
from recalld_server.domain.steps import Steps


def verbatim(request: ExtractRequest) -> Steps[Extraction]:
    """Return one fact per message with its unchanged text; `includes` and `excludes` apply to whole messages.

    System messages are instructions to the model and yield no facts. Raises LimitExceeded if a message is longer than
    the text of a memory may be.
    """
    messages = request.messages
    _check(messages)
    analyser = analyser_for(request.language)
    selection = Selection(request.includes, request.excludes, analyser)
    derivation = Derivation(request.custom_categories, request.language)
    yield from selection.prepare()
    yield from derivation.prepare()
    facts, verdicts, excluded = [], [], []
    for place, message in enumerate(messages):
        yield
        content = message.content
        kept = not selection or not content.strip() or (yield from _kept(selection, derivation, messages, place))
        if not kept:
            excluded.append(Span(place, 0, len(content)))
        if message.role == "system":
            verdicts.append(VerdictReason.ROLE_NOT_REMEMBERED)
        elif not content.strip():
            verdicts.append(VerdictReason.EMPTY)
        elif not kept:
            verdicts.append(VerdictReason.EXCLUDED)
        else:
            verdicts.append(VerdictReason.STORED)
            when, categories = event_time(content, message.time), derivation.categories(content)
            facts.append(Fact(content, (place,), message.speaker, bool(message.name), categories, when))
    return Extraction(tuple(facts), tuple(verdicts), tuple(excluded))


def _check(messages: Sequence[Message]) -> None:
    for i, message in enumerate(messages):
        size = len(message.content.encode())
        if size > TEXT_BYTES and message.role != "system" and message.content.strip():
            raise LimitExceeded(
                f"messages[{i}].content exceeds the {TEXT_BYTES} bytes of one memory; set infer to true or split it.",
                violations=[(f"messages[{i}].content", f"must be at most {TEXT_BYTES} bytes if infer is false")],
                field=f"messages[{i}].content",
                limit=TEXT_BYTES,
                actual=size,
            )


def _kept(selection: Selection, derivation: Derivation, messages: Sequence[Message], place: int) -> Steps[bool]:
    """Return whether a message may be kept. A single sentence that answers an excluded question may not."""
    content = messages[place].content
    categories = derivation.categories(content)
    if (yield from selection.excludes(content, categories)) or not (yield from selection.includes(content, categories)):
        return False
    before = messages[place - 1] if place else None
    if before is None or before.speaker == messages[place].speaker or len(list(sentences(content))) > 1:
        return True
    question = last_question(list(sentences(before.content)))
    return question is None or not (yield from selection.excludes(whole(question)))
