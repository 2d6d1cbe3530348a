"""The errors of the service: invalid requests, conflicts with stored state, and failures of what it depends on.

The docstring of an error class is its default message, and callers see it: keep it to one line. `metadata` is sent as
ErrorInfo.metadata and `violations` as BadRequest field violations. `rpc/render/errors.py` maps these classes to gRPC
codes and reasons.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self


class RecalldError(Exception):
    """The request cannot be served."""

    lasting = False  # True if only an operator can fix it: the status then carries no RetryInfo

    def __init__(self, message: str = "", /, *, violations: Sequence[tuple[str, str]] = (), **metadata: object) -> None:
        self.message = message or (type(self).__doc__ or "").strip()
        self.violations = tuple(violations)
        self.metadata = {key: str(value) for key, value in metadata.items()}
        super().__init__(self.message)


# Invalid requests


class FieldInvalid(RecalldError):
    """The request has an invalid field."""

    @classmethod
    def at(cls, field: str, text: str, **metadata: object) -> Self:
        """Make the error for one field. `text` states the rule the value breaks, for example `must not be empty`."""
        return cls(f"{field}: {text}.", violations=[(field, text)], field=field, **metadata)


class FilterInvalid(FieldInvalid):
    """The filter uses an unknown field or operator, or a value that the field does not accept."""


class ScopeMissing(FieldInvalid):
    """The request needs at least one of user_id, agent_id, app_id and run_id."""


class QueryEmpty(FieldInvalid):
    """The query is empty."""


class TextInvalid(FieldInvalid):
    """Text must not contain NUL characters or lone surrogates."""


class LimitExceeded(FieldInvalid):
    """The request exceeds a limit."""


class VectorInvalid(FieldInvalid):
    """A vector must have the dimension of the model, only finite numbers, and at least one that is not zero."""


class RequestMalformed(RecalldError):
    """The request body cannot be decoded as the request message of this RPC."""


class TokenInvalid(RecalldError):
    """The token was not issued by this service, or was issued for another call or other arguments."""


class PageTokenInvalid(TokenInvalid):
    """The page token was not issued by this service for this call, these arguments and this caller."""


class ResumeTokenInvalid(TokenInvalid):
    """The resume token was not issued by this service for this call, these arguments and this caller."""


class ConsistencyTokenInvalid(TokenInvalid):
    """The consistency token was not issued by this service for this project."""


class ConsistencyTokenForeign(RecalldError):
    """The consistency token belongs to another ledger or project, or is ahead of this one; read without it."""


class RequestIdReused(RecalldError):
    """The request id was already used for a different request; choose a new one."""


# Conflicts with stored state


class MemoryNotFound(RecalldError):
    """Memory not found."""


class RevisionNotFound(RecalldError):
    """The memory has no such revision."""


class EntityNotFound(RecalldError):
    """Entity not found."""


class ProjectNotFound(RecalldError):
    """Project not found."""


class ProjectExists(RecalldError):
    """A project with this id already exists."""


class KeyNotFound(RecalldError):
    """API key not found."""


class OperationNotFound(RecalldError):
    """Operation not found."""


class ExportNotFound(RecalldError):
    """Export not found, or not finished yet."""


class ExportWithdrawn(RecalldError):
    """The export was withdrawn because one of its memories was forgotten; start a new export."""


class MemoryImmutable(RecalldError):
    """The memory is immutable: it can be deleted but not changed."""


class MemoryNotDeleted(RecalldError):
    """The memory is neither deleted nor expired; name the revision to restore."""


class MemoryExists(RecalldError):
    """A memory with this id already exists and has different content."""


class EtagMismatch(RecalldError):
    """The memory has changed since its etag was read."""


class CountMismatch(RecalldError):
    """The number of matching memories differs from expected_count; nothing was deleted."""


class WriteConflict(RecalldError):
    """Other writers kept changing the same memories; try again."""


class HistoryTrimmed(RecalldError):
    """The requested history has been trimmed; `oldest_sequence` in the metadata is the oldest that is kept."""


class WatchTooSlow(RecalldError):
    """The reader of this watch is too slow; open it again with the resume token."""


class AsOfFuture(RecalldError):
    """The requested moment is in the future or beyond the newest sequence number of the ledger."""


class AsOfNeedsScope(RecalldError):
    """A search as of an earlier moment needs a user_id, agent_id, app_id or run_id."""


class AsOfTooWide(RecalldError):
    """A search as of an earlier moment can rank at most 10,000 memories; narrow its scope or its filter."""


# Conflicts that a commit detects: use cases handle these by deciding the change again


class RevisionConflict(RecalldError):
    """A memory is not at the revision that this change expects."""

    def __init__(self, memory_ids: Sequence[str]) -> None:
        super().__init__(memory_ids=",".join(memory_ids))
        self.memory_ids = tuple(memory_ids)


class DuplicateText(RecalldError):
    """A live memory of the same scope has the same text."""

    def __init__(self, memory_ids: Sequence[str]) -> None:
        super().__init__(memory_ids=",".join(memory_ids))
        self.memory_ids = tuple(memory_ids)


class GenerationMoved(RecalldError):
    """The project was switched to another index generation during the call."""


class FeaturesMissing(RecalldError):
    """Live memories have no terms and no vector, so they cannot be indexed."""

    def __init__(self, memory_ids: Sequence[str]) -> None:
        super().__init__()
        self.memory_ids = tuple(memory_ids)


class LeaseLost(RecalldError):
    """The lease on this operation was lost: another worker has it, or the operation has ended."""


class OutcomeTaken(RecalldError):
    """Another call has already stored its outcome under this request id."""


# Authentication and authorisation


class KeyMissing(RecalldError):
    """This server requires an API key; send it as `authorization: Bearer <key>`."""


class KeyInvalid(RecalldError):
    """The API key is not valid."""


class KeyExpired(RecalldError):
    """The API key has expired."""


class KeyRevoked(RecalldError):
    """The API key has been revoked."""


class OriginRefused(RecalldError):
    """Until an API key has been created, this server accepts calls only from its own machine."""


class RoleInsufficient(RecalldError):
    """The role of the API key does not allow this call."""


# Limits of load


class TooMuch(RecalldError):
    """A limit of load was reached; try again later."""

    # `subject` names what reached the limit (a key, a project, a class of calls) and is sent in the QuotaFailure.
    def __init__(self, message: str = "", /, *, subject: str = "", **metadata: object) -> None:
        super().__init__(message)
        self.metadata = {key: str(value) for key, value in metadata.items()}
        self.subject = subject


class Overloaded(TooMuch):
    """The server has more calls of this kind than it can answer in time; try again later."""


class RateLimited(TooMuch):
    """The API key has exceeded its rate limit; try again later."""


class StreamLimit(TooMuch):
    """The API key has reached its limit of open streams; close one first."""


class ReadTooCostly(RecalldError):
    """The request exceeded the time limit of a read; narrow its scope or its filter."""


# Failures of the stores and models that the service depends on


class IndexBehind(RecalldError):
    """The index did not reach the requested state in time; try again shortly."""


class IndexUnavailable(RecalldError):
    """The search index cannot be reached; try again shortly."""


class IndexLost(IndexBehind):
    """The index of the project was lost and is being rebuilt; try again shortly."""


class EntryInvalid(RecalldError):
    """The index cannot store the entry of a memory."""

    @classmethod
    def dimension(cls, memory_id: str, shape: tuple[int, ...], dimension: int) -> EntryInvalid:
        """Make the error for a vector of the wrong dimension."""
        found = " x ".join(map(str, shape))
        return cls(
            f"The vector of a memory has {found} dimensions, but its index has {dimension}.", memory_id=memory_id
        )


class LedgerUnavailable(RecalldError):
    """The ledger cannot be reached; try again shortly."""


class EmbedderUnavailable(RecalldError):
    """The embedding model cannot be reached; try again shortly."""


class ExtractorFailed(RecalldError):
    """The extractor returned no usable answer; nothing was stored."""


class NotYetAvailable(RecalldError):
    """The API defines this call, but this version of the service does not implement it yet."""


class SettingMissing(RecalldError):
    """A required setting is missing or wrong."""
