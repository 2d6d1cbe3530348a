"""The nouns of recalld: memories, the scopes they belong to and the messages they were taken from.

Times are integer microseconds since the Unix epoch, UTC. Absent ids are empty strings.
"""

from __future__ import annotations

import hashlib
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from recalld_server.domain.limits import SOURCE_BYTES, SOURCES

SCOPE_FIELDS = ("user_id", "agent_id", "app_id", "run_id")


class Kind(str, Enum):
    """What a revision did to its memory."""

    ADDED = "ADDED"
    UPDATED = "UPDATED"
    DELETED = "DELETED"
    RESTORED = "RESTORED"
    FORGOTTEN = "FORGOTTEN"


class Cause(str, Enum):
    """Why a memory was deleted. NONE on every other kind of revision."""

    NONE = ""
    CALLER = "caller"
    INSTRUCTION = "instruction"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Scope:
    """Whom a memory is about. Any subset of the four ids; equality is exact, by code point."""

    user_id: str = ""
    agent_id: str = ""
    app_id: str = ""
    run_id: str = ""

    def items(self) -> tuple[tuple[str, str], ...]:
        """The ids that are set, as (field, id), in the order of SCOPE_FIELDS."""
        return tuple((name, value) for name in SCOPE_FIELDS if (value := getattr(self, name)))

    def __bool__(self) -> bool:
        return bool(self.user_id or self.agent_id or self.app_id or self.run_id)

    def admits(self, other: Scope) -> bool:
        """True when `other` carries every id this scope names."""
        return all(getattr(other, name) == value for name, value in self.items())

    def narrowed(self, by: Scope) -> Scope | None:
        """This scope and `by` together; None when they contradict each other, so nothing can match."""
        merged = {}
        for name in SCOPE_FIELDS:
            mine, theirs = getattr(self, name), getattr(by, name)
            if mine and theirs and mine != theirs:
                return None
            merged[name] = mine or theirs
        return Scope(**merged)

    def key(self) -> str:
        """A fixed-length key of the whole scope, 32 hexadecimal digits."""
        return digest(self.user_id, self.agent_id, self.app_id, self.run_id)


@dataclass(frozen=True, slots=True)
class Access:
    """What a caller may touch: one project and, with a pinned key, one scope inside it."""

    project: str
    pin: Scope = Scope()
    principal: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an add. `position` is its place in the conversation, set by the commit."""

    role: str
    content: str
    name: str = ""
    time: int | None = None
    position: int = 0

    @property
    def speaker(self) -> str:
        """Who said it: the name when one was given, else the role."""
        return self.name or self.role


@dataclass(frozen=True, slots=True)
class Memory:
    """One remembered statement at one revision."""

    id: str
    text: str
    scope: Scope
    metadata: Mapping[str, Any] = field(default_factory=dict)
    categories: tuple[str, ...] = ()
    create_time: int | None = None  # None, as update_time: the commit sets it
    update_time: int | None = None
    expire_time: int | None = None
    event_time: int | None = None
    revision: int = 0
    text_revision: int = 0
    speaker: str = ""
    named: bool = False
    add_id: str = ""
    source_positions: tuple[int, ...] = ()
    sources: tuple[Message, ...] = ()
    conversation: str = ""
    position: int = 0
    ordinal: int = 0
    said_time: int | None = None
    immutable: bool = False
    feedback: str = ""
    feedback_reason: str = ""
    # Those of `categories` that a caller gave; the others were derived from the text. None: not known.
    given_categories: tuple[str, ...] | None = None

    @property
    def etag(self) -> str:
        """Opaque and different for each revision (AIP-154)."""
        return digest(self.id, str(self.revision))[:16]

    @property
    def forgotten(self) -> bool:
        """Whether the content was erased for good: no other memory has an empty text."""
        return not self.text

    @property
    def date(self) -> int:
        """When it happened, else when it was said, else when it was stored. 0 if it is not stored yet."""
        return next((time for time in (self.event_time, self.said_time, self.create_time) if time is not None), 0)

    @property
    def spoken(self) -> str:
        """The text as it is embedded: led by the speaker's name when one was given."""
        return spoken(self.text, self.speaker, self.named)

    @property
    def text_key(self) -> str:
        """Equal for two memories that say the same; see `text_key`."""
        return text_key(self.text, self.speaker, self.said_time)

    def live_at(self, now: int) -> bool:
        """False from the moment the memory expires."""
        return self.expire_time is None or self.expire_time > now


def kept_sources(sources: Sequence[Message]) -> tuple[Message, ...]:
    """The messages that a memory is shown, exported and imported with: the first, and as many after it as fit."""
    kept = sources[:SOURCES]
    room = SOURCE_BYTES
    for place, message in enumerate(kept):
        room -= len(message.content.encode())
        if room < 0 and place:
            return tuple(kept[:place])
    return tuple(kept)


def spoken(text: str, speaker: str, named: bool) -> str:
    """A text led by the name of who said it, if that was given."""
    return f"{speaker}: {text}" if named else text


def fold(text: str) -> str:
    """Text for comparison without regard to case: NFKC, case folded, NFKC again (Unicode 3.13, D147)."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())


def text_key(text: str, speaker: str, said_time: int | None) -> str:
    """The identity of a text in its scope: equal texts of one speaker without a time, or of the same time, are one.

    Texts are equal character by character, after NFC and without outer white space: case, width, indentation and line
    ends may be what a text is about. What was said at two times was said twice.
    """
    said = "" if said_time is None else str(said_time)
    return digest(unicodedata.normalize("NFC", text).strip(), speaker, said)


def conversation_key(scope: Scope, add_id: str) -> str:
    """One conversation for each scope with a run; without a run every add is its own."""
    return scope.key() if scope.run_id else digest("add", add_id)


def digest(*parts: str) -> str:
    """128-bit BLAKE2b of the parts, each led by its length, as 32 hexadecimal digits."""
    h = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode()
        h.update(len(data).to_bytes(8, "big"))
        h.update(data)
    return h.hexdigest()
