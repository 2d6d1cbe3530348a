"""The blocking client. Its methods, arguments and results are those of the Mem0 Platform guide, over gRPC."""

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
    """A client of one server, safe to share between threads. Connects when first used; close it, or use `with`.

    `target` is a gRPC target, by default RECALLD_TARGET or localhost:7420; `api_key` by default RECALLD_API_KEY. `tls`
    is True, False, the path of a PEM file with the roots to trust, or grpc.ChannelCredentials; by default it comes from
    RECALLD_TLS_CA or RECALLD_TLS, else it is on when there is a key and the host is not this machine. `timeout` is in
    seconds for a whole method, retries included; None means no deadline, and every method takes its own. Deletions of
    many memories (`delete_all`, `delete_users`, `reset`) have no deadline unless the method is given one.

    Keyword arguments are listed in `recalld.options`. Every method raises the family of RecalldError that fits.
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
        """Remembers what is worth it in a text, a message or a conversation.

        v1.0: a list of {"id", "data": {"memory"}, "event"}, or {"message": "ok"} when words asked to delete. v1.1:
        {"results": [{"id", "memory", "event"}], "verdicts": [{"index", "reason", "memory_ids", "detail"}], "add_id",
        "consistency_token", "index_state"}. Memories that stay as they were are not listed; the verdicts say of every
        message what became of it.
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
        """Memories that answer a query, best first: a list in v1.0, {"results": list} in v1.1.

        Each carries `score`, how well it answers by itself (0 to 1), and `rank_score`, which orders this answer.
        """
        return self._run(calls.search(requests.search(query, **options), output_format), timeout)

    def stream_search(self, query: str, *, timeout: Timeout = UNSET, **options: Unpack[SearchOptions]) -> SearchStream:
        """The hits of `search`, each as soon as its place is certain. The timeout covers the whole stream."""
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
        """Changes as they are committed, from now on, from the oldest kept, after a token or after a moment.

        Entries as of `history`, with `sequence` and `cause`. Resumes by itself; leave it with `close()` or `with`.
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
        """One memory. Raises NotFound."""
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
        """Memories, newest first: all of them, or with `page` or `page_size` one page in an envelope.

        Pages count from 1 and hold 100 by default, 1,000 at most. v1.1 wraps the list once more, as in the guide.
        """
        return self._run(calls.get_all(requests.listing(**options), page, page_size, output_format), timeout)

    def history(self, memory_id: str, *, timeout: Timeout = UNSET) -> list[Item]:
        """How a memory came to be what it is, oldest first; also of a deleted one. Raises NotFound."""
        return self._run(calls.history(memory_id), timeout)

    def update(
        self, memory_id: str, text: str | None = None, *, timeout: Timeout = UNSET, **options: Unpack[UpdateOptions]
    ) -> Item:
        """Changes a memory and returns it. Raises NotFound, PreconditionFailed (immutable) and Conflict (etag)."""
        return self._run(calls.update(requests.update(memory_id, text, **options)), timeout)

    def delete(
        self, memory_id: str, *, etag: str | None = None, request_id: str | None = None, timeout: Timeout = UNSET
    ) -> Item:
        """Deletes a memory; `restore` brings it back. Raises NotFound."""
        return self._run(calls.delete(memory_id, etag, request_id), timeout)

    def delete_all(
        self,
        *,
        metadata: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        timeout: Timeout = UNSET,
        **scope: Unpack[ScopeOptions],
    ) -> Item:
        """Deletes the memories of a user, agent, app or run. At least one id must be given."""
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
        """Brings back a deleted memory, or the content of an earlier revision, and returns it."""
        return self._run(calls.restore(memory_id, revision, request_id), timeout)

    def batch_update(
        self, memories: Sequence[Mapping[str, Any]], *, request_id: str | None = None, timeout: Timeout = UNSET
    ) -> Item:
        """Changes up to 1,000 memories, all or none. Each names its `memory_id` and what changes, as for `update`."""
        return self._run(calls.batch_update(requests.batch_update(memories, request_id)), timeout)

    def batch_delete(
        self, memories: Sequence[Mapping[str, Any] | str], *, request_id: str | None = None, timeout: Timeout = UNSET
    ) -> Item:
        """Deletes up to 1,000 memories, all or none: ids, or objects that hold one as `memory_id`."""
        return self._run(calls.batch_delete(requests.batch_delete(memories, request_id)), timeout)

    def users(self, *, timeout: Timeout = UNSET) -> Item:
        """The users, agents, apps and runs that have memories: {"results": [{"id", "name", "type", ...}]}."""
        return self._run(calls.users(), timeout)

    def delete_users(self, *, timeout: Timeout = UNSET) -> Item:
        """Deletes all users, agents, apps and runs with their memories, as far as the API key reaches."""
        return self._run(calls.delete_users(), timeout)

    def reset(self, *, timeout: Timeout = UNSET) -> Item:
        """Deletes everything: every memory belongs to a user, agent, app or run."""
        return self._run(calls.reset(), timeout)

    def import_memories(
        self,
        items: Iterable[imports.Importable],
        *,
        request_id: str | None = None,
        timeout: float | None = None,
    ) -> Iterator[imports.ImportProgress]:
        """Stores texts or whole memories as they are, and yields how far it is. No deadline unless one is given.

        An item that can't be sent is skipped, and stands among the `failed` of the progress. To repeat an import is
        safe: what is stored already counts as unchanged.
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
        """Writes memories as they are now to a file, and yields how far it is.

        Without ids and filters it takes everything the API key reaches. The file appears when it is complete and its
        checksum right; until then it grows beside it as a `.part` file. With `resume` it goes on with a `.part` file
        that an earlier call for the same left behind, if the server still has that export: the memories are then as
        they were when that export was made.
        """
        request = exports.request(format, with_history, with_vectors, filters, **scope)
        return exports.run(self._stub, self._connection.metadata, request, Path(path), resume=resume)

    def close(self) -> None:
        """Ends all calls and the connection. Calls after it raise PreconditionFailed."""
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
