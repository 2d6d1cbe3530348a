"""WaitOperation and ListOperations on large operations: memory use, and the latency of others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import psutil
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc
from tests.attacks.conftest import MIB, OPTIONS

from recalld import testing
from recalld.v1 import memory_pb2, memory_service_pb2, memory_service_pb2_grpc

WAITS = 200
PLACES = 64  # waits count among the streams of a key
STALL = 3.0  # seconds, of anybody else's get
GROWTH = 300  # MiB
SCOPE = memory_pb2.Scope(user_id="attacker")


class Calls:
    """The stubs of one channel."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        self.operations = operations_pb2_grpc.OperationsStub(channel)

    def busy(self) -> list[operations_pb2.Operation]:
        """Adds that take the server some seconds, one after the other: whatever comes after them waits."""
        messages = [memory_pb2.Message(role="user", content=f"The tide is {n} hours past noon.") for n in range(400)]
        request = memory_service_pb2.AddRequest(scope=SCOPE, messages=messages, infer=False)
        return [self.memory.AddAsync(request) for _ in range(20)]

    def large(self) -> operations_pb2.Operation:
        """An add of 12 MiB, which waits."""
        messages = [memory_pb2.Message(role="user", content="tea and rain " * 4_800) for _ in range(200)]
        return self.memory.AddAsync(memory_service_pb2.AddRequest(scope=SCOPE, messages=messages))

    def cancel(self, *operations: operations_pb2.Operation) -> None:
        for operation in operations:
            self.operations.CancelOperation(operations_pb2.CancelOperationRequest(name=operation.name))

    def wait(self, operation: operations_pb2.Operation, seconds: int) -> operations_pb2.Operation | None:
        """The operation after a wait; None where the key has as many waits as it may."""
        request = operations_pb2.WaitOperationRequest(name=operation.name, timeout={"seconds": seconds})
        try:
            return self.operations.WaitOperation(request, timeout=seconds + 30)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.RESOURCE_EXHAUSTED:
                raise
            return None


@pytest.fixture
def calls(server: testing.LocalServer) -> Iterator[Calls]:
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        yield Calls(channel)


def test_many_waits_for_a_large_add_hold_nothing_of_it(
    server: testing.LocalServer, calls: Calls, bystander: Callable[..., Any]
) -> None:
    busy = calls.busy()
    large = calls.large()
    with bystander(server.target, server.pid) as seen:
        before = psutil.Process(server.pid).memory_info().rss
        with ThreadPoolExecutor(WAITS) as pool:
            answers = list(pool.map(lambda _: calls.wait(large, 3), range(WAITS)))
    calls.cancel(large, *busy)
    waited = [answer for answer in answers if answer is not None]
    assert len(waited) >= PLACES
    assert not any(answer.done for answer in waited), "it was to wait"
    assert seen.longest < STALL
    assert (seen.resident - before) / MIB < GROWTH


def test_a_list_of_large_adds_that_wait_reads_nothing_of_them(
    server: testing.LocalServer, calls: Calls, bystander: Callable[..., Any]
) -> None:
    busy = calls.busy()
    large = [calls.large() for _ in range(8)]
    with bystander(server.target, server.pid) as seen:
        before = psutil.Process(server.pid).memory_info().rss
        for _ in range(3):
            listed = calls.operations.ListOperations(operations_pb2.ListOperationsRequest(page_size=1000))
    calls.cancel(*large, *busy)
    assert len(listed.operations) == len(busy) + len(large)
    assert listed.ByteSize() < 32 * 1024
    assert seen.longest < STALL
    assert (seen.resident - before) / MIB < 100


def test_answers_of_many_adds_are_cut_while_they_are_made(
    server: testing.LocalServer, calls: Calls, bystander: Callable[..., Any]
) -> None:
    """30 answers of 1.5 MiB each: a page holds two of them."""
    done = []
    for number in range(30):
        messages = [memory_pb2.Message(role="user", content=f"Tide {number} is {n} past noon.") for n in range(100)]
        request = memory_service_pb2.AddRequest(scope=SCOPE, messages=messages, infer=False)
        request.metadata["padding"] = "x" * 15_000
        done.append(calls.memory.AddAsync(request))
    answered = [calls.wait(operation, 60) for operation in done]
    assert all(operation.HasField("response") for operation in answered)
    with bystander(server.target, server.pid) as seen:
        before = psutil.Process(server.pid).memory_info().rss
        request = operations_pb2.ListOperationsRequest(page_size=1000)
        with ThreadPoolExecutor(4) as pool:
            pages = list(pool.map(lambda _: calls.operations.ListOperations(request), range(4)))
    for page in pages:
        assert 0 < page.ByteSize() <= 3 * MIB + 64 * 1024
        assert page.next_page_token
    assert seen.longest < STALL
    assert (seen.resident - before) / MIB < GROWTH
    names: list[str] = []
    token = ""
    while token or not names:
        page = calls.operations.ListOperations(operations_pb2.ListOperationsRequest(page_size=1000, page_token=token))
        names += [operation.name for operation in page.operations]
        token = page.next_page_token
    assert names == [operation.name for operation in reversed(done)]
