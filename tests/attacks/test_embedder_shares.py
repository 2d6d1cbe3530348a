"""Imports and huge adds next to the adds of other projects share the embedder, tested with the packaged model."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import grpc
import pytest
from tests.attacks.conftest import OPTIONS

from recalld import testing
from recalld.v1 import memory_pb2, memory_service_pb2_grpc
from recalld.v1 import memory_service_pb2 as pb

ADDS = 12
LONGEST = 1.0  # seconds, the median of others' adds
TIMES = 10  # the median alone
NOISE = 0.5  # seconds that a machine with other work makes out of an add of 0.02


def median(target: str, name: str) -> float:
    """Seconds of an add of one short text, median of ADDS; those of a user of their own."""
    waits = []
    with grpc.insecure_channel(target) as channel:
        memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        for number in range(ADDS):
            begun = time.monotonic()
            request = pb.AddRequest(text=f"I like the number {number} of {name}.", scope=memory_pb2.Scope(user_id=name))
            memory.Add(request, timeout=60)
            waits.append(time.monotonic() - begun)
    return statistics.median(waits)


@contextmanager
def importing(target: str, streams: int) -> Iterator[None]:
    """Streams of short texts that never end by themselves, each of a user of its own."""
    ended = threading.Event()

    def items(stream: int) -> Iterator[pb.ImportItem]:
        number = 0
        while not ended.is_set():
            number += 1
            text = f"Item {number} of stream {stream} is about tea, rain and trains."
            yield pb.ImportItem(text=pb.ImportText(text=text, scope=memory_pb2.Scope(user_id=f"importer-{stream}")))

    with ExitStack() as opened:
        calls = []
        for stream in range(streams):
            channel = grpc.insecure_channel(target, options=[*OPTIONS, ("grpc.use_local_subchannel_pool", 1)])
            memory = memory_service_pb2_grpc.MemoryServiceStub(opened.enter_context(channel))
            calls.append(memory.ImportMemories(items(stream), timeout=120))
            opened.callback(calls[-1].cancel)
        opened.callback(ended.set)
        time.sleep(2)  # the embedder has their texts, and they are sending more
        yield
        assert all(call.is_active() for call in calls)


@contextmanager
def flooding(target: str, callers: int) -> Iterator[None]:
    """Adds of 500 texts each, one after the other by each caller, all of one user."""
    ended, began = threading.Event(), threading.Event()

    def one(caller: int) -> int:
        count = 0
        with grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
            memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
            while not ended.is_set():
                texts = [f"Flood {caller} {count} {n}: the tide comes in at {n} past noon." for n in range(500)]
                messages = [memory_pb2.Message(role="user", content=text) for text in texts]
                scope = memory_pb2.Scope(user_id="flood")
                memory.Add(pb.AddRequest(messages=messages, scope=scope, infer=False), timeout=120)
                count += 1
                began.set()
        return count

    with ThreadPoolExecutor(callers) as pool:
        running = [pool.submit(one, caller) for caller in range(callers)]
        try:
            assert began.wait(60)
            yield
        finally:
            ended.set()
        assert all(caller.result(120) for caller in running)


@pytest.mark.parametrize("streams", [1, 8])
def test_adds_beside_imports_are_nearly_as_fast_as_alone(server: testing.LocalServer, streams: int) -> None:
    median(server.target, "warm")
    alone = median(server.target, "alone")
    with importing(server.target, streams):
        beside = median(server.target, "beside")
    assert beside < max(TIMES * alone, NOISE), (alone, beside)
    assert beside < LONGEST


def test_adds_beside_adds_of_many_texts_wait_for_a_batch_and_not_for_the_others(server: testing.LocalServer) -> None:
    median(server.target, "warm")
    alone = median(server.target, "alone")
    with flooding(server.target, 2):
        beside = median(server.target, "beside")
    assert beside < LONGEST, (alone, beside)
