"""Imports: texts or whole memories in bulk, with progress.

An import is not atomic: what a progress message has settled stays stored when the stream breaks. Sending everything
again is harmless, since what is already there counts as unchanged.
"""

from __future__ import annotations

from collections.abc import (
    AsyncGenerator,
    AsyncIterable,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass
from typing import Any

import grpc

from recalld import structs, times
from recalld.arguments import conversation, known_keys, scope, stamp
from recalld.errors import RecalldError, from_rpc, from_status, invalid
from recalld.v1 import memory_pb2, memory_service_pb2
from recalld.v1.memory_service_pb2 import ImportItem

SCOPE_KEYS = ("user_id", "agent_id", "app_id", "run_id")
SHARED_KEYS = (*SCOPE_KEYS, "metadata", "categories", "expiration_date", "immutable")
TEXT_KEYS = ("text", "name", "role", "timestamp", *SHARED_KEYS)
MEMORY_KEYS = (
    *("id", "memory", "hash", "created_at", "updated_at", "revision", "input", "vector", "vector_model"),
    *("event_date", "speaker", "add_id", "feedback", "feedback_reason"),
    *SHARED_KEYS,
)
# A row of an export with history. Principal, sequence and what followed are not kept: the import has its own.
REVISION_KEYS = (*MEMORY_KEYS, "event", "cause", "principal", "sequence", "superseded")
Importable = Mapping[str, Any] | ImportItem


@dataclass(frozen=True, slots=True)
class ImportFailure:
    """An item that was not stored: its place among the items, from 0, and why. A memory's history is one item."""

    index: int
    error: RecalldError


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """Items up to and including `through_index` are settled. `failed` holds those new since the last progress."""

    through_index: int
    stored: int
    unchanged: int
    failed: tuple[ImportFailure, ...]
    consistency_token: str


def item(given: Importable, index: int) -> ImportItem:
    """A text: {"text", and optionally "name", "role", "timestamp"}; or a memory as `get` or an export has it.

    Both carry ids, and optionally metadata, categories, expiration_date and immutable; a memory may carry its `vector`
    and `vector_model`. ImportItem messages pass as they are. Raises InvalidRequest. (Rows with an "event": `history`.)
    """
    if isinstance(given, ImportItem):
        return given
    path = f"items[{index}]"
    if not isinstance(given, Mapping):
        raise invalid(path, "must be an object")
    if "text" in given:
        known_keys(given, TEXT_KEYS, path)
        return ImportItem(text=_text(given, path))
    known_keys(given, MEMORY_KEYS, path)
    return ImportItem(memory=_memory(given, path), vector=given.get("vector"), vector_model=given.get("vector_model"))


def history(rows: Sequence[Mapping[str, Any]], index: int) -> ImportItem:
    """One memory from its rows in an export with history, oldest first. Raises InvalidRequest."""
    made = ImportItem(vector_model=next((row["vector_model"] for row in rows if row.get("vector_model")), ""))
    for number, row in enumerate(rows):
        path = f"items[{index}].history[{number}]"
        known_keys(row, REVISION_KEYS, path)
        revision = made.history.revisions.add(memory=_memory(row, path), vector=row.get("vector"))
        try:
            revision.kind = memory_pb2.Kind.Value(f"KIND_{row['event']}")
            revision.cause = memory_pb2.Cause.Value(f"CAUSE_{str(row.get('cause') or 'unspecified').upper()}")
        except ValueError:
            raise invalid(path, "event or cause is unknown") from None
    return made


def _text(given: Mapping[str, Any], path: str) -> memory_service_pb2.ImportText:
    text = memory_service_pb2.ImportText(
        text=given["text"],
        name=given.get("name"),
        role=given.get("role"),
        scope=scope(*(given.get(name) for name in SCOPE_KEYS)),
    )
    stamp(text.message_time, given.get("timestamp"), times.moment, f"{path}.timestamp")
    _share(text, given, path)
    return text


def _memory(given: Mapping[str, Any], path: str) -> memory_pb2.Memory:
    memory = memory_pb2.Memory(
        id=given.get("id"),
        text=given.get("memory"),
        revision=given.get("revision"),
        sources=_sources(given.get("input") or (), f"{path}.input"),
        speaker=given.get("speaker"),
        add_id=given.get("add_id"),
        feedback=_feedback(given.get("feedback"), f"{path}.feedback"),
        feedback_reason=given.get("feedback_reason"),
    )
    owner = scope(*(given.get(name) for name in SCOPE_KEYS))
    for name in SCOPE_KEYS:
        setattr(memory, name, getattr(owner, name))
    stamp(memory.create_time, given.get("created_at"), times.moment, f"{path}.created_at")
    stamp(memory.event_time, given.get("event_date"), times.moment, f"{path}.event_date")
    stamp(memory.update_time, given.get("updated_at"), times.moment, f"{path}.updated_at")
    _share(memory, given, path)
    return memory


def _sources(given: Sequence[Mapping[str, Any]], path: str) -> list[memory_pb2.Message]:
    """Messages, each at its place in the conversation if it says one."""
    bare = [{key: value for key, value in each.items() if key != "position"} for each in given]
    messages = conversation(bare)
    for message, each in zip(messages, given, strict=True):
        position = each.get("position", 0)
        if not isinstance(position, int) or position < 0:
            raise invalid(path, "positions must be whole numbers from 0")
        message.position = position
    return messages


def _feedback(given: Any, path: str) -> memory_pb2.Feedback | None:
    if given is None:
        return None
    try:
        found: memory_pb2.Feedback = memory_pb2.Feedback.Value(f"FEEDBACK_{given}")
        return found
    except ValueError:
        raise invalid(path, "must be POSITIVE, NEGATIVE or VERY_NEGATIVE") from None


def _share(target: Any, given: Mapping[str, Any], path: str) -> None:
    if given.get("metadata"):
        structs.fill(target.metadata, given["metadata"], f"{path}.metadata")
    target.categories.extend(given.get("categories") or ())
    stamp(target.expire_time, given.get("expiration_date"), times.expiry, f"{path}.expiration_date")
    target.immutable = bool(given.get("immutable"))


class Feed:
    """The items as gRPC takes them. A bad one ends the feed, so what came before is settled, and becomes `problem`.

    Rows of a history come one after the other, as an export has them, and become one item.
    """

    def __init__(self, request_id: str) -> None:
        self.problem: Exception | None = None
        self._request_id = request_id
        self._count = 0  # items so far
        self._rows: list[Mapping[str, Any]] = []  # of the history under way

    def items(self, given: Iterable[Importable]) -> Iterator[ImportItem]:
        """Runs in a thread of gRPC, where an exception would only be logged."""
        try:
            for each in given:
                yield from self._complete(each)
            yield from self._complete(None)
        except Exception as error:  # noqa: BLE001  raised again where the caller reads progress
            self.problem = error

    async def items_async(self, given: Iterable[Importable] | AsyncIterable[Importable]) -> AsyncIterator[ImportItem]:
        """Runs in a task of gRPC, where an exception would only be logged."""
        try:
            if isinstance(given, AsyncIterable):
                async for each in given:
                    for made in self._complete(each):
                        yield made
            else:
                for each in given:
                    for made in self._complete(each):
                        yield made
            for made in self._complete(None):
                yield made
        except Exception as error:  # noqa: BLE001  raised again where the caller reads progress
            self.problem = error

    def _complete(self, given: Importable | None) -> Iterator[ImportItem]:
        """The items that are complete now that this comes; None: nothing comes any more."""
        row = given if isinstance(given, Mapping) and "event" in given else None
        if self._rows and (row is None or row.get("id") != self._rows[-1].get("id")):
            yield self._sent(history(self._rows, self._count))
            self._rows = []
        if row is not None:
            self._rows.append(row)
        elif given is not None:
            yield self._sent(item(given, self._count))

    def _sent(self, made: ImportItem) -> ImportItem:
        self._count += 1
        if self._count == 1 and not made.request_id:
            first = ImportItem(request_id=self._request_id)
            first.MergeFrom(made)
            return first
        return made


def run(open_call: Callable[[], Any], feed: Feed, correlation_id: str) -> Generator[ImportProgress, None, None]:
    """Yields progress until everything is settled. Raises a RecalldError, or what the caller's own items raised."""
    call = open_call()
    try:
        for answer in call:
            yield progress(answer)
    except grpc.RpcError as error:
        raise from_rpc(error, correlation_id) from error
    finally:
        call.cancel()
    if feed.problem:
        raise feed.problem


async def run_async(
    open_call: Callable[[], Any], feed: Feed, correlation_id: str
) -> AsyncGenerator[ImportProgress, None]:
    """As `run`."""
    call = open_call()
    try:
        async for answer in call:
            yield progress(answer)
    except grpc.RpcError as error:
        raise from_rpc(error, correlation_id) from error
    finally:
        call.cancel()
    if feed.problem:
        raise feed.problem


def progress(answer: memory_service_pb2.ImportProgress) -> ImportProgress:
    """One progress message."""
    failed = tuple(ImportFailure(each.index, from_status(each.status)) for each in answer.failed)
    return ImportProgress(answer.through_index, answer.stored, answer.unchanged, failed, answer.consistency_token)
