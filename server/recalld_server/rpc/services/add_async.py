"""AddAsync: queues an add as an operation and renders the operation's response from the stored outcome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

from recalld.v1 import memory_service_pb2 as pb
from recalld_server.concurrency.time_slices import sliced
from recalld_server.domain.commands import encoded
from recalld_server.domain.errors import FieldInvalid, MemoryNotFound
from recalld_server.domain.memory import Access
from recalld_server.domain.operations import Operation, OperationKind
from recalld_server.domain.page_tokens import Tokens
from recalld_server.domain.steps import once
from recalld_server.rpc.parse.commands import add_command
from recalld_server.rpc.parse.requests import parsed
from recalld_server.rpc.render import memory_protos, paging
from recalld_server.usecases.add import Add, Added
from recalld_server.usecases.operations import OperationQueries


class AsyncAdds:
    """Starts the operations of AddAsync and renders their responses."""

    def __init__(self, add: Add, operations: OperationQueries, tokens: Tokens) -> None:
        self._add = add
        self._operations = operations
        self._tokens = tokens

    async def start(self, who: Access, request: pb.AddRequest) -> Operation:
        """Queue the request. Raises FieldInvalid for a dry run, RequestIdReused, and MemoryNotFound outside the pin."""
        key = await parsed(request, once(lambda: memory_protos.operation_key("AddAsync", request)))
        if request.dry_run:
            text = "must be false: AddAsync has no dry run; use Add"
            raise FieldInvalid.at("dry_run", text)
        scope = memory_protos.scope_of(request.scope)
        if not who.pin.admits(scope):
            raise MemoryNotFound("The scope is outside the pin of this API key.")
        payload = await sliced(once(lambda: encoded(add_command(request, None))), request.ByteSize())
        return await self._operations.start(
            who,
            OperationKind.ADD,
            key,
            payload=payload,
            total=len(request.messages) or 1,
            scope=scope,
        )

    async def answers(self, operations: Sequence[Operation]) -> Mapping[str, pb.AddResponse]:
        """The responses of succeeded adds by operation id. Adds whose outcome is no longer kept are missing."""
        answers = {}
        for (who, rpc), some in groupby(operations, key=lambda operation: (operation.access, operation.request.rpc)):
            ids = {operation.request.request_id: operation.id for operation in some}
            for request_id, added in (await self._add.recall(who, rpc, list(ids))).items():
                answers[ids[request_id]] = await add_response(added, who.project, self._tokens)
        return answers


async def add_response(added: Added, project: str, tokens: Tokens) -> pb.AddResponse:
    """Convert the result of an add. From 3 MiB on, memories have only id, revision and etag (see `paging.bounded`)."""
    shown = await paging.bounded([result.memory for result in added.results])
    return pb.AddResponse(
        results=map(memory_protos.result_pb, added.results, shown),
        verdicts=[memory_protos.verdict_pb(verdict) for verdict in added.verdicts],
        add_id=added.add_id,
        consistency_token=tokens.consistency(project, added.seq) if added.seq else "",
        index_state=memory_protos.index_state(added.applied),
    )
