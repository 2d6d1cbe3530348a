"""Random requests built from descriptors, from valid to wild values, and corrupted bytes."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import Any

from google.api import field_behavior_pb2
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

DEEPEST = 12
WILD_TEXTS = [
    "",
    " ",
    "*",
    "default",
    "metadata.k",
    "\0",
    "\ufffe\uffff",
    "\U0010ffff" * 3,
    "e\u0301\u200d\u202e\ufeff",
    "ﷺ" * 40,
    "🙂" * 50,
    "漢字かなカナ한글ไทย",
    "' OR 1=1; DROP TABLE revisions --",
    '{"$ne": null}',
    "%_%\\",
    "\r\n\t\x0b\x7f",
    "AAAA" * 30,
    "a " * 200,
]
WILD_DOUBLES = [-0.0, 1e308, -1e308, 5e-324, 2.0**53, 2.0**53 + 2, float("nan"), float("inf")]
TAME_TEXTS: dict[str, Sequence[str]] = {
    "role": ("user", "assistant", "system", "tool"),
    "order_by": ("", "create_time", "update_time desc"),
    "field": ("text", "categories", "metadata.k", "user_id", "create_time", "expire_time", "id"),
    "paths": ("text", "metadata", "categories", "expire_time", "immutable", "display_name", "custom_instructions"),
    "page_token": ("",),
    "resume_token": ("",),
    "at_least_as_fresh": ("",),
    "etag": ("",),
    "request_id": ("", "again", "and again"),
    "add_id": ("", "one", "other"),
    "agent_id": ("", "tutor"),
    "app_id": ("",),
    "run_id": ("", "s1", "s2"),
    "user_id": ("fuzz", "other"),
    "query": ("tea", "What does somebody like?", "漢字", "?!"),
    "vector_model": ("minilm-l6-v2-int8", "another"),
    "model": ("minilm-l6-v2-int8", "another"),
    "project_id": ("", "default", "spare"),
    "confirm_project_id": ("spare",),
    "language": ("", "english", "german"),
    "extractor": ("", "rules"),
}
PLAIN_TEXTS = ("Likes tea", "I'm a vegetarian.", "k", "food", "x", "ﷺ is one letter", "漢字", "Tokyo, please!")
TAME_NUMBERS = {
    "seconds": (1_700_000_000, 4_000_000_000),
    "nanos": (0, 1000),
    "sequence": (0, 1, 5),
    "revision": (1, 2),
}


class Maker:
    """Random messages, the same for the same seed. `known` are values of fields, by name, that mean something."""

    def __init__(self, seed: str, known: Mapping[str, Sequence[str]]) -> None:
        self._random = random.Random(seed)
        self._texts = {**TAME_TEXTS, **known}
        self._wildness = 0.0

    def next(self, descriptor: Descriptor) -> bytes:
        """One request: half of them tame enough to be obeyed, a few not even messages."""
        self._wildness = self._random.choice((0.0, 0.0, 0.02, 0.1, 1.0))
        chance = self._random.random()
        if chance < 0.02:
            return self._random.randbytes(self._random.randint(1, 300))
        data = self._message(descriptor, 0).SerializeToString()
        return self._bent(data) if chance < 0.1 else data

    def _message(self, descriptor: Descriptor, depth: int) -> Message:
        """A message with about half of its fields, fewer the deeper it lies."""
        made = GetMessageClass(descriptor)()
        for oneof in descriptor.oneofs:
            if len(oneof.fields) > 1 and (depth < DEEPEST or not self._wild()):
                usable = [f for f in oneof.fields if depth < DEEPEST - 4 or not f.message_type] or oneof.fields
                self._fill(made, self._random.choice(usable), depth)
        for field in descriptor.fields:
            alone = field.containing_oneof is None or len(field.containing_oneof.fields) == 1
            required = field_behavior_pb2.REQUIRED in field.GetOptions().Extensions[field_behavior_pb2.field_behavior]
            needed = (required or field.name in ("scope", "user_id", "text")) and not self._wild()
            if alone and (needed or self._random.random() < 0.5 / (1 + depth / 3)):
                self._fill(made, field, depth)
        return made

    def _bent(self, data: bytes) -> bytes:
        """Bytes with a few of them changed, left out or repeated."""
        bent = bytearray(data or b"\x0a")
        for _ in range(self._random.randint(1, 4)):
            at = self._random.randrange(len(bent) + 1)
            match self._random.randrange(3):
                case 0:
                    bent[at : at + 1] = self._random.randbytes(1)
                case 1:
                    del bent[at : at + self._random.randint(1, 8)]
                case _:
                    bent[at:at] = bent[at : at + self._random.randint(1, 64)]
        return bytes(bent)

    def _wild(self) -> bool:
        return self._random.random() < self._wildness

    def _fill(self, made: Message, field: FieldDescriptor, depth: int) -> None:
        kind = field.message_type
        if kind and depth > DEEPEST:
            return
        if kind and kind.GetOptions().map_entry:
            inner = kind.fields_by_name["value"].message_type
            for _ in range(self._random.randrange(4)):
                entry = getattr(made, field.name)[self._text("key")]
                entry.CopyFrom(self._message(inner, depth + 1))
            return
        count = self._count(field, depth)
        values: Any = [self._message(kind, depth + 1) if kind else self._scalar(field) for _ in range(count)]
        if field.is_repeated:
            getattr(made, field.name).extend(values)
        elif kind:
            getattr(made, field.name).CopyFrom(values[0])
        else:
            setattr(made, field.name, values[0])

    def _count(self, field: FieldDescriptor, depth: int) -> int:
        if not field.is_repeated:
            return 1
        if field.name == "vector" and not self._wild():
            return self._random.choice((0, 384))
        if depth < 2 and not field.message_type and self._random.random() < 0.3 * self._wildness:
            return 3000
        return self._random.randint(0 if self._wild() else 1, 3)

    def _scalar(self, field: FieldDescriptor) -> Any:
        pick, kind = self._random, field.type
        if kind == FieldDescriptor.TYPE_STRING:
            return self._text(field.name)
        if kind == FieldDescriptor.TYPE_BYTES:
            return pick.randbytes(pick.randrange(20))
        if kind == FieldDescriptor.TYPE_BOOL:
            return pick.random() < 0.5
        if kind in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
            return pick.choice(WILD_DOUBLES) if self._wild() else pick.choice((0.0, 0.25, 1.0))
        if kind == FieldDescriptor.TYPE_ENUM:
            known = sorted(number for number in field.enum_type.values_by_number if number) or [0]
            return pick.choice([0, 77, -1, 2**31 - 1] if self._wild() else known)
        bits = 31 if field.cpp_type in (FieldDescriptor.CPPTYPE_INT32, FieldDescriptor.CPPTYPE_UINT32) else 63
        if self._wild():
            return pick.choice([0, 1000, 1001, 10**6, 2**31 - 1, 2**bits - 1, -1, -(2**bits)])
        return pick.choice(TAME_NUMBERS.get(field.name, (0, 1, 2, 10)))

    def _text(self, name: str) -> str:
        if self._wild():
            long = self._random.choice("xé🙂") * self._random.choice((257, 17_000))
            return self._random.choice([*WILD_TEXTS, long])
        return self._random.choice(self._texts.get(name, PLAIN_TEXTS))
