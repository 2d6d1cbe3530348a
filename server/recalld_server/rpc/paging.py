"""Pages: how large they are and what their tokens are bound to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from google.protobuf.message import Message as ProtoMessage

from recalld.v1 import memory_pb2
from recalld_server.domain.limits import PAGE_BYTES, PAGE_SIZE
from recalld_server.domain.memory import Access
from recalld_server.rpc.fingerprint import fingerprint

P = TypeVar("P", bound=ProtoMessage)
T = TypeVar("T")

DEFAULT_SIZE = 100
_NOT_BOUND = ("page_size", "page_token", "resume_token")  # what may change from page to page


def size(asked: int) -> int:
    """The page size for what was asked: 0 is the default, too much is the most allowed (AIP-158)."""
    return min(asked or DEFAULT_SIZE, PAGE_SIZE)


def binding(rpc: str, access: Access, request: Any) -> list[str]:
    """What the tokens of a call belong to: the call, the caller and every other argument."""
    start = request.DESCRIPTOR.oneofs_by_name.get("start")  # a resumed watch starts elsewhere by its very nature
    without = {*_NOT_BOUND, *(field.name for field in (start.fields if start else ()))}
    return [rpc, access.project, access.principal, fingerprint(request, without)]


def fitting(messages: Sequence[P]) -> Sequence[P]:
    """As many of the first messages as make a page of 3 MiB; at least one."""
    total = 0
    for n, message in enumerate(messages):
        total += message.ByteSize()
        if total > PAGE_BYTES and n:
            return messages[:n]
    return messages


def cut(found: Sequence[T], messages: Sequence[P], more: bool) -> tuple[Sequence[P], T | None]:
    """The messages of what was found that make a page, and what the next page begins after; None: it is the last."""
    shown = fitting(messages)
    return shown, found[len(shown) - 1] if more or len(shown) < len(found) else None


def bounded(memories: Sequence[memory_pb2.Memory]) -> Sequence[memory_pb2.Memory]:
    """All of them, but from 3 MiB on with id, revision and etag only: a write must be able to answer."""
    total = 0
    shown: list[memory_pb2.Memory] = []
    for memory in memories:
        total += memory.ByteSize()
        whole = total <= PAGE_BYTES or not shown
        shown.append(memory if whole else memory_pb2.Memory(id=memory.id, revision=memory.revision, etag=memory.etag))
    return shown
