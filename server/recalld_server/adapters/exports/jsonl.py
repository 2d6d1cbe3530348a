"""JSON Lines encoder: one object per row. `recalld import` reads this format."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

from recalld_server.domain.exports import Row
from recalld_server.domain.memory import Message

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Jsonl:
    """See ports.exports.Encoder. Rows are independent of each other, so a file can be continued after any row."""

    resumable = True

    def __init__(self, *, history: bool, model: str) -> None:
        self._history = history
        self._model = model

    def encode(self, row: Row) -> bytes:
        line = json.dumps(fields(row, self._history), ensure_ascii=False, separators=(",", ":"))
        if self._model and row.vector is not None:
            line = f'{line[:-1]},"vector":[{numbers(row.vector.tolist())}],"vector_model":{json.dumps(self._model)}}}'
        return line.encode() + b"\n"

    def finish(self) -> bytes:
        return b""


def fields(row: Row, history: bool) -> dict[str, Any]:
    """A row as JSON values, without its vector and without unset fields."""
    memory = row.memory
    found: dict[str, Any] = {
        "id": memory.id,
        "memory": memory.text,
        **dict(memory.scope.items()),
        "metadata": dict(memory.metadata) or None,
        "categories": list(memory.categories) or None,
        "created_at": time(memory.create_time),
        "updated_at": time(memory.update_time),
        "expiration_date": time(memory.expire_time),
        "event_date": time(memory.event_time),
        "timestamp": time(memory.said_time),
        "revision": memory.revision,
        "immutable": memory.immutable or None,
        "speaker": memory.speaker or None,
        "add_id": memory.add_id or None,
        "feedback": memory.feedback or None,
        "feedback_reason": memory.feedback_reason or None,
        "input": [_message(message) for message in memory.sources] or None,
    }
    if history:
        found |= {
            "event": row.kind.value,
            "cause": row.cause.value or None,
            "principal": row.principal or None,
            "sequence": row.seq,
            "superseded": (row.seq_to is not None) or None,
        }
    return {key: value for key, value in found.items() if value is not None}


def numbers(vector: list[float]) -> str:
    """Comma-separated numbers. Five significant digits tell all float16 values apart, the form of stored vectors."""
    return ",".join(["%.5g"] * len(vector)) % tuple(vector)


def time(micros: int | None) -> str | None:
    """ISO 8601 in UTC with microseconds; None for None."""
    if micros is None:
        return None
    return (EPOCH + timedelta(microseconds=micros)).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _message(message: Message) -> dict[str, Any]:
    found = {
        "role": message.role,
        "content": message.content,
        "name": message.name or None,
        "timestamp": time(message.time),
        "position": message.position or None,
    }
    return {key: value for key, value in found.items() if value is not None}
