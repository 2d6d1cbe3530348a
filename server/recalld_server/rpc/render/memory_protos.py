"""Between protobuf and the domain: one function for each noun and direction."""

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

__all__ = ["filter_of"]  # and all below: one place to import conversions from

ENTITY_TYPES = {"user_id": "USER", "agent_id": "AGENT", "app_id": "APP", "run_id": "RUN"}


def scope_of(scope: pb.Scope) -> Scope:
    """A scope; an unset message is the empty one."""
    return Scope(scope.user_id, scope.agent_id, scope.app_id, scope.run_id)


def fill_in(scope: pb.Scope, pin: Scope) -> None:
    """Put the ids of a pin where the request has none; one that differs stays, and is refused as out of reach."""
    for name, value in pin.items():
        if not getattr(scope, name):
            setattr(scope, name, value)


def message_of(message: pb.Message) -> Message:
    """One message of a conversation."""
    time = micros_of(message.time) if message.HasField("time") else None
    return Message(message.role, message.content, message.name, time, message.position)


def message_pb(message: Message) -> pb.Message:
    """One message of a conversation."""
    return pb.Message(
        role=message.role,
        content=message.content,
        name=message.name,
        time=_time_pb(message.time),
        position=message.position,
    )


def memory_pb(memory: Memory) -> pb.Memory:
    """A memory; times of zero (a dry run's) are left out."""
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
    """One memory of an add's answer, shown as `memory`."""
    change = f"CHANGE_{result.change.value}"
    return memory_service_pb2.AddResult(
        memory_id=memory.id, change=change, memory=memory, previous_text=result.previous_text
    )


def verdict_pb(verdict: Verdict) -> pb.Verdict:
    """What became of one message."""
    reason = f"VERDICT_REASON_{verdict.reason.value}"
    return pb.Verdict(message_index=verdict.index, reason=reason, memory_ids=verdict.memory_ids, detail=verdict.detail)


def hit_pb(found: FoundMemory, explain: bool) -> pb.Hit:
    """One search result; why it stands where it stands only if asked."""
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
    """A change of one memory. Its sources are those of what it left, or of what it ended."""
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
    """One message of a watch."""
    if sight.event is not None:
        return memory_service_pb2.WatchResponse(event=event_pb(sight.event), resume_token=token)
    checkpoint = memory_service_pb2.WatchCheckpoint(sequence=sight.position.seq, time=timestamp_pb(sight.time))
    return memory_service_pb2.WatchResponse(checkpoint=checkpoint, resume_token=token)


def receipt_pb(receipt: Receipt, token: str) -> memory_service_pb2.ForgetReceipt:
    """What was forgotten. A dry run has no token, was not checked and told the index nothing."""
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
    """A user, agent, app or run. `number` is the same for the same entity everywhere, below 2^53."""
    return pb.Entity(
        type=f"ENTITY_TYPE_{ENTITY_TYPES[entity.type]}",
        id=entity.id,
        number=int(digest(entity.type, entity.id)[:13], 16),
        memory_count=entity.count,
        first_seen_time=timestamp_pb(entity.first_seen),
        last_seen_time=timestamp_pb(entity.last_seen),
    )


def index_state(applied: bool) -> pb.IndexState:
    """Whether searches see a write already."""
    return pb.INDEX_STATE_APPLIED if applied else pb.INDEX_STATE_PENDING


def metadata_of(struct: Struct) -> dict[str, Any]:
    """Metadata as JSON values; whole numbers are integers again."""
    return {key: _value(item) for key, item in struct.fields.items()}


def metadata_pb(metadata: Mapping[str, Any]) -> Struct | None:
    """Metadata as a Struct; None when there is none."""
    if not metadata:
        return None
    struct = Struct()
    struct.update(metadata)
    return struct


def micros_of(time: Timestamp) -> int:
    """Microseconds since the epoch, rounded down."""
    return int(time.seconds * 1_000_000 + time.nanos // 1000)


def timestamp_pb(micros: int) -> Timestamp:
    """A Timestamp of microseconds since the epoch."""
    seconds, rest = divmod(micros, 1_000_000)
    return Timestamp(seconds=seconds, nanos=rest * 1000)


def request_key(rpc: str, request: Any) -> RequestKey | None:
    """Under which the answer of a write is kept; None without a request id."""
    return operation_key(rpc, request) if request.request_id else None


def operation_key(rpc: str, request: Any) -> RequestKey:
    """What an operation was started for. Its id stands for a request id that is missing."""
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
