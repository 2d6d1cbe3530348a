"""Queued work and exports keep what was asked as a command in JSON, no longer as a request in protobuf.

The form is written out here, as a migration must not change with the code; see domain.commands for today's.
"""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"

IDS = ("user_id", "agent_id", "app_id", "run_id")
FORMATS = {1: "JSONL", 2: "PARQUET"}


def upgrade() -> None:
    op.execute("ALTER TABLE exports RENAME COLUMN request TO command")
    connection = op.get_bind()
    exports = sa.table("exports", *map(sa.column, ("project", "id", "command", *IDS)))
    operations = sa.table("operations", *map(sa.column, ("project", "id", "kind", "subject")))
    payloads = sa.table("operation_payloads", *map(sa.column, ("project", "id", "data")))
    commands = {}
    for project, id in connection.execute(sa.select(exports.c.project, exports.c.id)).all():
        this = sa.and_(exports.c.project == project, exports.c.id == id)
        row = connection.execute(sa.select(exports).where(this)).one()
        if row.command:  # those withdrawn have forgotten it
            commands[project, id] = made = _export(row.command, {name: getattr(row, name) for name in IDS})
            connection.execute(sa.update(exports).where(this).values(command=made))
    for project, id in connection.execute(sa.select(payloads.c.project, payloads.c.id)).all():
        this = sa.and_(payloads.c.project == project, payloads.c.id == id)
        asked = sa.select(operations.c.kind, operations.c.subject)
        kind, subject = connection.execute(asked.where(operations.c.project == project, operations.c.id == id)).one()
        data = connection.execute(sa.select(payloads.c.data).where(this)).scalar_one()
        if kind == "ADD":
            command = _add(data)
        elif kind == "EXPORT":
            command = commands.get((project, subject), b"")
        else:
            command = _reindex(kind, data)
        connection.execute(sa.update(payloads).where(this).values(data=command))


def _add(data: bytes) -> bytes:
    from recalld.v1 import memory_service_pb2

    asked = memory_service_pb2.AddRequest.FromString(data)
    messages = [[m.role, m.content, m.name, _micros(m, "time")] for m in asked.messages]
    command: dict[str, Any] = {
        "scope": _scope({name: getattr(asked.scope, name) for name in IDS}),
        "messages": messages or [["user", asked.text, "", None]],
        "metadata": {name: _value(value) for name, value in asked.metadata.fields.items()},
        "infer": asked.infer if asked.HasField("infer") else True,
        "includes": asked.includes,
        "excludes": asked.excludes,
        "custom_categories": [[category.name, category.description] for category in asked.custom_categories],
        "custom_instructions": asked.custom_instructions,
        "categories": list(dict.fromkeys(asked.categories)),
        "expire_time": _micros(asked, "expire_time"),
        "timestamp": _micros(asked, "timestamp"),
        "immutable": asked.immutable,
    }
    return _dumped(command)


def _export(data: bytes, scope: dict[str, str]) -> bytes:
    from recalld.v1 import export_service_pb2

    asked = export_service_pb2.CreateExportRequest.FromString(data)
    command: dict[str, Any] = {
        "scope": _scope(scope),
        "format": FORMATS[asked.format],
        "with_history": asked.with_history,
        "with_vectors": asked.with_vectors,
    }
    if asked.HasField("filter"):
        command["filter"] = _filter(asked.filter)
    return _dumped(command)


def _reindex(kind: str, data: bytes) -> bytes:
    from recalld.v1 import project_service_pb2

    if kind != "REEMBED_PROJECT":
        return b"{}"
    return _dumped({"model": project_service_pb2.ReembedProjectRequest.FromString(data).model})


def _filter(asked: Any) -> dict[str, Any]:
    from recalld.v1 import filter_pb2

    kind = asked.WhichOneof("kind")
    if kind == "none_of":
        return {"not": _filter(asked.none_of)}
    if kind in ("all_of", "any_of"):
        return {kind.removesuffix("_of"): [_filter(inner) for inner in getattr(asked, kind).filters]}
    comparison = asked.comparison
    given = comparison.value
    listed = given.WhichOneof("kind") == "list_value"
    value = [_scalar(item) for item in given.list_value.values] if listed else _scalar(given)
    operator = filter_pb2.Operator.Name(comparison.operator).removeprefix("OPERATOR_")
    return {"field": comparison.field, "operator": operator, "value": value}


def _scalar(value: Any) -> Any:
    kind = value.WhichOneof("kind")
    return {"micros": _micros(value, kind)} if kind == "timestamp_value" else getattr(value, kind)


def _value(value: Any) -> Any:
    """A value of a Struct; whole numbers are integers again."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {name: _value(item) for name, item in value.struct_value.fields.items()}
    if kind == "list_value":
        return [_value(item) for item in value.list_value.values]
    if kind == "number_value":
        return int(value.number_value) if value.number_value.is_integer() else value.number_value
    return None if kind in (None, "null_value") else getattr(value, kind)


def _micros(message: Any, field: str) -> int | None:
    time = getattr(message, field)
    return time.seconds * 1_000_000 + time.nanos // 1000 if message.HasField(field) else None


def _scope(ids: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in ids.items() if value}


def _dumped(command: dict[str, Any]) -> bytes:
    return json.dumps(command, ensure_ascii=False, separators=(",", ":")).encode()
