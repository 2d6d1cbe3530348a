"""Conversion of metadata to and from protobuf's Struct, whose only number type is the double."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from recalld import validation
from recalld.errors import invalid

MAX_INTEGER = 2**53  # doubles represent integers exactly up to this value
MAX_DEPTH = 32  # protects the stack; the server's limit is lower


def fill(struct: Any, metadata: Mapping[str, Any], path: str = "metadata") -> None:
    """Copy a mapping into a Struct. Raises InvalidRequest for values that JSON or a double cannot hold."""
    if not isinstance(metadata, Mapping):
        raise invalid(path, "must be an object")
    struct.update({key: _checked(value, f"{path}.{key}", 2) for key, value in _items(metadata, path)})


def read(struct: Any) -> dict[str, Any]:
    """Convert a Struct to a dict. Whole numbers become int, so 5.0 is returned as 5."""
    return {key: _value(value) for key, value in struct.fields.items()}


def _items(mapping: Mapping[Any, Any], path: str) -> list[tuple[str, Any]]:
    for key in mapping:
        if not isinstance(key, str):
            raise invalid(path, f"must have only string keys, not {key!r}")
        validation.text(key, path)
    return list(mapping.items())


def _checked(value: Any, path: str, depth: int) -> Any:
    if depth > MAX_DEPTH:
        raise invalid(path, f"must be nested at most {MAX_DEPTH} deep")
    match value:
        case None | bool():
            return value
        case str():
            return validation.text(value, path)
        case int():
            if abs(value) > MAX_INTEGER:
                raise invalid(path, "must be from -2^53 to 2^53; pass larger integers as strings")
            return value
        case float():
            if not math.isfinite(value):
                raise invalid(path, "must be finite")
            return value
        case Mapping():
            return {key: _checked(item, f"{path}.{key}", depth + 1) for key, item in _items(value, path)}
        case list() | tuple():
            return [_checked(item, f"{path}[{number}]", depth + 1) for number, item in enumerate(value)]
    raise invalid(path, f"must be a JSON value, not {type(value).__name__}")


def _value(value: Any) -> Any:
    match value.WhichOneof("kind"):
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() and abs(number) <= MAX_INTEGER else number
        case "struct_value":
            return read(value.struct_value)
        case "list_value":
            return [_value(item) for item in value.list_value.values]
        case "string_value":
            return value.string_value
        case "bool_value":
            return value.bool_value
    return None
