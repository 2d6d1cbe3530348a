"""What an extractor is asked and what it answers: statements worth remembering, and what became of each message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from recalld_server.domain.extraction.redaction import Span
from recalld_server.domain.memory import Message, Scope

# A memory holds at most 16 KiB of text and a code point takes at most four bytes in UTF-8.
MAX_FACT_CHARACTERS = 4_000


class VerdictReason(str, Enum):
    """What became of one message: STORED when it gave facts, else why it gave none."""

    STORED = "STORED"
    REPEATED = "REPEATED"
    QUESTION = "QUESTION"
    GREETING = "GREETING"
    REQUEST = "REQUEST"
    ACKNOWLEDGEMENT = "ACKNOWLEDGEMENT"
    ROLE_NOT_REMEMBERED = "ROLE_NOT_REMEMBERED"
    EMPTY = "EMPTY"
    EXCLUDED = "EXCLUDED"
    QUOTED = "QUOTED"
    GIVEN_TEXT = "GIVEN_TEXT"
    NO_FACT = "NO_FACT"


@dataclass(frozen=True, slots=True)
class ExtractRequest:
    """One conversation to read.

    `includes` and `excludes` are free text naming topics. `custom_categories` are (name, description) pairs that
    replace the built-in list when there are any. `custom_instructions` are for language models; rules cannot follow
    them. `language` names a Snowball stemmer.
    """

    messages: tuple[Message, ...]
    scope: Scope
    includes: str = ""
    excludes: str = ""
    custom_categories: tuple[tuple[str, str], ...] = ()
    custom_instructions: str = ""
    language: str = "english"


@dataclass(frozen=True, slots=True)
class Fact:
    """One short statement, understandable on its own; never empty.

    `sources` are indices into the request's messages: first the message the fact belongs to, then the others it was
    read from. `speaker` is who said it, as the message or a label in it tells; `named` says that this is a name.
    `event_time` is when it happened (microseconds UTC), if the text tells.
    """

    text: str
    sources: tuple[int, ...]
    speaker: str
    named: bool
    categories: tuple[str, ...] = ()
    event_time: int | None = None


@dataclass(frozen=True, slots=True)
class Extraction:
    """Facts in the order they were said, and one verdict for each message of the request.

    `excluded` are the parts of its messages that must not be stored: `includes` and `excludes` rule them out.
    `details` says in words, by the place of a message, what of it was kept out and why.
    """

    facts: tuple[Fact, ...]
    verdicts: tuple[VerdictReason, ...]
    excluded: tuple[Span, ...] = ()
    details: Mapping[int, str] = field(default_factory=dict)
