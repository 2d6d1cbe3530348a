"""Everything that can go wrong by the caller's or the surroundings' doing.

Each error is a noun whose docstring is its message. `metadata` goes to the caller as ErrorInfo.metadata, `violations`
as BadRequest field violations. `rpc/errors.py` holds the one table from these types to gRPC codes and reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class RecalldError(Exception):
    """The request can't be served."""

    lasting = False  # until an operator has done something: callers are not told to try again

    def __init__(self, message: str = "", /, *, violations: Sequence[tuple[str, str]] = (), **metadata: object) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.violations = tuple(violations)
        self.metadata = {key: str(value) for key, value in metadata.items()}
        super().__init__(self.message)


# What the caller sent


class FieldInvalid(RecalldError):
    """A field of the request is not as it must be."""

    @classmethod
    def at(cls, field: str, text: str, **metadata: object) -> Self:
        """The error of one field; `text` says what it must be, as in `must not be empty`."""
        return cls(f"{field}: {text}.", violations=[(field, text)], field=field, **metadata)


class FilterInvalid(FieldInvalid):
    """The filter names a field, operator or value that does not exist or does not fit."""


class ScopeMissing(FieldInvalid):
    """At least one of user_id, agent_id, app_id and run_id is needed."""


class QueryEmpty(FieldInvalid):
    """The query is empty."""


class TextInvalid(FieldInvalid):
    """Text may hold neither NUL nor lone surrogates."""


class LimitExceeded(FieldInvalid):
    """The request goes beyond a limit."""


class VectorInvalid(FieldInvalid):
    """A vector must have the model's dimension, finite numbers and a length above zero."""


class RequestMalformed(RecalldError):
    """The bytes are not a message of this call."""


class TokenInvalid(RecalldError):
    """The token was not given by this service, or not for this call and these arguments."""


class PageTokenInvalid(TokenInvalid):
    """The page token was not given by this service for this call, these arguments and this caller."""


class ResumeTokenInvalid(TokenInvalid):
    """The resume token was not given by this service for this call, these arguments and this caller."""


class ConsistencyTokenInvalid(TokenInvalid):
    """The consistency token was not given by this service for this project."""


class ConsistencyTokenForeign(RecalldError):
    """The consistency token names a state that this ledger has never reached."""


class RequestIdReused(RecalldError):
    """The request id was used before with another request."""


# What the ledger holds


class MemoryNotFound(RecalldError):
    """There is no such memory here."""


class RevisionNotFound(RecalldError):
    """The memory has no such revision."""


class EntityNotFound(RecalldError):
    """There is no such entity here."""


class ProjectNotFound(RecalldError):
    """There is no such project."""


class ProjectExists(RecalldError):
    """The project id is taken."""


class KeyNotFound(RecalldError):
    """There is no such API key here."""


class OperationNotFound(RecalldError):
    """There is no such operation here."""


class ExportNotFound(RecalldError):
    """There is no such export here, or it is not finished."""


class ExportWithdrawn(RecalldError):
    """The export held a memory that has been forgotten since."""


class MemoryImmutable(RecalldError):
    """The memory was stored as immutable: it can be deleted, not changed."""


class MemoryNotDeleted(RecalldError):
    """The memory is not deleted; name the revision that shall come back."""


class MemoryExists(RecalldError):
    """A memory with this id exists already with other content."""


class EtagMismatch(RecalldError):
    """The memory has changed since its etag was read."""


class CountMismatch(RecalldError):
    """The number of matching memories is not the expected one; nothing was deleted."""


class WriteConflict(RecalldError):
    """Other writers changed the same memories again and again; try once more."""


class HistoryTrimmed(RecalldError):
    """The history asked for has been trimmed."""


class WatchTooSlow(RecalldError):
    """The reader of this watch fell too far behind; resume with the token."""


class AsOfFuture(RecalldError):
    """The moment asked for lies ahead of the ledger."""


class AsOfNeedsScope(RecalldError):
    """A search as of an earlier moment needs a user, agent, app or run."""


class AsOfTooWide(RecalldError):
    """A search as of an earlier moment ranks at most 10,000 memories."""


# Guards of a commit: use cases answer these by deciding again


class RevisionConflict(RecalldError):
    """A memory is not at the revision this change expects."""

    def __init__(self, memory_ids: Sequence[str]) -> None:
        super().__init__(memory_ids=",".join(memory_ids))
        self.memory_ids = tuple(memory_ids)


class DuplicateText(RecalldError):
    """A live memory of the same scope has the same text."""

    def __init__(self, memory_ids: Sequence[str]) -> None:
        super().__init__(memory_ids=",".join(memory_ids))
        self.memory_ids = tuple(memory_ids)


class GenerationMoved(RecalldError):
    """The index was switched to another generation meanwhile."""


class FeaturesMissing(RecalldError):
    """Live memories have no terms and no vector, so no index can find them."""

    def __init__(self, memory_ids: Sequence[str]) -> None:
        super().__init__()
        self.memory_ids = tuple(memory_ids)


class LeaseLost(RecalldError):
    """Another worker has taken this work, or it has ended."""


class OutcomeTaken(RecalldError):
    """Another call stored its outcome under this request id first."""


# Who is asking


class KeyMissing(RecalldError):
    """This server needs an API key."""


class KeyInvalid(RecalldError):
    """The API key is not valid."""


class KeyExpired(RecalldError):
    """The API key has expired."""


class KeyRevoked(RecalldError):
    """The API key was revoked."""


class OriginRefused(RecalldError):
    """Without API keys this server answers its own machine only."""


class RoleInsufficient(RecalldError):
    """The key's role does not allow this call."""


# How much is asked


class TooMuch(RecalldError):
    """More is asked than is given; try again later. `subject` says of whom: the server, a class of calls or a key."""

    def __init__(self, message: str = "", /, *, subject: str = "", **metadata: object) -> None:
        super().__init__(message)
        self.metadata = {key: str(value) for key, value in metadata.items()}
        self.subject = subject


class Overloaded(TooMuch):
    """The server has more calls of this kind than it can answer in time; try again later."""


class RateLimited(TooMuch):
    """The key has made too many calls in too short a time; try again later."""


class StreamLimit(TooMuch):
    """The key has as many streams open as it may; end one first."""


class ReadTooCostly(RecalldError):
    """The request takes more time than a read may; narrow its scope or its filter."""


# The surroundings


class IndexBehind(RecalldError):
    """The index has not reached the asked-for state in time; try again shortly."""


class IndexUnavailable(RecalldError):
    """The search index can't be reached; try again shortly."""


class IndexLost(IndexBehind):
    """The index of the project was lost and is being made anew; try again shortly."""


class EntryInvalid(RecalldError):
    """The index can't take the entry of a memory."""

    @classmethod
    def dimension(cls, memory_id: str, shape: tuple[int, ...], dimension: int) -> EntryInvalid:
        """For a vector that is not of the index's dimension."""
        found = " x ".join(map(str, shape))
        return cls(f"The vector of a memory has {found} dimensions, its index {dimension}.", memory_id=memory_id)


class LedgerUnavailable(RecalldError):
    """The ledger can't be reached; try again shortly."""


class EmbedderUnavailable(RecalldError):
    """The embedding model can't be reached; try again shortly."""


class ExtractorFailed(RecalldError):
    """The extractor gave no usable answer; nothing was stored."""


class NotYetAvailable(RecalldError):
    """This call is part of the API but not of this version of the service."""


class SettingMissing(RecalldError):
    """The configuration lacks something the ledger needs."""
