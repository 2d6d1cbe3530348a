"""The largest valid filters, from many callers who then disconnect."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import psutil
import pytest
from tests.attacks.conftest import OPTIONS

from recalld import MemoryClient, testing
from recalld.v1 import filter_pb2, memory_service_pb2_grpc
from recalld.v1 import memory_service_pb2 as pb

LEAVES, VALUES = 100, 100  # 10,000 in all, as many as the API allows
PATIENCE = 45.0  # seconds
CALLERS = 5
LEAVERS = 40
IDLE = 0.5  # CPU seconds in a second, of a server that nobody asks anything; one that reads takes one or more


def filled(values: int = VALUES, letters: int = 0) -> filter_pb2.Filter:
    """Any of 100 lists of different texts, each `letters` longer than its number."""
    leaves = []
    for leaf in range(LEAVES):
        comparison = filter_pb2.Comparison(field="metadata.name", operator=filter_pb2.OPERATOR_IN)
        comparison.value.list_value.values.extend(
            filter_pb2.Value(string_value=f"{leaf}-{value}" + letters * "x") for value in range(values)
        )
        leaves.append(filter_pb2.Filter(comparison=comparison))
    return filter_pb2.Filter(any_of=filter_pb2.FilterList(filters=leaves))


@pytest.fixture(
    params=["embedded", pytest.param("postgres", marks=pytest.mark.needs_postgres)],
)
def attacked(request: pytest.FixtureRequest) -> Iterator[testing.LocalServer]:
    """A server with one memory, over each ledger."""
    ledger = [] if request.param == "embedded" else ["--ledger", request.getfixturevalue("postgres_url")]
    with testing.start_local(arguments=ledger) as server:
        with MemoryClient(server.target) as client:
            client.add("I keep bees.", user_id="u", infer=False, metadata={"name": "99-99"})
        yield server


def asked(server: testing.LocalServer, request: Any, callers: int, deadline: float) -> list[Any]:
    """What became of calls made at once: an answer or an error."""
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        calls = [memory.ListMemories.future(request, timeout=deadline) for _ in range(callers)]
        ended = []
        for call in calls:
            try:
                ended.append(call.result())
            except grpc.RpcError as error:
                ended.append(error)
        return ended


def test_large_filters_are_answered_and_hold_up_nobody(
    attacked: testing.LocalServer, bystander: Callable[..., Any]
) -> None:
    request = pb.ListMemoriesRequest(filter=filled())
    begun = time.monotonic()
    with bystander(attacked.target, attacked.pid) as seen:
        answers = asked(attacked, request, CALLERS, PATIENCE)
    assert [len(answer.memories) for answer in answers] == [1] * CALLERS
    assert time.monotonic() - begun < PATIENCE / 2
    assert not seen.failures
    assert seen.longest < 5
    assert seen.megabytes < 1024


@pytest.mark.parametrize(
    ("values", "letters", "allowed"), [(1000, 0, "10000 values"), (1000, 140, "1048576 bytes"), (100, 80, "")]
)
def test_larger_filters_are_refused_at_once(
    attacked: testing.LocalServer, bystander: Callable[..., Any], values: int, letters: int, allowed: str
) -> None:
    request = pb.ListMemoriesRequest(filter=filled(values, letters))
    begun = time.monotonic()
    with bystander(attacked.target, attacked.pid) as seen:
        answers = asked(attacked, request, CALLERS, PATIENCE)
    assert time.monotonic() - begun < 5
    assert not seen.failures
    assert seen.longest < 1
    assert seen.megabytes < 1024
    for answer in answers:
        if allowed:
            assert answer.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert allowed in answer.details()
        else:
            assert not answer.memories


def test_a_server_whose_callers_have_left_has_nothing_to_do(
    attacked: testing.LocalServer, bystander: Callable[..., Any]
) -> None:
    request = pb.ListMemoriesRequest(filter=filled())
    with bystander(attacked.target, attacked.pid) as seen:
        left = asked(attacked, request, LEAVERS, 1.0)
        assert any(isinstance(error, grpc.RpcError) for error in left)
        idle_within(attacked.pid, 10.0)
    assert not seen.failures
    assert seen.longest < 5


def idle_within(pid: int, seconds: float) -> None:
    """The server comes to rest."""
    process = psutil.Process(pid)
    deadline = time.monotonic() + seconds
    used = IDLE
    while used >= IDLE:
        assert time.monotonic() < deadline, f"the server still works: {used:.2f} CPU seconds in a second"
        before = sum(process.cpu_times()[:2])
        time.sleep(1)
        used = sum(process.cpu_times()[:2]) - before
