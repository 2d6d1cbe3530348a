"""Convert requests, which must have passed `validate.check`, to the commands of the use cases."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.domain.commands import AddCommand
from recalld_server.domain.filters import Filter
from recalld_server.domain.memory import Cause, Kind, Memory, Message, Scope, kept_sources
from recalld_server.domain.revision import EventQuery, ListQuery, RequestKey
from recalld_server.domain.steps import Steps
from recalld_server.domain.vectors import FloatVector
from recalld_server.rpc.parse.checks import UPDATABLE
from recalld_server.rpc.render import memory_protos, paging
from recalld_server.usecases.forgetting import ForgetCommand
from recalld_server.usecases.history_import import ImportedHistory, ImportedRevision
from recalld_server.usecases.imports import ImportedMemory, ImportedText, ImportItem
from recalld_server.usecases.memories import Deletion, Update
from recalld_server.usecases.queries import AsOf
from recalld_server.usecases.watch import WatchQuery


def add_command(request: pb.AddRequest, key: RequestKey | None) -> AddCommand:
    """Convert an AddRequest. Its `text` becomes a single message of role `user`."""
    messages = [memory_protos.message_of(message) for message in request.messages]
    return AddCommand(
        scope=memory_protos.scope_of(request.scope),
        messages=messages or [Message("user", request.text)],
        metadata=memory_protos.metadata_of(request.metadata),
        infer=request.infer if request.HasField("infer") else True,
        includes=request.includes,
        excludes=request.excludes,
        custom_categories=tuple((category.name, category.description) for category in request.custom_categories),
        custom_instructions=request.custom_instructions,
        categories=_distinct(request.categories),
        expire_time=moment(request, "expire_time"),
        timestamp=moment(request, "timestamp"),
        immutable=request.immutable,
        dry_run=request.dry_run,
        request=key,
    )


def update_of(memory: memory_pb2.Memory, mask: Any, etag: str, at: str = "") -> Update:
    """The new values of the fields in the mask, or of the fields that are set if the mask is empty (AIP-134).

    `at` is the path of this update in the request, for errors.
    """
    paths = list(mask.paths)
    if paths == ["*"]:
        paths = list(UPDATABLE)
    elif not paths:
        set_fields = {field.name for field, _ in memory.ListFields()}
        paths = [name for name in UPDATABLE if name in set_fields]
    values: dict[str, Any] = {
        "text": memory.text,
        "metadata": memory_protos.metadata_of(memory.metadata),
        "categories": _distinct(memory.categories),
        "expire_time": moment(memory, "expire_time"),
        "immutable": memory.immutable,
    }
    return Update(memory.id, {name: values[name] for name in paths}, etag or memory.etag, at)


def updates(items: Iterable[Any], rpc: str, request: Any) -> Steps[tuple[list[Update], RequestKey | None]]:
    """The updates of a request (one step each) and its idempotency key, None if it has no request id."""
    made: list[Update] = []
    for number, item in enumerate(items):
        at = "" if item is request else f"updates[{number}]."
        made.append(update_of(item.memory, item.update_mask, item.etag, at))
        yield
    return made, memory_protos.request_key(rpc, request)


def list_query(request: pb.ListMemoriesRequest) -> ListQuery:
    """Convert a ListMemoriesRequest; the caller applies its page token."""
    order, _, direction = (request.order_by or "create_time desc").partition(" ")
    return ListQuery(
        scope=memory_protos.scope_of(request.scope),
        filter=filter_given(request),
        order=order,
        descending=direction == "desc",
        limit=paging.size(request.page_size),
        skip=request.skip,
        count=request.with_total_size,
    )


def event_query(request: pb.ListEventsRequest) -> EventQuery:
    """Convert a ListEventsRequest; the caller applies its page token."""
    return EventQuery(
        after=request.after_sequence,
        memory_id=request.memory_id,
        scope=memory_protos.scope_of(request.scope),
        filter=filter_given(request),
        limit=paging.size(request.page_size),
    )


def deletion(request: pb.DeleteMemoriesRequest, key: RequestKey | None) -> Deletion:
    """Convert a DeleteMemoriesRequest."""
    return Deletion(
        scope=memory_protos.scope_of(request.scope),
        filter=filter_given(request),
        expected_count=request.expected_count if request.HasField("expected_count") else None,
        dry_run=request.dry_run,
        request=key,
    )


def watch_query(request: pb.WatchRequest) -> WatchQuery:
    """Convert a WatchRequest; the caller applies its resume token."""
    return WatchQuery(
        scope=memory_protos.scope_of(request.scope),
        filter=filter_given(request),
        beginning=request.beginning,
        as_of=as_of(request),
    )


def feedback_of(request: pb.SetFeedbackRequest) -> str:
    """The feedback as the ledger stores it: the enum name without FEEDBACK_, empty if unspecified."""
    name: str = memory_pb2.Feedback.Name(request.feedback).removeprefix("FEEDBACK_")
    return "" if name == "UNSPECIFIED" else name


def forgetting(request: pb.ForgetMemoriesRequest, key: RequestKey | None) -> ForgetCommand:
    """Convert a ForgetMemoriesRequest."""
    return ForgetCommand(
        scope=memory_protos.scope_of(request.scope),
        filter=filter_given(request),
        dry_run=request.dry_run,
        expected_count=request.expected_count if request.HasField("expected_count") else None,
        request=key,
    )


def import_item(item: pb.ImportItem) -> Steps[ImportItem]:
    """Convert an ImportItem; a history takes one step for each revision."""
    kind = item.WhichOneof("item")
    if kind == "text":
        return _text(item.text)
    if kind == "history":
        revisions = []
        for each in item.history.revisions:
            revisions.append(_revision(each))
            yield
        return ImportedHistory(revisions, item.vector_model)
    return ImportedMemory(_memory(item.memory), _vector(item.vector), item.vector_model)


def _revision(given: pb.ImportRevision) -> ImportedRevision:
    kind = Kind(memory_pb2.Kind.Name(given.kind).removeprefix("KIND_"))
    cause = Cause.NONE
    if kind is Kind.DELETED:
        cause = Cause[memory_pb2.Cause.Name(given.cause).removeprefix("CAUSE_")] if given.cause else Cause.CALLER
    return ImportedRevision(_memory(given.memory), kind, cause, _vector(given.vector))


def _vector(given: Sequence[float]) -> FloatVector | None:
    return np.array(given, np.float32) if given else None


def _text(item: pb.ImportText) -> ImportedText:
    said = moment(item, "message_time")
    message = Message(item.role or "user", item.text, item.name, said)
    memory = Memory(
        id="",
        text=item.text,
        scope=memory_protos.scope_of(item.scope),
        metadata=memory_protos.metadata_of(item.metadata),
        categories=_distinct(item.categories),
        expire_time=moment(item, "expire_time"),
        speaker=message.speaker,
        named=bool(item.name),
        said_time=said,
        immutable=item.immutable,
    )
    return ImportedText(memory, message)


def _memory(memory: memory_pb2.Memory) -> Memory:
    sources = kept_sources([memory_protos.message_of(source) for source in memory.sources])
    said = sources[0] if sources else None
    said_time = moment(memory, "said_time")
    if said_time is None and said:
        said_time = said.time
    return Memory(
        id=memory.id,
        text=memory.text,
        scope=Scope(memory.user_id, memory.agent_id, memory.app_id, memory.run_id),
        metadata=memory_protos.metadata_of(memory.metadata),
        categories=_distinct(memory.categories),
        create_time=moment(memory, "create_time"),
        update_time=moment(memory, "update_time"),
        expire_time=moment(memory, "expire_time"),
        event_time=moment(memory, "event_time"),
        revision=memory.revision,
        speaker=memory.speaker,
        named=bool(said and said.name),
        add_id=memory.add_id,
        sources=sources,
        said_time=said_time,
        immutable=memory.immutable,
        feedback=memory_pb2.Feedback.Name(memory.feedback).removeprefix("FEEDBACK_") if memory.feedback else "",
        feedback_reason=memory.feedback_reason,
    )


def as_of(request: Any) -> AsOf | None:
    """The `as_of` of a request; None if it is unset."""
    point = request.as_of.WhichOneof("point")
    if point is None:
        return None
    return (
        AsOf(seq=request.as_of.sequence)
        if point == "sequence"
        else AsOf(time=memory_protos.micros_of(request.as_of.time))
    )


def filter_given(request: Any) -> Filter | None:
    """The filter of a request; None if it is unset."""
    return memory_protos.filter_of(request.filter) if request.HasField("filter") else None


def moment(message: Any, field: str) -> int | None:
    """A Timestamp field in µs since the epoch; None if it is unset."""
    return memory_protos.micros_of(getattr(message, field)) if message.HasField(field) else None


def _distinct(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))
