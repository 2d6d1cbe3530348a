"""Conversion of `recalld.v1` messages to the guide's dicts.

Times are ISO 8601 in UTC with microseconds. Unset ids are omitted; empty metadata and categories are None.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any

from recalld import structs, times
from recalld.v1 import entity_service_pb2, memory_pb2, memory_service_pb2

Item = dict[str, Any]
SCOPE_FIELDS = ("user_id", "agent_id", "app_id", "run_id")
EVENTS = {
    memory_pb2.CHANGE_ADD: "ADD",
    memory_pb2.CHANGE_UPDATE: "UPDATE",
    memory_pb2.CHANGE_DELETE: "DELETE",
}
KINDS = {
    memory_pb2.KIND_ADDED: "ADD",
    memory_pb2.KIND_UPDATED: "UPDATE",
    memory_pb2.KIND_DELETED: "DELETE",
    memory_pb2.KIND_RESTORED: "RESTORE",
    memory_pb2.KIND_FORGOTTEN: "FORGET",
}
ENTITY_NAMES = {
    memory_pb2.ENTITY_TYPE_USER: "user",
    memory_pb2.ENTITY_TYPE_AGENT: "agent",
    memory_pb2.ENTITY_TYPE_APP: "app",
    memory_pb2.ENTITY_TYPE_RUN: "run",
}


def memory(source: memory_pb2.Memory) -> Item:
    """One memory. `hash` is the MD5 of its text, in hexadecimal.

    `speaker`, `event_date` (when it happened), `timestamp` (when it was said), `expiration_date` and `immutable` are
    present only if they are set.
    """
    item: Item = {"id": source.id, "memory": source.text}
    item |= {name: value for name in SCOPE_FIELDS if (value := getattr(source, name))}
    item["hash"] = hashlib.md5(source.text.encode(), usedforsecurity=False).hexdigest()
    item["metadata"] = structs.read(source.metadata) or None
    item["categories"] = list(source.categories) or None
    item["created_at"] = times.text(source.create_time)
    item["updated_at"] = times.text(source.update_time)
    if source.speaker:
        item["speaker"] = source.speaker
    if source.HasField("event_time"):
        item["event_date"] = times.text(source.event_time)
    if source.HasField("said_time"):
        item["timestamp"] = times.text(source.said_time)
    if source.HasField("expire_time"):
        item["expiration_date"] = times.expiry_text(source.expire_time)
    if source.immutable:
        item["immutable"] = True
    item["revision"] = source.revision
    return item


def hit(source: memory_pb2.Hit) -> Item:
    """One hit: a memory with `input`, `score` (absolute, 0 to 1) and `rank_score` (orders this result only)."""
    item = memory(source.memory)
    item["input"] = conversation(source.memory.sources)
    item["score"] = source.relevance
    item["rank_score"] = source.score
    if source.HasField("explanation"):
        terms = source.explanation
        item["explanation"] = {
            field.name: getattr(terms, field.name)
            for field in terms.DESCRIPTOR.fields
            if not field.has_presence or terms.HasField(field.name)
        }
    return item


def conversation(messages: Iterable[memory_pb2.Message]) -> list[Item]:
    """Role and content of each message, with `name` and `timestamp` (when it was said) if set."""
    items = []
    for each in messages:
        item: Item = {"role": each.role, "content": each.content}
        if each.name:
            item["name"] = each.name
        if each.HasField("time"):
            item["timestamp"] = times.text(each.time)
        items.append(item)
    return items


def added(answer: memory_service_pb2.AddResponse, output_format: str) -> Any:
    """The result of an add: a list of events in v1.0, in an envelope in v1.1. Omits unchanged memories.

    If the add only deleted memories, v1.0 returns {"message": "ok"}.
    """
    events = [(EVENTS[each.change], each) for each in answer.results if each.change in EVENTS]
    if output_format == "v1.1":
        return {
            "results": [_event(name, each) for name, each in events],
            "verdicts": [_verdict(each) for each in answer.verdicts],
            "add_id": answer.add_id,
            "consistency_token": answer.consistency_token,
            "index_state": memory_pb2.IndexState.Name(answer.index_state).removeprefix("INDEX_STATE_"),
        }
    if events and all(name == "DELETE" for name, _ in events):
        return {"message": "ok"}
    return [{"id": each.memory_id, "data": {"memory": each.memory.text}, "event": name} for name, each in events]


def _verdict(verdict: memory_pb2.Verdict) -> Item:
    reason = memory_pb2.VerdictReason.Name(verdict.reason).removeprefix("VERDICT_REASON_")
    item: Item = {"index": verdict.message_index, "reason": reason, "memory_ids": list(verdict.memory_ids)}
    if verdict.detail:
        item["detail"] = verdict.detail
    return item


def _event(name: str, result: memory_service_pb2.AddResult) -> Item:
    item: Item = {"id": result.memory_id, "memory": result.memory.text, "event": name}
    if result.previous_text:
        item["previous_memory"] = result.previous_text
    return item


def listed(items: list[Item], output_format: str) -> Any:
    """The list in v1.0, {"results": list} in v1.1."""
    return {"results": items} if output_format == "v1.1" else items


def page(items: list[Item], count: int, number: int, size: int, output_format: str) -> Item:
    """One page. `next` and `previous` are page numbers as strings, since there are no URLs; None at the ends."""
    return {
        "count": count,
        "next": str(number + 1) if number * size < count else None,
        "previous": str(number - 1) if number > 1 else None,
        "results": listed(items, output_format),
    }


def event(source: memory_pb2.Event) -> Item:
    """One entry of a history. `updated_at` is when it happened; `id` is its sequence number.

    Entries of an imported history have their original times, except deletions, which have the time of the import.
    """
    after = source.HasField("memory_after")
    before = source.HasField("memory_before")
    subject = source.memory_after if after else source.memory_before
    item: Item = {
        "id": str(source.sequence),
        "memory_id": source.memory_id,
        "input": conversation(source.sources),
        "old_memory": source.memory_before.text if before else None,
        "new_memory": source.memory_after.text if after else None,
    }
    item |= {name: value for name in SCOPE_FIELDS if (value := getattr(subject, name))}
    item["event"] = KINDS.get(source.kind, "UNKNOWN")
    item["metadata"] = structs.read(subject.metadata) or None
    item["categories"] = list(subject.categories) or None
    item["created_at"] = times.text(subject.create_time if after or before else source.time)
    item["updated_at"] = times.text(subject.update_time if after else source.time)
    if after:
        item["revision"] = source.memory_after.revision
    return item


def change(source: memory_pb2.Event) -> Item:
    """One change of a watch: an entry of a history with `sequence` and `cause` ("" unless the memory was deleted), and
    with `principal` (the API key of the call) and `request_id` if set."""
    item = event(source)
    cause = memory_pb2.Cause.Name(source.cause).removeprefix("CAUSE_").lower()
    item["sequence"] = source.sequence
    item["cause"] = "" if cause == "unspecified" else cause
    return item | {name: value for name in ("principal", "request_id") if (value := getattr(source, name))}


def entities(answers: Iterable[entity_service_pb2.ListEntitiesResponse]) -> Item:
    """All entities of all pages in the guide's envelope. recalld stores no owner and no metadata of entities."""
    return {
        "results": [
            {
                "id": str(each.number),
                "name": each.id,
                "type": ENTITY_NAMES[each.type],
                "total_memories": each.memory_count,
                "created_at": times.text(each.first_seen_time),
                "updated_at": times.text(each.last_seen_time),
                "owner": None,
                "metadata": None,
            }
            for answer in answers
            for each in answer.entities
        ]
    }
