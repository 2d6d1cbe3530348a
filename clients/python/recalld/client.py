"""The blocking client. It offers the methods, arguments and results of the Mem0 Platform guide over gRPC."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc

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
from recalld.streams import SearchStream
from recalld.times import Time
from recalld.watching import WatchStream

T = TypeVar("T")


class MemoryClient:
    """A client of one server. Threads may share it. It connects on first use; close it, or use it in a `with` block.

    `target` is a gRPC target; default: RECALLD_TARGET or localhost:7420. `api_key`; default: RECALLD_API_KEY. `tls` is
    True, False, the path of a PEM file with trusted CAs, or grpc.ChannelCredentials; default: RECALLD_TLS_CA or
    RECALLD_TLS if set, otherwise True if there is a key and the host is another machine. `timeout` is in seconds for a
    whole method, including retries; None means no deadline. Each method accepts a `timeout` of its own. Deletions of
    many memories (`delete_all`, `delete_users`, `reset`) have no deadline unless the method is given one.

    `recalld.options` lists the keyword arguments. Methods raise the subclass of RecalldError that fits the gRPC code.
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
        self._channel = self._connection.channel()
        self._stubs = stubs(self._channel)
        self._closed = False

    def add(
        self,
        messages: Messages,
        *,
        output_format: OutputFormat = "v1.0",
        timeout: Timeout = UNSET,
        **options: Unpack[AddOptions],
    ) -> list[Item] | Any:
        """Extract facts from a text, a message or a conversation and store them as memories.

        v1.0 returns a list of {"id", "data": {"memory"}, "event"}, or {"message": "ok"} if the text only deleted
        memories. v1.1 returns {"results": [{"id", "memory", "event"}], "verdicts": [{"index", "reason", "memory_ids",
        "detail"}], "add_id", "consistency_token", "index_state"}. Unchanged memories are not listed. Each verdict
        describes the outcome of one message.
        """
        return self._run(calls.add(requests.add(messages, **options), output_format), timeout)

    def search(
        self,
        query: str,
        *,
        output_format: OutputFormat = "v1.0",
        timeout: Timeout = UNSET,
        **options: Unpack[SearchOptions],
    ) -> list[Item] | Any:
        """Search memories, best first. Returns a list in v1.0, {"results": list} in v1.1.

        Each hit has `score`, its absolute relevance (0 to 1), and `rank_score`, which only orders this result.
        """
        return self._run(calls.search(requests.search(query, **options), output_format), timeout)

    def stream_search(self, query: str, *, timeout: Timeout = UNSET, **options: Unpack[SearchOptions]) -> SearchStream:
        """Stream the hits of `search`, each as soon as its rank is certain. The timeout covers the whole stream."""
        request, correlation_id = requests.search(query, **options), new_correlation_id()
        metadata, deadline = self._connection.metadata(correlation_id), self._connection.deadline(timeout)

        def open_call(token: str) -> Any:
            request.resume_token = token
            stub = self._stub("SearchService")
            return stub.StreamSearch(request, timeout=deadline.left(), metadata=metadata)

        return SearchStream(open_call, correlation_id)

    def watch(
        self,
        *,
        beginning: bool = False,
        resume_token: str = "",
        as_of: Time | int | None = None,
        **options: Unpack[ConditionOptions],
    ) -> WatchStream:
        """Stream changes as they are committed.

        Starts now, or with the oldest change kept (`beginning`), after `resume_token`, or after `as_of`. Yields entries
        as in `history`, with `sequence` and `cause`. Resumes after connection errors; end it with `close()` or `with`.
        """
        request = watching.request(beginning=beginning, resume_token=resume_token, as_of=as_of, **options)
        correlation_id = new_correlation_id()
        metadata = self._connection.metadata(correlation_id)

        def open_call(token: str) -> Any:
            if token:
                request.resume_token = token
            return self._stub("MemoryService").Watch(request, metadata=metadata)

        return WatchStream(open_call, resume_token, correlation_id)

    def get(self, memory_id: str, *, timeout: Timeout = UNSET) -> Item:
        """Get one memory. Raises NotFound."""
        return self._run(calls.get(memory_id), timeout)

    def get_all(
        self,
        *,
        page: int | None = None,
        page_size: int | None = None,
        output_format: OutputFormat = "v1.0",
        timeout: Timeout = UNSET,
        **options: Unpack[ListOptions],
    ) -> list[Item] | Any:
        """List memories, newest first: all of them, or one page in an envelope if `page` or `page_size` is given.

        Pages count from 1. The page size is 100 by default, at most 1,000. v1.1 wraps the list in another envelope, as
        in the guide.
        """
        return self._run(calls.get_all(requests.listing(**options), page, page_size, output_format), timeout)

    def history(self, memory_id: str, *, timeout: Timeout = UNSET) -> list[Item]:
        """List the changes of a memory, also of a deleted one, oldest first. Raises NotFound."""
        return self._run(calls.history(memory_id), timeout)

    def update(
        self, memory_id: str, text: str | None = None, *, timeout: Timeout = UNSET, **options: Unpack[UpdateOptions]
    ) -> Item:
        """Update a memory and return it. Raises NotFound, PreconditionFailed (immutable) or Conflict (etag)."""
        return self._run(calls.update(requests.update(memory_id, text, **options)), timeout)

    def delete(
        self, memory_id: str, *, etag: str | None = None, request_id: str | None = None, timeout: Timeout = UNSET
    ) -> Item:
        """Delete a memory; `restore` undoes it. Raises NotFound."""
        return self._run(calls.delete(memory_id, etag, request_id), timeout)

    def delete_all(
        self,
        *,
        metadata: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        timeout: Timeout = UNSET,
        **scope: Unpack[ScopeOptions],
    ) -> Item:
        """Delete the memories of a user, agent, app or run. Raises InvalidRequest unless at least one id is given."""
        request = requests.delete_all(metadata=metadata, request_id=request_id, **scope)
        return self._run(calls.delete_all(request), timeout)

    def restore(
        self,
        memory_id: str,
        revision: int | None = None,
        *,
        request_id: str | None = None,
        timeout: Timeout = UNSET,
    ) -> Item:
        """Restore a deleted memory, or the content of an earlier revision, and return the memory."""
        return self._run(calls.restore(memory_id, revision, request_id), timeout)

    def batch_update(
        self, memories: Sequence[Mapping[str, Any]], *, request_id: str | None = None, timeout: Timeout = UNSET
    ) -> Item:
        """Update up to 1,000 memories atomically. Each item has a `memory_id` and changes, named as for `update`."""
        return self._run(calls.batch_update(requests.batch_update(memories, request_id)), timeout)

    def batch_delete(
        self, memories: Sequence[Mapping[str, Any] | str], *, request_id: str | None = None, timeout: Timeout = UNSET
    ) -> Item:
        """Delete up to 1,000 memories atomically. Each item is an id or an object with a `memory_id`."""
        return self._run(calls.batch_delete(requests.batch_delete(memories, request_id)), timeout)

    def users(self, *, timeout: Timeout = UNSET) -> Item:
        """List the users, agents, apps and runs that have memories: {"results": [{"id", "name", "type", ...}]}."""
        return self._run(calls.users(), timeout)

    def delete_users(self, *, timeout: Timeout = UNSET) -> Item:
        """Delete all users, agents, apps and runs that the API key may access, with their memories."""
        return self._run(calls.delete_users(), timeout)

    def reset(self, *, timeout: Timeout = UNSET) -> Item:
        """Delete all memories that the API key may access. The same as `delete_users`."""
        return self._run(calls.reset(), timeout)

    def import_memories(
        self,
        items: Iterable[imports.Importable],
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[imports.ImportProgress]:
        """Store texts or whole memories without extraction and yield progress. No deadline unless one is given.

        Invalid items are skipped and reported in `failed` of the progress. It is safe to repeat an import: memories
        that are already stored count as unchanged.
        """
        feed, correlation_id = feeds.Feed(request_id_of(request_id)), new_correlation_id()
        metadata = self._connection.metadata(correlation_id)

        def open_call() -> Any:
            stub = self._stub("MemoryService")
            return stub.ImportMemories(feed.items(items), timeout=timeout, metadata=metadata)

        return feeds.run(open_call, feed, correlation_id)

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
    ) -> Iterator[exports.ExportProgress]:
        """Export a snapshot of memories to a file and yield progress.

        Without ids and filters, exports all memories that the API key may access. Writes a `.part` file next to `path`
        and renames it once it is complete and its checksum is verified. `resume` continues the `.part` file of an
        interrupted export with the same arguments, with the snapshot of that export. Without such a file, or if the
        server no longer has the export, a new export starts. Raises ValueError if the checksum does not match.
        """
        request = exports.request(format, with_history, with_vectors, filters, **scope)
        return exports.run(self._stub, self._connection.metadata, request, Path(path), resume=resume)

    def close(self) -> None:
        """Close the connection and cancel running calls. Later calls raise PreconditionFailed."""
        self._closed = True
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stub(self, service: str) -> Any:
        if self._closed:
            raise closed()
        return self._stubs[service]

    def _run(self, plan: calls.Plan[T], timeout: Timeout) -> T:
        deadline = self._connection.deadline(timeout)
        answer = None
        while True:
            try:
                call = plan.send(answer)
            except StopIteration as end:
                result: T = end.value
                return result
            unbounded = call.endless and isinstance(timeout, Unset)
            answer = self._call(call, Deadline(None) if unbounded else deadline)

    def _call(self, call: calls.Call, deadline: Deadline) -> Any:
        correlation_id = new_correlation_id()
        metadata = self._connection.metadata(correlation_id)
        try:
            rpc = getattr(self._stub(call.service), call.rpc)
            return rpc(call.request, timeout=deadline.left(), metadata=metadata)
        except grpc.RpcError as error:
            raise from_rpc(error, correlation_id) from error
