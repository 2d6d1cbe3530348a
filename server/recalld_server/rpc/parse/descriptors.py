"""Access to protobuf field descriptors that works with every supported protobuf version."""

from __future__ import annotations

from google.protobuf.descriptor import FieldDescriptor


def repeated(field: FieldDescriptor) -> bool:
    """Whether a field is a list or a map. protobuf 6 added `is_repeated` and deprecated `label`, which now warns."""
    known = getattr(field, "is_repeated", None)
    return bool(field.label == FieldDescriptor.LABEL_REPEATED if known is None else known)
