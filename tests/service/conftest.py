"""One real server for all tests of the service, and what every test of it needs.

Tests share the server, so each keeps to user ids of its own.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from recalld import testing
from recalld.v1 import (
    entity_service_pb2_grpc,
    error_reason_pb2,
    memory_pb2,
    memory_service_pb2,
    memory_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from recalld_server.domain import limits

MODEL, DIMENSION = "minilm-l6-v2-int8", 384
OPTIONS = [("grpc.max_receive_message_length", 32 * 1024 * 1024), ("grpc.max_send_message_length", 32 * 1024 * 1024)]


@dataclass(frozen=True)
class Refusal:
    """What an error says. `fields` are the field paths of its BadRequest, in order."""

    code: grpc.StatusCode
    reason: str
    message: str
    metadata: Mapping[str, str]
    fields: tuple[str, ...]
    details: Mapping[str, Any]


def refusal_of(error: grpc.RpcError) -> Refusal:
    """The refusal of an error, which must be complete: one ErrorInfo of ours, a BadRequest when a field is wrong."""
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()} without details: {error.details()}"
    kinds = (
        error_details_pb2.ErrorInfo,
        error_details_pb2.BadRequest,
        error_details_pb2.RetryInfo,
        error_details_pb2.PreconditionFailure,
    )
    details: dict[str, Any] = {}
    for packed in status.details:
        kind = next(kind for kind in kinds if packed.Is(kind.DESCRIPTOR))
        assert kind.__name__ not in details, f"two {kind.__name__}"
        details[kind.__name__] = kind.FromString(packed.value)
    info = details["ErrorInfo"]
    assert info.domain == "recalld"
    assert error_reason_pb2.ErrorReason.Value(f"ERROR_REASON_{info.reason}")
    bad = details.get("BadRequest")
    unread = info.reason == "REQUEST_MALFORMED" or info.metadata.get("limit") == str(limits.CALL_BYTES)
    if error.code() is grpc.StatusCode.INVALID_ARGUMENT and not unread:
        assert bad is not None, f"{info.reason} without BadRequest"
        assert bad.field_violations, f"{info.reason} names no field"
        assert all(violation.description for violation in bad.field_violations)
    fields = tuple(violation.field for violation in bad.field_violations) if bad else ()
    return Refusal(error.code(), info.reason, error.details() or "", dict(info.metadata), fields, details)


@dataclass(frozen=True)
class Api:
    """Stubs of a server, and short ways to what tests do again and again."""

    channel: grpc.aio.Channel
    memory: Any
    search: Any
    entity: Any

    def user(self) -> str:
        """A user id nobody has had before."""
        return f"user-{uuid.uuid4()}"

    async def refused(self, call: Awaitable[Any]) -> Refusal:
        """The refusal of a unary call."""
        with pytest.raises(grpc.RpcError) as caught:
            await call
        return refusal_of(caught.value)

    async def remember(self, user: str, *texts: str, **fields: Any) -> list[memory_pb2.Memory]:
        """Adds texts as they are; the memories in their order."""
        messages = [memory_pb2.Message(role="user", content=text) for text in texts]
        request = memory_service_pb2.AddRequest(scope={"user_id": user}, messages=messages, infer=False, **fields)
        return [result.memory for result in (await self.memory.Add(request)).results]

    async def listed(self, user: str, **fields: Any) -> list[memory_pb2.Memory]:
        """A user's memories, oldest first."""
        fields = {"order_by": "create_time", "page_size": 1000} | fields
        request = memory_service_pb2.ListMemoriesRequest(scope={"user_id": user}, **fields)
        return list((await self.memory.ListMemories(request)).memories)

    async def texts(self, user: str, **fields: Any) -> list[str]:
        """The texts of a user's memories, oldest first."""
        return [memory.text for memory in await self.listed(user, **fields)]

    async def events(self, user: str, **fields: Any) -> list[memory_pb2.Event]:
        """What happened to a user's memories, oldest first."""
        request = memory_service_pb2.ListEventsRequest(scope={"user_id": user}, page_size=1000, **fields)
        return list((await self.memory.ListEvents(request)).events)

    async def found(self, user: str, query: str, **fields: Any) -> list[str]:
        """The texts a search inside a user finds, best first."""
        request = search_service_pb2.SearchRequest(query=query, scope={"user_id": user}, **fields)
        return [hit.memory.text for hit in (await self.search.Search(request)).hits]

    async def imported(self, items: list[Any]) -> list[Any]:
        """All progress messages of an import."""
        return [progress async for progress in self.memory.ImportMemories(iter(items))]

    async def fill(self, user: str, count: int) -> None:
        """That many memories, quickly: with vectors made up, so that nothing is embedded."""
        items = [self.whole(user, f"Locker {number} holds a hat", number) for number in range(count)]
        *_, last = await self.imported(items)
        assert (last.stored, last.through_index) == (count, count - 1)

    def whole(self, user: str, text: str, direction: int = 0, **fields: Any) -> memory_service_pb2.ImportItem:
        """An item of an import with an id and a vector."""
        vector = [0.0] * DIMENSION
        vector[direction % DIMENSION] = 1.0
        memory = memory_pb2.Memory(**{"id": str(uuid.uuid4()), "text": text, "user_id": user} | fields)
        return memory_service_pb2.ImportItem(memory=memory, vector=vector, vector_model=MODEL)


@asynccontextmanager
async def connected(target: str) -> AsyncIterator[Api]:
    """Stubs for a server, on a channel of their own."""
    async with grpc.aio.insecure_channel(target, options=OPTIONS) as channel:
        yield Api(
            channel,
            memory_service_pb2_grpc.MemoryServiceStub(channel),
            search_service_pb2_grpc.SearchServiceStub(channel),
            entity_service_pb2_grpc.EntityServiceStub(channel),
        )


@pytest.fixture(scope="session")
def server() -> Iterator[testing.LocalServer]:
    """The server of all tests in this folder."""
    with testing.start_local() as running:
        yield running


@pytest.fixture
async def api(server: testing.LocalServer) -> AsyncIterator[Api]:
    """Stubs of the common server."""
    async with connected(server.target) as found:
        yield found


@pytest.fixture
def connect() -> Callable[[str], AbstractAsyncContextManager[Api]]:
    """For tests with a server of their own: `async with connect(target) as api`."""
    return connected
