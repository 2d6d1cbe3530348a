"""The largest valid request of every call does not delay concurrent reads or exhaust memory."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.longrunning import operations_pb2
from google.protobuf.descriptor import MethodDescriptor
from tests.attacks.conftest import MIB, OPTIONS
from tests.attacks.largest_requests import LARGEST, METHODS, World, largest
from tests.attacks.waits import unharmed

from recalld import testing
from recalld.v1 import export_service_pb2, export_service_pb2_grpc, memory_service_pb2_grpc
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.domain import limits

SECONDS = 8  # a call that takes longer is left by its caller
MEMORIES = 900
REFUSED = {
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.PERMISSION_DENIED,  # what only operators may do
    grpc.StatusCode.ABORTED,  # the work before is still under way
}


@pytest.fixture(scope="module")
def server() -> Iterator[testing.LocalServer]:
    with testing.start_local() as running:
        yield running


@pytest.fixture(scope="module")
def world(server: testing.LocalServer) -> World:
    """Memories with vectors of their own, an export of them, and the operation that made it."""
    ids = [str(uuid.uuid4()) for _ in range(MEMORIES)]
    vector = [0.05] * 384
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        items = (
            pb.ImportItem(
                memory={"id": id, "text": f"Likes number {n}", "user_id": "reader"},
                vector=vector,
                vector_model="minilm-l6-v2-int8",
            )
            for n, id in enumerate(ids)
        )
        *_, progress = memory.ImportMemories(items)
        assert progress.stored == MEMORIES
        exports = export_service_pb2_grpc.ExportServiceStub(channel)
        asked = export_service_pb2.CreateExportRequest(
            scope={"user_id": "reader"}, format=export_service_pb2.EXPORT_FORMAT_JSONL
        )
        operation = exports.CreateExport(asked)
        done = channel.unary_unary(
            "/google.longrunning.Operations/WaitOperation",
            request_serializer=operations_pb2.WaitOperationRequest.SerializeToString,
            response_deserializer=operations_pb2.Operation.FromString,
        )(operations_pb2.WaitOperationRequest(name=operation.name, timeout={"seconds": 30}))
        export = export_service_pb2.Export()
        done.response.Unpack(export)
    return World("reader", ids, export.export_id, operation.name)


def sent(channel: grpc.Channel, method: MethodDescriptor, messages: list[bytes]) -> tuple[grpc.StatusCode, int]:
    """How a call with these messages ends, and the bytes of its largest answer."""
    path = f"/{method.containing_service.full_name}/{method.name}"
    kind = ("stream" if method.client_streaming else "unary", "stream" if method.server_streaming else "unary")
    call = getattr(channel, f"{kind[0]}_{kind[1]}")(path)
    request: Any = iter(messages) if method.client_streaming else messages[0]
    try:
        answered = call(request, timeout=SECONDS)
        return grpc.StatusCode.OK, max(map(len, answered if method.server_streaming else [answered]), default=0)
    except grpc.RpcError as error:
        return error.code(), 0


def test_every_call_has_its_largest_request() -> None:
    assert set(LARGEST) == {method.name for method in METHODS}


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_nobody_waits_for_it(
    server: testing.LocalServer, world: World, bystander: Any, method: MethodDescriptor
) -> None:
    messages = largest(method.name, world)
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:

        def attack() -> None:
            code, size = sent(channel, method, messages)
            time.sleep(0.5)  # what the caller has left ends soon
            assert code is grpc.StatusCode.OK or code in REFUSED
            assert size < limits.CALL_BYTES + MIB

        unharmed(server, bystander, attack)
