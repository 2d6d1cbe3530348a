"""The asyncio client: the methods, arguments and results of `MemoryClient`, awaited."""
# ruff: noqa: ASYNC109  a timeout here is a gRPC deadline, which the server enforces too

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
import grpc.aio

from recalld import calls, exports, feeds, imports, requests, watching
from recalld.arguments import request_id_of
from recalld.channel import DEFAULT_TIMEOUT, Connection, Deadline, Tls, new_correlation_id, stubs
from recalld.errors import closed, from_rpc
from recalld.options import (
    UNSET,
    AddOptions,
    ConditionOptions,
    ListOptions,
    Messages,
    OutputFormat,
    ScopeOptions,
    SearchOptions,
    Timeout,
    Unset,
    UpdateOptions,
)
from recalld.responses import Item
from recalld.streams import AsyncSearchStream
from recalld.times import Time
from recalld.watching import AsyncWatchStream

T = TypeVar("T")


class AsyncMemoryClient:
    """As MemoryClient, for asyncio. MemoryClient documents the arguments, results and errors.

    It may be created before an event loop runs and used in several loops in turn; it opens a new channel in each.
    """

    def __init__(
        self,
        target: str | None = None,
        api_key: str | None = None,
        *,
        timeout: float | None = DEFAULT_TIMEOUT,
        tls: Tls | None = None,
    ) -> None:
        self._connection = Connection.of(target, api_key, timeout, tls)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._channel: grpc.aio.Channel | None = None
        self._stubs: dict[str, Any] = {}
        self._closed = False

    async def add(
        self,
        messages: Messages,
        *,
        output_format: OutputFormat = "v1.0",
        timeout: Timeout = UNSET,
        **options: Unpack[AddOptions],
    ) -> list[Item] | Any:
        """As MemoryClient.add."""
        return await self._run(calls.add(requests.add(messages, **options), output_format), timeout)

    async def search(
        self,
        query: str,
        *,
        output_format: OutputFormat = "v1.0",
        timeout: Timeout = UNSET,
        **options: Unpack[SearchOptions],
    ) -> list[Item] | Any:
        """As MemoryClient.search."""
        return await self._run(calls.search(requests.search(query, **options), output_format), timeout)

    def stream_search(
        self, query: str, *, timeout: Timeout = UNSET, **options: Unpack[SearchOptions]
    ) -> AsyncSearchStream:
        """As MemoryClient.stream_search, for `async for`."""
        request, correlation_id = requests.search(query, **options), new_correlation_id()
        metadata, deadline = self._connection.metadata(correlation_id), self._connection.deadline(timeout)

        def open_call(token: str) -> Any:
            request.resume_token = token
            stub = self._stub("SearchService")
            return stub.StreamSearch(request, timeout=deadline.left(), metadata=metadata)

        return AsyncSearchStream(open_call, correlation_id)

    def watch(
        self,
        *,
        beginning: bool = False,
        resume_token: str = "",
        as_of: Time | int | None = None,
        **options: Unpack[ConditionOptions],
    ) -> AsyncWatchStream:
        """As MemoryClient.watch, for `async for`."""
        request = watching.request(beginning=beginning, resume_token=resume_token, as_of=as_of, **options)
        correlation_id = new_correlation_id()
        metadata = self._connection.metadata(correlation_id)

        def open_call(token: str) -> Any:
            if token:
                request.resume_token = token
            return self._stub("MemoryService").Watch(request, metadata=metadata)

        return AsyncWatchStream(open_call, resume_token, correlation_id)

    async def get(self, memory_id: str, *, timeout: Timeout = UNSET) -> Item:
        """As MemoryClient.get."""
        return await self._run(calls.get(memory_id), timeout)

    async def get_all(
        self,
        *,
        page: int | None = None,
        page_size: int | None = None,
        output_format: OutputFormat = "v1.0",
        timeout: Timeout = UNSET,
        **options: Unpack[ListOptions],
    ) -> list[Item] | Any:
        """As MemoryClient.get_all."""
        return await self._run(calls.get_all(requests.listing(**options), page, page_size, output_format), timeout)

    async def history(self, memory_id: str, *, timeout: Timeout = UNSET) -> list[Item]:
        """As MemoryClient.history."""
        return await self._run(calls.history(memory_id), timeout)

    async def update(
        self, memory_id: str, text: str | None = None, *, timeout: Timeout = UNSET, **options: Unpack[UpdateOptions]
    ) -> Item:
        """As MemoryClient.update."""
        return await self._run(calls.update(requests.update(memory_id, text, **options)), timeout)

    async def delete(
        self, memory_id: str, *, etag: str | None = None, request_id: str | None = None, timeout: Timeout = UNSET
    ) -> Item:
        """As MemoryClient.delete."""
        return await self._run(calls.delete(memory_id, etag, request_id), timeout)

    async def delete_all(
        self,
        *,
        metadata: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        timeout: Timeout = UNSET,
        **scope: Unpack[ScopeOptions],
    ) -> Item:
        """As MemoryClient.delete_all."""
        request = requests.delete_all(metadata=metadata, request_id=request_id, **scope)
        return await self._run(calls.delete_all(request), timeout)

    async def restore(
        self,
        memory_id: str,
        revision: int | None = None,
        *,
        request_id: str | None = None,
        timeout: Timeout = UNSET,
    ) -> Item:
        """As MemoryClient.restore."""
        return await self._run(calls.restore(memory_id, revision, request_id), timeout)

    async def batch_update(
        self, memories: Sequence[Mapping[str, Any]], *, request_id: str | None = None, timeout: Timeout = UNSET
    ) -> Item:
        """As MemoryClient.batch_update."""
        return await self._run(calls.batch_update(requests.batch_update(memories, request_id)), timeout)

    async def batch_delete(
        self, memories: Sequence[Mapping[str, Any] | str], *, request_id: str | None = None, timeout: Timeout = UNSET
    ) -> Item:
        """As MemoryClient.batch_delete."""
        return await self._run(calls.batch_delete(requests.batch_delete(memories, request_id)), timeout)

    async def users(self, *, timeout: Timeout = UNSET) -> Item:
        """As MemoryClient.users."""
        return await self._run(calls.users(), timeout)

    async def delete_users(self, *, timeout: Timeout = UNSET) -> Item:
        """As MemoryClient.delete_users."""
        return await self._run(calls.delete_users(), timeout)

    async def reset(self, *, timeout: Timeout = UNSET) -> Item:
        """As MemoryClient.reset."""
        return await self._run(calls.reset(), timeout)

    def import_memories(
        self,
        items: Iterable[imports.Importable] | AsyncIterable[imports.Importable],
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> AsyncIterator[imports.ImportProgress]:
        """As MemoryClient.import_memories, for `async for`."""
        feed, correlation_id = feeds.Feed(request_id_of(request_id)), new_correlation_id()
        metadata = self._connection.metadata(correlation_id)

        def open_call() -> Any:
            stub = self._stub("MemoryService")
            return stub.ImportMemories(feed.items_async(items), timeout=timeout, metadata=metadata)

        return feeds.run_async(open_call, feed, correlation_id)

    def export(
        self,
        path: str | Path,
        *,
        format: exports.Format = "jsonl",
        with_history: bool = False,
        with_vectors: bool = False,
        filters: Mapping[str, Any] | None = None,
        resume: bool = False,
        **scope: Unpack[ScopeOptions],
    ) -> AsyncIterator[exports.ExportProgress]:
        """As MemoryClient.export, for `async for`."""
        if self._closed:
            raise closed()
        request = exports.request(format, with_history, with_vectors, filters, **scope)
        return exports.run_async(self._connection, request, Path(path), resume=resume)

    async def aclose(self) -> None:
        """Close the connection and cancel running calls. Later calls raise PreconditionFailed."""
        self._closed = True
        if self._channel is not None and self._loop is asyncio.get_running_loop():
            await self._channel.close()
        self._channel = None

    close = aclose

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    def _stub(self, service: str) -> Any:
        if self._closed:
            raise closed()
        loop = asyncio.get_running_loop()
        if self._channel is None or self._loop is not loop:  # a channel belongs to one event loop
            self._loop, self._channel = loop, self._connection.aio_channel()
            self._stubs = stubs(self._channel)
        return self._stubs[service]

    async def _run(self, plan: calls.Plan[T], timeout: Timeout) -> T:
        deadline = self._connection.deadline(timeout)
        answer = None
        while True:
            try:
                call = plan.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            unbounded = call.endless and isinstance(timeout, Unset)
            answer = await self._call(call, Deadline(None) if unbounded else deadline)

    async def _call(self, call: calls.Call, deadline: Deadline) -> Any:
        correlation_id = new_correlation_id()
        metadata = self._connection.metadata(correlation_id)
        try:
            rpc = getattr(self._stub(call.service), call.rpc)
            return await rpc(call.request, timeout=deadline.left(), metadata=metadata)
        except grpc.RpcError as error:
            raise from_rpc(error, correlation_id) from error
