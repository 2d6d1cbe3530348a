"""A digest of a request's meaning, to tell a retry from a different request with the same request id or token."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator
from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.struct_pb2 import Struct

from recalld.v1 import memory_pb2, memory_service_pb2, project_service_pb2, search_service_pb2
from recalld_server.rpc.parse.descriptors import repeated

# The default values that the protos document, by message type.
DEFAULTS: dict[str, dict[str, Any]] = {
    memory_service_pb2.AddRequest.DESCRIPTOR.full_name: {"infer": True},
    memory_service_pb2.ListMemoriesRequest.DESCRIPTOR.full_name: {"order_by": "create_time desc"},
    search_service_pb2.SearchRequest.DESCRIPTOR.full_name: {
        "limit": 10,
        "threshold": 0.0,
        "mode": search_service_pb2.SEARCH_MODE_HYBRID,
    },
    project_service_pb2.ProjectSettings.DESCRIPTOR.full_name: {"language": "english"},
}
# For fields of these types, an empty message means the same as an unset one. That does not hold for the fields of a
# memory, because the presence of a field in an update means that it changes.
_EMPTY_IS_UNSET = {kind.DESCRIPTOR.full_name for kind in (memory_pb2.Scope, Struct, FieldMask)}


def fingerprint(request: Any, without: Collection[str] = ("request_id",)) -> str:
    """The hexadecimal SHA-256 of a request, without the fields in `without`.

    An explicit default value and an unset field give the same digest. The largest request takes some milliseconds.
    """
    digest = hashlib.sha256()
    for part in _parts(request, without):
        digest.update(part)
    return digest.hexdigest()


def _parts(message: Any, without: Collection[str] = ()) -> Iterator[bytes]:
    """The fields in the order of their numbers; each item is preceded by its field number and its length."""
    defaults = DEFAULTS.get(message.DESCRIPTOR.full_name, {})
    for field, value in message.ListFields():
        if field.name in without or defaults.get(field.name) == value:
            continue
        if isinstance(message, memory_service_pb2.AddRequest) and field.name == "text" and not message.messages:
            number = message.DESCRIPTOR.fields_by_name["messages"].number
            yield from _item(number, memory_pb2.Message(role="user", content=value).SerializeToString())
        elif field.type != FieldDescriptor.TYPE_MESSAGE:
            yield from _item(field.number, repr(list(value) if repeated(field) else value).encode())
        elif repeated(field):
            for item in value:
                yield from _item(field.number, item.SerializeToString(deterministic=True))
        elif field.message_type.full_name in DEFAULTS:
            yield from _item(field.number, b"".join(_parts(value)))
        elif value.ByteSize() or field.message_type.full_name not in _EMPTY_IS_UNSET:
            yield from _item(field.number, value.SerializeToString(deterministic=True))


def _item(number: int, data: bytes) -> Iterator[bytes]:
    yield b"%d:%d:" % (number, len(data))
    yield data
