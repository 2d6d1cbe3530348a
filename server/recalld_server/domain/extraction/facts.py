"""The request and the result of an extractor: facts, and a verdict for each message."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from recalld_server.domain.extraction.redaction import Span
from recalld_server.domain.memory import Message, Scope

# A memory text has at most 16 KiB, and a code point takes at most four bytes in UTF-8.
MAX_FACT_CHARACTERS = 4_000


class VerdictReason(str, Enum):
    """The verdict on one message: STORED if it yielded facts, otherwise the reason why not."""

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
    """One conversation to extract facts from.

    `includes` and `excludes` name topics in free text. `custom_categories` are (name, description) pairs; if there are
    any, they replace the built-in list. `custom_instructions` are for language models; the rules ignore them.
    `language` is the name of a Snowball stemmer.
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
    """One short statement that can be understood alone; never empty.

    `sources` are indices of messages of the request: first the message that the fact belongs to, then the other ones it
    was extracted from. `speaker` is the author, from the message or a label in it; `named` is True if that is a name
    and not a role. `event_time` is in µs UTC, None if the text has no date.
    """

    text: str
    sources: tuple[int, ...]
    speaker: str
    named: bool
    categories: tuple[str, ...] = ()
    event_time: int | None = None


@dataclass(frozen=True, slots=True)
class Extraction:
    """The facts in message order, and one verdict for each message of the request.

    `excluded` are the parts of the messages that `includes` and `excludes` forbid to store. `details` explains, by
    message index, which parts of a message yielded no facts and why.
    """

    facts: tuple[Fact, ...]
    verdicts: tuple[VerdictReason, ...]
    excluded: tuple[Span, ...] = ()
    details: Mapping[int, str] = field(default_factory=dict)
