"""What protobuf tells of a field, whatever its version."""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor


def repeated(field: FieldDescriptor) -> bool:
    """Whether it is a list or a map. `is_repeated` came with protobuf 6; the label before it warns from then on."""
    known = getattr(field, "is_repeated", None)
    return bool(field.label == FieldDescriptor.LABEL_REPEATED if known is None else known)
