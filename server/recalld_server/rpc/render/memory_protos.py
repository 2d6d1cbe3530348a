"""Converts between protobuf and the domain: `x_of` reads a message, `x_pb` makes one. Times are µs since the epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf.struct_pb2 import Struct, Value
from google.protobuf.timestamp_pb2 import Timestamp

from recalld.v1 import memory_pb2 as pb
from recalld.v1 import memory_service_pb2
from recalld_server.domain.memory import Cause, Memory, Message, Scope, digest
from recalld_server.domain.revision import Entity, Event, RequestKey
from recalld_server.rpc.parse.filters import filter_of
from recalld_server.rpc.parse.fingerprint import fingerprint
from recalld_server.usecases.add import Result, Verdict
from recalld_server.usecases.forgetting import Receipt
from recalld_server.usecases.search.results import FoundMemory
from recalld_server.usecases.watch import WatchMessage

__all__ = ["filter_of"]  # re-exported, so that callers import all conversions from here

ENTITY_TYPES = {"user_id": "USER", "agent_id": "AGENT", "app_id": "APP", "run_id": "RUN"}


def scope_of(scope: pb.Scope) -> Scope:
    """Convert a scope; an unset message gives the empty scope."""
    return Scope(scope.user_id, scope.agent_id, scope.app_id, scope.run_id)


def fill_in(scope: pb.Scope, pin: Scope) -> None:
    """Set the ids of a pin where the request has none. A differing id stays; the use case refuses the scope then."""
    for name, value in pin.items():
        if not getattr(scope, name):
            setattr(scope, name, value)


def message_of(message: pb.Message) -> Message:
    """Convert a message of a conversation."""
    time = micros_of(message.time) if message.HasField("time") else None
    return Message(message.role, message.content, message.name, time, message.position)


def message_pb(message: Message) -> pb.Message:
    """Convert a message of a conversation."""
    return pb.Message(
        role=message.role,
        content=message.content,
        name=message.name,
        time=_time_pb(message.time),
        position=message.position,
    )


def memory_pb(memory: Memory) -> pb.Memory:
    """Convert a memory. Times that are None (create and update time in a dry run) stay unset."""
    return pb.Memory(
        id=memory.id,
        text=memory.text,
        user_id=memory.scope.user_id,
        agent_id=memory.scope.agent_id,
        app_id=memory.scope.app_id,
        run_id=memory.scope.run_id,
        metadata=metadata_pb(memory.metadata),
        categories=memory.categories,
        create_time=_time_pb(memory.create_time),
        update_time=_time_pb(memory.update_time),
        expire_time=_time_pb(memory.expire_time),
        event_time=_time_pb(memory.event_time),
        said_time=_time_pb(memory.said_time),
        revision=memory.revision,
        etag=memory.etag if memory.id else "",
        speaker=memory.speaker,
        sources=[message_pb(source) for source in memory.sources],
        add_id=memory.add_id,
        immutable=memory.immutable,
        feedback=f"FEEDBACK_{memory.feedback or 'UNSPECIFIED'}",
        feedback_reason=memory.feedback_reason,
    )


def result_pb(result: Result, memory: pb.Memory) -> memory_service_pb2.AddResult:
    """Convert one result of an add; `memory` is the memory to show."""
    change = f"CHANGE_{result.change.value}"
    return memory_service_pb2.AddResult(
        memory_id=memory.id, change=change, memory=memory, previous_text=result.previous_text
    )


def verdict_pb(verdict: Verdict) -> pb.Verdict:
    """Convert the verdict on one message."""
    reason = f"VERDICT_REASON_{verdict.reason.value}"
    return pb.Verdict(message_index=verdict.index, reason=reason, memory_ids=verdict.memory_ids, detail=verdict.detail)


def hit_pb(found: FoundMemory, explain: bool) -> pb.Hit:
    """Convert a search result, with the explanation of its score if `explain`."""
    place = found.hit
    hit = pb.Hit(memory=memory_pb(found.memory), score=place.score, relevance=place.relevance)
    if explain:
        terms = {name: value for name, value in place.terms.items() if name != "matched"}
        hit.explanation.CopyFrom(
            pb.Explanation(
                **terms,
                keyword_raw=place.keyword_raw,
                vector_raw=place.vector_raw,
                matched_idf_share=place.terms.get("matched", 0.0),
                neighbour=place.neighbour,
                tail=place.tail,
            )
        )
    return hit


def event_pb(event: Event) -> pb.Event:
    """Convert an event. Its sources are those of the memory after the change, or before it if there is none after."""
    shown = event.after or event.before
    return pb.Event(
        sequence=event.seq,
        memory_id=event.memory_id,
        kind=f"KIND_{event.kind.value}",
        cause="CAUSE_UNSPECIFIED" if event.cause is Cause.NONE else f"CAUSE_{event.cause.name}",
        memory_before=memory_pb(event.before) if event.before else None,
        memory_after=memory_pb(event.after) if event.after else None,
        sources=[message_pb(source) for source in shown.sources] if shown else (),
        principal=event.principal,
        request_id=event.request_id,
        time=timestamp_pb(event.time),
    )


def sight_pb(sight: WatchMessage, token: str) -> memory_service_pb2.WatchResponse:
    """Convert a message of a watch: an event or a checkpoint, with its resume token."""
    if sight.event is not None:
        return memory_service_pb2.WatchResponse(event=event_pb(sight.event), resume_token=token)
    checkpoint = memory_service_pb2.WatchCheckpoint(sequence=sight.position.seq, time=timestamp_pb(sight.time))
    return memory_service_pb2.WatchResponse(checkpoint=checkpoint, resume_token=token)


def receipt_pb(receipt: Receipt, token: str) -> memory_service_pb2.ForgetReceipt:
    """Convert the receipt of a ForgetMemories call. For a dry run, `token` is empty and index_state is left unset."""
    return memory_service_pb2.ForgetReceipt(
        memory_count=receipt.memories,
        revision_count=receipt.revisions,
        export_count=receipt.exports,
        sequence=receipt.sequence,
        check_time=_time_pb(receipt.check_time),
        legs=[
            memory_service_pb2.ForgetLeg(name=leg.name, state=f"FORGET_STATE_{leg.state.value}", detail=leg.detail)
            for leg in receipt.legs
        ],
        consistency_token=token,
        index_state=index_state(receipt.applied) if token else None,
    )


def entity_pb(entity: Entity) -> pb.Entity:
    """Convert a user, agent, app or run. `number` is a digest of type and id below 2^53, the same on every server."""
    return pb.Entity(
        type=f"ENTITY_TYPE_{ENTITY_TYPES[entity.type]}",
        id=entity.id,
        number=int(digest(entity.type, entity.id)[:13], 16),
        memory_count=entity.count,
        first_seen_time=timestamp_pb(entity.first_seen),
        last_seen_time=timestamp_pb(entity.last_seen),
    )


def index_state(applied: bool) -> pb.IndexState:
    """APPLIED if searches already see a write, otherwise PENDING."""
    return pb.INDEX_STATE_APPLIED if applied else pb.INDEX_STATE_PENDING


def metadata_of(struct: Struct) -> dict[str, Any]:
    """Convert metadata to JSON values. A Struct has only doubles, so whole numbers become integers."""
    return {key: _value(item) for key, item in struct.fields.items()}


def metadata_pb(metadata: Mapping[str, Any]) -> Struct | None:
    """Convert metadata to a Struct; None if it is empty."""
    if not metadata:
        return None
    struct = Struct()
    struct.update(metadata)
    return struct


def micros_of(time: Timestamp) -> int:
    """Microseconds since the epoch, rounded down."""
    return int(time.seconds * 1_000_000 + time.nanos // 1000)


def timestamp_pb(micros: int) -> Timestamp:
    """Convert microseconds since the epoch to a Timestamp."""
    seconds, rest = divmod(micros, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def request_key(rpc: str, request: Any) -> RequestKey | None:
    """The idempotency key of a write, under which its outcome is kept; None without a request id."""
    return operation_key(rpc, request) if request.request_id else None


def operation_key(rpc: str, request: Any) -> RequestKey:
    """The idempotency key of an operation. If its request id is empty, the operation's own id replaces it."""
    return RequestKey(rpc, request.request_id, fingerprint(request))


def _time_pb(micros: int | None) -> Timestamp | None:
    return None if micros is None else timestamp_pb(micros)


def _value(value: Value) -> Any:
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return metadata_of(value.struct_value)
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    if kind == "number_value":
        number: float = value.number_value
        return int(number) if number.is_integer() else number
    return getattr(value, kind) if kind in ("string_value", "bool_value") else None
