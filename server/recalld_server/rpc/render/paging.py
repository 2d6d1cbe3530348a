"""Pages of lists: their size in items and bytes, and the request that a page token is bound to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message as ProtoMessage

from recalld.v1 import memory_pb2
from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.limits import PAGE_BYTES, PAGE_SIZE
from recalld_server.domain.memory import Access, Memory
from recalld_server.domain.steps import Steps
from recalld_server.rpc.parse.fingerprint import fingerprint
from recalld_server.rpc.render.memory_protos import memory_pb

P = TypeVar("P", bound=ProtoMessage)
T = TypeVar("T")

DEFAULT_SIZE = 100
_NOT_BOUND = ("page_size", "page_token", "resume_token")  # these fields may change from page to page


def size(asked: int) -> int:
    """The page size for a requested one: 0 gives the default; larger sizes are capped at PAGE_SIZE (AIP-158)."""
    return min(asked or DEFAULT_SIZE, PAGE_SIZE)


def binding(rpc: str, access: Access, request: Any) -> list[str]:
    """The values that a token is bound to: RPC, project, principal and the fingerprint of all other arguments."""
    start = request.DESCRIPTOR.oneofs_by_name.get("start")  # the start of a watch; the resume token replaces it
    without = {*_NOT_BOUND, *(field.name for field in (start.fields if start else ()))}
    return [rpc, access.project, access.principal, fingerprint(request, without)]


class Page(Generic[P]):
    """The messages of a page: at most 3 MiB (PAGE_BYTES), or a single larger message."""

    def __init__(self) -> None:
        self.messages: list[P] = []
        self._total = 0

    def take(self, message: P) -> bool:
        """Add a message if it fits, and return whether it was added."""
        self._total += message.ByteSize()
        if self._total > PAGE_BYTES and self.messages:
            return False
        self.messages.append(message)
        return True

    def last(self, found: Sequence[T], more: bool = False) -> T | None:
        """The item after which the next page begins; None if this is the last page. `more`: items follow `found`."""
        return found[len(self.messages) - 1] if more or len(self.messages) < len(found) else None


async def filled(found: Sequence[T], render: Callable[[T], P]) -> Page[P]:
    """Render items until the page is full, in time slices that do not block the event loop."""
    page = Page[P]()

    def filling() -> Steps[None]:
        for item in found:
            if not page.take(render(item)):
                return
            yield

    await sliced(filling())
    return page


async def bounded(memories: Sequence[Memory]) -> Sequence[memory_pb2.Memory]:
    """Render all memories of a write's response. Beyond 3 MiB, memories have only their id, revision and etag."""
    return await sliced(_bounded(memories))


def _bounded(memories: Sequence[Memory]) -> Steps[Sequence[memory_pb2.Memory]]:
    total = 0
    shown: list[memory_pb2.Memory] = []
    for memory in memories:
        if total <= PAGE_BYTES:
            message = memory_pb(memory)
            total += message.ByteSize()
        if total > PAGE_BYTES and shown:
            message = memory_pb2.Memory(id=memory.id, revision=memory.revision, etag=memory.etag)
        shown.append(message)
        yield
    return shown
