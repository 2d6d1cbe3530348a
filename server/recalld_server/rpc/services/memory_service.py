"""MemoryService: checks each request, converts it, calls the use case and converts the result."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from google.longrunning import operations_pb2

from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import memory_service_pb2_grpc
from recalld_server.domain.errors import MemoryNotFound, NotYetAvailable, WatchTooSlow
from recalld_server.domain.memory import Access, Memory
from recalld_server.domain.page_tokens import Tokens
from recalld_server.domain.steps import once
from recalld_server.rpc.interceptors.auth import access
from recalld_server.rpc.interceptors.base import send
from recalld_server.rpc.parse.commands import (
    add_command,
    as_of,
    deletion,
    event_query,
    feedback_of,
    forgetting,
    list_query,
    updates,
    watch_query,
)
from recalld_server.rpc.parse.requests import parsed
from recalld_server.rpc.parse.validate import check
from recalld_server.rpc.render import memory_protos, paging
from recalld_server.rpc.render.errors import ShuttingDown
from recalld_server.rpc.render.memory_protos import request_key
from recalld_server.rpc.render.operation_protos import OperationRenderer
from recalld_server.rpc.services.add_async import AsyncAdds, add_response
from recalld_server.rpc.services.import_stream import ImportStream
from recalld_server.usecases.add import Add
from recalld_server.usecases.forgetting import Forgetting
from recalld_server.usecases.imports import Imports
from recalld_server.usecases.memories import Changed, MemoryMutations
from recalld_server.usecases.queries import Queries
from recalld_server.usecases.watch import Position, Watch

READER_PATIENCE = 20.0  # seconds for one message of a watch to be sent once the network buffers are full


class MemoryService(memory_service_pb2_grpc.MemoryServiceServicer):
    """See memory_service.proto."""

    def __init__(
        self,
        add: Add,
        modify: MemoryMutations,
        read: Queries,
        importing: Imports,
        tokens: Tokens,
        watch: Watch,
        forget: Forgetting,
        adding: AsyncAdds,
        renderer: OperationRenderer,
    ) -> None:
        self._add = add
        self._modify = modify
        self._read = read
        self._import = importing
        self._tokens = tokens
        self._watch = watch
        self._forget = forget
        self._adding = adding
        self._renderer = renderer

    async def Add(self, request: pb.AddRequest, context: Any) -> pb.AddResponse:
        who = access()
        memory_protos.fill_in(request.scope, who.pin)
        command = await parsed(request, once(lambda: add_command(request, request_key("Add", request))))
        added = await self._add.add(who, command)
        answer = await add_response(added, who.project, self._tokens)
        if request.dry_run:
            answer.ClearField("index_state")
        return answer

    async def AddAsync(self, request: pb.AddRequest, context: Any) -> operations_pb2.Operation:
        who = access()
        memory_protos.fill_in(request.scope, who.pin)
        return await self._renderer.operation(await self._adding.start(who, request))

    async def ImportMemories(
        self, requests: AsyncIterator[pb.ImportItem], context: Any
    ) -> AsyncIterator[pb.ImportProgress]:
        async for progress in ImportStream(self._import, self._tokens, access()).progress(requests):
            yield progress

    async def GetMemory(self, request: pb.GetMemoryRequest, context: Any) -> pb.GetMemoryResponse:
        check(request)
        return pb.GetMemoryResponse(memory=memory_protos.memory_pb(await self._read.get(access(), request.memory_id)))

    async def ListMemories(self, request: pb.ListMemoriesRequest, context: Any) -> pb.ListMemoriesResponse:
        who = access()
        query, bound = await parsed(
            request, once(lambda: (list_query(request), paging.binding("ListMemories", who, request)))
        )
        if request.page_token:
            after = self._tokens.open_page(request.page_token, bound)
            query = replace(query, skip=0, after=(int(after[0]), str(after[1])))
        found = await self._read.list(who, query, as_of(request))
        page = await paging.filled(found.memories, memory_protos.memory_pb)
        last = page.last(found.memories, found.more)
        token = self._tokens.page(bound, [getattr(last, query.order), last.id]) if last else ""
        return pb.ListMemoriesResponse(memories=page.messages, next_page_token=token, total_size=found.total or 0)

    async def UpdateMemory(self, request: pb.UpdateMemoryRequest, context: Any) -> pb.UpdateMemoryResponse:
        who = access()
        [update], key = await parsed(request, updates([request], "UpdateMemory", request))
        changed = await self._modify.update(who, [update], key)
        memory = memory_protos.memory_pb(_only(changed, update.memory_id))
        return pb.UpdateMemoryResponse(memory=memory, **self._stand(who, changed))

    async def DeleteMemory(self, request: pb.DeleteMemoryRequest, context: Any) -> pb.DeleteMemoryResponse:
        check(request)
        who = access()
        key = request_key("DeleteMemory", request)
        changed = await self._modify.delete(who, [request.memory_id], key, request.etag)
        return pb.DeleteMemoryResponse(**self._stand(who, changed))

    async def BatchUpdateMemories(
        self, request: pb.BatchUpdateMemoriesRequest, context: Any
    ) -> pb.BatchUpdateMemoriesResponse:
        who = access()
        wanted, key = await parsed(request, updates(request.updates, "BatchUpdateMemories", request))
        changed = await self._modify.update(who, wanted, key)
        memories = await paging.bounded(changed.memories)
        return pb.BatchUpdateMemoriesResponse(memories=memories, **self._stand(who, changed))

    async def BatchDeleteMemories(
        self, request: pb.BatchDeleteMemoriesRequest, context: Any
    ) -> pb.BatchDeleteMemoriesResponse:
        who = access()
        key = await parsed(request, once(lambda: request_key("BatchDeleteMemories", request)))
        changed = await self._modify.delete(who, list(request.memory_ids), key)
        return pb.BatchDeleteMemoriesResponse(deleted_count=changed.count, **self._stand(who, changed))

    async def DeleteMemories(self, request: pb.DeleteMemoriesRequest, context: Any) -> pb.DeleteMemoriesResponse:
        who = access()
        wanted = await parsed(request, once(lambda: deletion(request, request_key("DeleteMemories", request))))
        changed = await self._modify.delete_matching(who, wanted)
        sample = (await paging.filled(changed.memories, memory_protos.memory_pb)).messages
        stand = {} if request.dry_run else self._stand(who, changed)
        until = memory_protos.timestamp_pb(changed.until) if changed.until else None
        return pb.DeleteMemoriesResponse(count=changed.count, sample=sample, restorable_until=until, **stand)

    async def RestoreMemory(self, request: pb.RestoreMemoryRequest, context: Any) -> pb.RestoreMemoryResponse:
        check(request)
        who = access()
        revision = request.revision if request.HasField("revision") else None
        changed = await self._modify.restore(who, request.memory_id, revision, request_key("RestoreMemory", request))
        memory = memory_protos.memory_pb(_only(changed, request.memory_id))
        return pb.RestoreMemoryResponse(memory=memory, **self._stand(who, changed))

    async def ForgetMemories(self, request: pb.ForgetMemoriesRequest, context: Any) -> pb.ForgetReceipt:
        who = access()
        wanted = await parsed(request, once(lambda: forgetting(request, request_key("ForgetMemories", request))))
        receipt = await self._forget.forget(who, wanted)
        token = "" if request.dry_run else self._tokens.consistency(who.project, receipt.sequence)
        return memory_protos.receipt_pb(receipt, token)

    async def ListEvents(self, request: pb.ListEventsRequest, context: Any) -> pb.ListEventsResponse:
        who = access()
        query, bound = await parsed(
            request, once(lambda: (event_query(request), paging.binding("ListEvents", who, request)))
        )
        if request.page_token:
            query = replace(query, after=int(self._tokens.open_page(request.page_token, bound)))
        found, more = await self._read.events(who, query, begun=bool(request.page_token))
        page = await paging.filled(found, memory_protos.event_pb)
        last = page.last(found, more)
        token = self._tokens.page(bound, last.seq) if last else ""
        return pb.ListEventsResponse(events=page.messages, next_page_token=token)

    async def Watch(self, request: pb.WatchRequest, context: Any) -> None:
        who, token = access(), request.resume_token
        bound, query = await parsed(
            request, once(lambda: (paging.binding("Watch", who, request), watch_query(request)))
        )
        if token:
            query = replace(query, after=Position(*self._tokens.open_resume(token, bound)))
        async with aclosing(self._watch.run(who, query)) as sights:
            async for sight in sights:
                token = self._tokens.resume(bound, [sight.position.seq, sight.position.floor])
                try:
                    async with asyncio.timeout(READER_PATIENCE):
                        await send(context, memory_protos.sight_pb(sight, token))
                except TimeoutError:
                    raise WatchTooSlow(resume_token=token) from None
        raise ShuttingDown(resume_token=token)

    async def DeleteByInstruction(
        self, request: pb.DeleteByInstructionRequest, context: Any
    ) -> pb.DeleteByInstructionResponse:
        raise NotYetAvailable(feature="DeleteByInstruction")

    async def SetFeedback(self, request: pb.SetFeedbackRequest, context: Any) -> pb.SetFeedbackResponse:
        check(request)
        who = access()
        key = request_key("SetFeedback", request)
        changed = await self._modify.judge(who, request.memory_id, feedback_of(request), request.reason, key)
        memory = memory_protos.memory_pb(_only(changed, request.memory_id))
        return pb.SetFeedbackResponse(memory=memory, **self._stand(who, changed))

    def _stand(self, who: Access, changed: Changed) -> dict[str, Any]:
        """The two fields that the response of every write has."""
        return {
            "consistency_token": self._tokens.consistency(who.project, changed.seq),
            "index_state": memory_protos.index_state(changed.applied),
        }


def _only(changed: Changed, memory_id: str) -> Memory:
    """The memory of a change. Raises MemoryNotFound if the request is a repeat and its answer is no longer kept."""
    if not changed.memories:
        text = "This request was already executed, but its memory has been forgotten or its revision trimmed since."
        raise MemoryNotFound(text, memory_id=memory_id)
    return changed.memories[0]
