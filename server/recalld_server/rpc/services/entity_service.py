"""EntityService: checks each request, converts it, calls the use case and converts the result."""

from __future__ import annotations

from typing import Any

from recalld.v1 import entity_service_pb2 as pb
from recalld.v1 import entity_service_pb2_grpc, memory_pb2
from recalld_server.domain.memory import Scope
from recalld_server.domain.page_tokens import Tokens
from recalld_server.rpc.interceptors.auth import access
from recalld_server.rpc.parse.validate import check
from recalld_server.rpc.render import memory_protos, paging
from recalld_server.rpc.render.memory_protos import request_key
from recalld_server.usecases.memories import MemoryMutations
from recalld_server.usecases.queries import Queries

FIELDS = {
    memory_pb2.ENTITY_TYPE_USER: "user_id",
    memory_pb2.ENTITY_TYPE_AGENT: "agent_id",
    memory_pb2.ENTITY_TYPE_APP: "app_id",
    memory_pb2.ENTITY_TYPE_RUN: "run_id",
}


class EntityService(entity_service_pb2_grpc.EntityServiceServicer):
    """See entity_service.proto."""

    def __init__(self, read: Queries, modify: MemoryMutations, tokens: Tokens) -> None:
        self._read = read
        self._modify = modify
        self._tokens = tokens

    async def ListEntities(self, request: pb.ListEntitiesRequest, context: Any) -> pb.ListEntitiesResponse:
        check(request)
        who = access()
        bound = paging.binding("ListEntities", who, request)
        after = tuple(self._tokens.open_page(request.page_token, bound)) if request.page_token else None
        type = FIELDS.get(request.type, "")
        found, more = await self._read.entities(who, type, after, paging.size(request.page_size))
        page = await paging.filled(found, memory_protos.entity_pb)
        last = page.last(found, more)
        token = self._tokens.page(bound, [last.type, last.id]) if last else ""
        total = await self._read.count_entities(who, type) if request.with_total_size else 0
        return pb.ListEntitiesResponse(entities=page.messages, next_page_token=token, total_size=total)

    async def DeleteEntity(self, request: pb.DeleteEntityRequest, context: Any) -> pb.DeleteEntityResponse:
        check(request)
        who = access()
        scope = Scope(**{FIELDS[request.type]: request.id})
        changed = await self._modify.delete_entity(who, scope, request_key("DeleteEntity", request))
        return pb.DeleteEntityResponse(
            deleted_count=changed.count,
            consistency_token=self._tokens.consistency(who.project, changed.seq),
            index_state=memory_protos.index_state(changed.applied),
        )
