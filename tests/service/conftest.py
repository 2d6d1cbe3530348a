"""A real server that all tests of the service share, and their helpers.

Since tests share the server, each test uses its own user ids.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from recalld import testing
from recalld.v1 import (
    entity_service_pb2_grpc,
    error_reason_pb2,
    export_service_pb2,
    export_service_pb2_grpc,
    memory_pb2,
    memory_service_pb2,
    memory_service_pb2_grpc,
    project_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from recalld_server.admin.offline import open_keys
from recalld_server.domain import limits
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Access, Scope
from recalld_server.wiring.settings import Settings

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
    project: Any
    export: Any
    operations: Any

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
        return [event async for page in self.pages(self.memory.ListEvents, request) for event in page.events]

    async def pages(self, call: Any, request: Any) -> AsyncIterator[Any]:
        """All answers of a call that gives pages; the request has the token of the last one at the end."""
        while True:
            answer = await call(request)
            yield answer
            if not answer.next_page_token:
                return
            request.page_token = answer.next_page_token

    async def found(self, user: str, query: str, **fields: Any) -> list[str]:
        """The texts a search inside a user finds, best first."""
        request = search_service_pb2.SearchRequest(query=query, scope={"user_id": user}, **fields)
        return [hit.memory.text for hit in (await self.search.Search(request)).hits]

    async def ended(self, operation: operations_pb2.Operation) -> operations_pb2.Operation:
        """An operation once it has ended, which must be within half a minute."""
        wait = operations_pb2.WaitOperationRequest(name=operation.name, timeout={"seconds": 30})
        found = await self.operations.WaitOperation(wait)
        assert found.done, found
        return found

    async def exported(self, **fields: Any) -> export_service_pb2.Export:
        """A finished export."""
        fields = {"format": export_service_pb2.EXPORT_FORMAT_JSONL} | fields
        begun = await self.export.CreateExport(export_service_pb2.CreateExportRequest(**fields))
        operation, made = await self.ended(begun), export_service_pb2.Export()
        assert operation.response.Unpack(made), operation.error
        return made

    async def exported_bytes(self, export_id: str) -> bytes:
        """What an export holds."""
        request = export_service_pb2.ReadExportRequest(export_id=export_id)
        return b"".join([piece.data async for piece in self.export.ReadExport(request)])

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


class Unary(grpc.aio.UnaryUnaryClientInterceptor):
    """Sends a key with every call; the library wants one class for each shape of call."""

    def __init__(self, key: str) -> None:
        self._key = key

    async def _sign(self, continuation: Any, details: Any, request: Any) -> Any:
        header = ("authorization", f"Bearer {self._key}")
        return await continuation(details._replace(metadata=(*(details.metadata or ()), header)), request)

    intercept_unary_unary = _sign


class Streamed(grpc.aio.UnaryStreamClientInterceptor):
    """As Unary, for answers that are streams."""

    __init__ = Unary.__init__
    intercept_unary_stream = Unary._sign


class Both(grpc.aio.StreamStreamClientInterceptor):
    """As Unary, for streams both ways."""

    __init__ = Unary.__init__
    intercept_stream_stream = Unary._sign


@asynccontextmanager
async def connected(target: str, key: str = "") -> AsyncIterator[Api]:
    """Stubs for a server, on a channel of their own, with a key if one is given."""
    signing = [Unary(key), Streamed(key), Both(key)] if key else []
    async with grpc.aio.insecure_channel(target, options=OPTIONS, interceptors=signing) as channel:
        yield Api(
            channel,
            memory_service_pb2_grpc.MemoryServiceStub(channel),
            search_service_pb2_grpc.SearchServiceStub(channel),
            entity_service_pb2_grpc.EntityServiceStub(channel),
            project_service_pb2_grpc.ProjectServiceStub(channel),
            export_service_pb2_grpc.ExportServiceStub(channel),
            operations_pb2_grpc.OperationsStub(channel),
        )


@pytest.fixture(scope="session")
def server() -> Iterator[testing.LocalServer]:
    """The server of all tests in this folder."""
    with testing.start_local() as running:
        yield running


@dataclass(frozen=True)
class Keyed:
    """A server that needs keys, and keys for it by the name of their holder."""

    server: testing.LocalServer
    keys: Mapping[str, str]


@pytest.fixture(scope="session")
def keyed() -> Iterator[Keyed]:
    """A server with a key of every kind. They are made in its data folder while it runs, as an operator would."""
    with testing.start_local() as running:
        yield Keyed(running, asyncio.run(_made(running.data_dir)))


async def _made(data_dir: Path) -> dict[str, str]:
    alice = Scope(user_id="alice")
    wanted = {
        "reader": ApiKey("", "default", Role.READER),
        "writer": ApiKey("", "default", Role.WRITER),
        "admin": ApiKey("", "default", Role.ADMIN),
        "operator": ApiKey("", "", Role.OPERATOR),
        "alice": ApiKey("", "default", Role.ADMIN, alice),
        "alice2": ApiKey("", "default", Role.ADMIN, alice),
        "revoked": ApiKey("", "default", Role.ADMIN),
        "expired": ApiKey("", "default", Role.ADMIN, expire_time=time.time_ns() // 1000 + 500_000),
    }
    async with open_keys(Settings(data_dir=data_dir)) as keys:
        made = {name: (await keys.create(Access(key.project), key))[1] for name, key in wanted.items()}
        await keys.revoke(Access("default"), made["revoked"].split("_")[1])
    await asyncio.sleep(0.6)  # until the expired one is, and the server knows that there are keys
    return made


@pytest.fixture
async def api(server: testing.LocalServer) -> AsyncIterator[Api]:
    """Stubs of the common server."""
    async with connected(server.target) as found:
        yield found


@pytest.fixture
def connect() -> Callable[[str], AbstractAsyncContextManager[Api]]:
    """For tests with a server of their own: `async with connect(target) as api`."""
    return connected


@pytest.fixture
def keyed_api(keyed: Keyed) -> Callable[[str], AbstractAsyncContextManager[Api]]:
    """`async with keyed_api(holder) as api`: the server with keys, as a holder it names or with a key of one's own."""
    return lambda holder: connected(keyed.server.target, keyed.keys.get(holder, holder))


@pytest.fixture
def refusal() -> Callable[[grpc.RpcError], Refusal]:
    """What an error says."""
    return refusal_of
