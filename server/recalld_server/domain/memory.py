"""The core types: memories, their scopes, and the messages they were extracted from.

Times are integer microseconds since the Unix epoch, UTC. An id that is not set is an empty string.
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
    """The kind of change that a revision made to its memory."""

    ADDED = "ADDED"
    UPDATED = "UPDATED"
    DELETED = "DELETED"
    RESTORED = "RESTORED"
    FORGOTTEN = "FORGOTTEN"


class Cause(str, Enum):
    """Why a memory was deleted; NONE for all other kinds of revision."""

    NONE = ""
    CALLER = "caller"
    INSTRUCTION = "instruction"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Scope:
    """The user, agent, app and run of a memory, of which any may be unset. Ids compare by code point."""

    user_id: str = ""
    agent_id: str = ""
    app_id: str = ""
    run_id: str = ""

    def items(self) -> tuple[tuple[str, str], ...]:
        """Return the set ids as (field, id), in the order of SCOPE_FIELDS."""
        return tuple((name, value) for name in SCOPE_FIELDS if (value := getattr(self, name)))

    def __bool__(self) -> bool:
        return bool(self.user_id or self.agent_id or self.app_id or self.run_id)

    def admits(self, other: Scope) -> bool:
        """Return whether `other` has every id that is set in this scope."""
        return all(getattr(other, name) == value for name, value in self.items())

    def narrowed(self, by: Scope) -> Scope | None:
        """Return the intersection with the scope `by`; None if they contradict each other and nothing can match."""
        merged = {}
        for name in SCOPE_FIELDS:
            mine, theirs = getattr(self, name), getattr(by, name)
            if mine and theirs and mine != theirs:
                return None
            merged[name] = mine or theirs
        return Scope(**merged)

    def key(self) -> str:
        """Return a digest of the whole scope, 32 hexadecimal digits."""
        return digest(self.user_id, self.agent_id, self.app_id, self.run_id)


@dataclass(frozen=True, slots=True)
class Access:
    """The data a caller may access: a project and, with a pinned key, a scope in it. `principal` is the key id."""

    project: str
    pin: Scope = Scope()
    principal: str = ""


@dataclass(frozen=True, slots=True)
class Message:
    """One message of an add. `time` is in µs; `position` is its index in the conversation, set by the commit."""

    role: str
    content: str
    name: str = ""
    time: int | None = None
    position: int = 0

    @property
    def speaker(self) -> str:
        """The name of the author, or the role if the message has no name."""
        return self.name or self.role


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory at one revision."""

    id: str
    text: str
    scope: Scope
    metadata: Mapping[str, Any] = field(default_factory=dict)
    categories: tuple[str, ...] = ()
    create_time: int | None = None  # this and update_time are None until the commit sets them
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
    # The categories given by a caller; the rest of `categories` was derived from the text. None: unknown, because the
    # memory was stored by a version that did not record it.
    given_categories: tuple[str, ...] | None = None

    @property
    def etag(self) -> str:
        """The opaque etag of this revision (AIP-154)."""
        return digest(self.id, str(self.revision))[:16]

    @property
    def forgotten(self) -> bool:
        """Whether the memory was forgotten; only forgotten memories have an empty text."""
        return not self.text

    @property
    def date(self) -> int:
        """The event time, else the time of the message, else the create time; 0 if it has none of them yet."""
        return next((time for time in (self.event_time, self.said_time, self.create_time) if time is not None), 0)

    @property
    def spoken(self) -> str:
        """The text to embed: with the name of the speaker in front if the message has a name."""
        return spoken(self.text, self.speaker, self.named)

    @property
    def text_key(self) -> str:
        """The identity of the text in the scope; see the function `text_key`."""
        return text_key(self.text, self.speaker, self.said_time)

    def live_at(self, now: int) -> bool:
        """Return whether the memory has not expired at `now`."""
        return self.expire_time is None or self.expire_time > now


def kept_sources(sources: Sequence[Message]) -> tuple[Message, ...]:
    """Return the messages that a memory is returned, exported and imported with.

    These are the first message and as many following ones as SOURCES and SOURCE_BYTES allow.
    """
    kept = sources[:SOURCES]
    room = SOURCE_BYTES
    for place, message in enumerate(kept):
        room -= len(message.content.encode())
        if room < 0 and place:
            return tuple(kept[:place])
    return tuple(kept)


def spoken(text: str, speaker: str, named: bool) -> str:
    """Return the text, with the speaker in front if `named`."""
    return f"{speaker}: {text}" if named else text


def text_key(text: str, speaker: str, said_time: int | None) -> str:
    """Return the identity of a text in its scope; two memories with equal keys are exact repeats.

    The key covers the text, the speaker and the time of the message: the same text at two times is two memories. Texts
    compare character by character, after NFC and without outer white space, because case, width, indentation and line
    ends may be significant.
    """
    said = "" if said_time is None else str(said_time)
    return digest(unicodedata.normalize("NFC", text).strip(), speaker, said)


def conversation_key(scope: Scope, add_id: str) -> str:
    """Return the key of the conversation: one per scope if it has a run_id, otherwise one per add."""
    return scope.key() if scope.run_id else digest("add", add_id)


def digest(*parts: str) -> str:
    """Return the 128-bit BLAKE2b hash of the length-prefixed parts, as 32 hexadecimal digits."""
    h = hashlib.blake2b(digest_size=16)
    for part in parts:
        data = part.encode()
        h.update(len(data).to_bytes(8, "big"))
        h.update(data)
    return h.hexdigest()
