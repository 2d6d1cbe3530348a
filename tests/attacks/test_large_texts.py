"""Adds, imports and updates with costly texts: the latency of others, and memory use."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from tests.attacks.conftest import MIB, OPTIONS
from tests.attacks.waits import TRIES, unharmed

from recalld import testing
from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import memory_service_pb2_grpc
from recalld_server.domain import limits

MODEL, VECTOR = "minilm-l6-v2-int8", [0.05] * 384


@pytest.fixture(scope="module")
def server() -> Iterator[testing.LocalServer]:
    with testing.start_local() as running:
        yield running


@pytest.fixture(scope="module")
def memory(server: testing.LocalServer) -> Iterator[Any]:
    with grpc.insecure_channel(server.target, options=OPTIONS) as channel:
        yield memory_service_pb2_grpc.MemoryServiceStub(channel)


def distinct(size: int, rare: int, seed: int = 0) -> str:
    """A text of so many bytes from a vocabulary of `rare` words."""
    picked = random.Random(seed)
    return " ".join(f"word{picked.randrange(rare)}s" for _ in range(size // 8))[:size]


def test_many_messages_with_the_same_facts_stay_small(server: testing.LocalServer, memory: Any, bystander: Any) -> None:
    """100 equal messages of 25 kB with 1,000 short facts each: every fact is in every message."""
    content = "\n".join(f"I like item {n:05} best." for n in range(1000))
    request = pb.AddRequest(
        scope={"user_id": "repeats"}, messages=[{"role": "user", "content": content}] * 100, request_id="repeats"
    )
    answers: list[Any] = []

    def attack() -> None:
        answers[:] = [
            memory.Add(request, timeout=120),
            memory.ListMemories(pb.ListMemoriesRequest(scope={"user_id": "repeats"}, page_size=1000)),
            memory.ListEvents(pb.ListEventsRequest(scope={"user_id": "repeats"}, page_size=1000)),
        ]

    unharmed(server, bystander, attack)
    added, listed, events = answers
    assert len(added.results) == 1000
    assert all(answer.ByteSize() < limits.PAGE_BYTES + MIB for answer in answers)
    assert 1 < len(listed.memories) < 1000
    assert 1 < len(events.events) < 1000
    assert listed.next_page_token
    assert events.next_page_token
    sources = listed.memories[0].sources
    assert 1 <= len(sources) <= limits.SOURCES
    assert sum(len(source.content) for source in sources) <= limits.SOURCE_BYTES


@pytest.mark.parametrize(("facts", "categories"), [(30, 30), (60, 100)])
def test_descriptions_of_categories_are_read_once(
    server: testing.LocalServer, memory: Any, bystander: Any, facts: int, categories: int
) -> None:
    request = pb.AddRequest(
        scope={"user_id": "categories"},
        text=" ".join(f"I like item {n} best." for n in range(facts)),
        custom_categories=[{"name": f"c{n}", "description": distinct(8_000, 200_000, n)} for n in range(categories)],
        dry_run=True,
    )
    unharmed(server, bystander, lambda: memory.Add(request, timeout=60))
    assert len(memory.Add(request, timeout=60).results) == facts


@pytest.mark.parametrize("size", [4_000, 64_000])
def test_includes_are_matched_in_linear_time(
    server: testing.LocalServer, memory: Any, bystander: Any, size: int
) -> None:
    request = pb.AddRequest(
        scope={"user_id": "includes"},
        text="I like " + distinct(size - 100, 200_000, 1),
        includes=distinct(8_000, 200_000, 2),
        dry_run=True,
    )
    begun = time.monotonic()
    memory.Add(request, timeout=60)
    assert time.monotonic() - begun < 10
    unharmed(server, bystander, lambda: memory.Add(request, timeout=60))


@pytest.mark.parametrize("rare", [3_000, 200_000])
def test_an_import_of_long_texts(server: testing.LocalServer, memory: Any, bystander: Any, rare: int) -> None:
    def items() -> list[pb.ImportItem]:
        return [
            pb.ImportItem(
                memory={"id": str(uuid.uuid4()), "text": texts[n], "user_id": "long"}, vector=VECTOR, vector_model=MODEL
            )
            for n in range(500)
        ]

    texts = [distinct(16_000, rare, n) for n in range(500)]
    waiting = [items() for _ in range(TRIES)]

    def attack() -> None:
        *_, progress = memory.ImportMemories(iter(waiting.pop()), timeout=240)
        assert progress.stored == 500

    unharmed(server, bystander, attack)


def test_long_texts_that_are_stored_as_they_are(server: testing.LocalServer, memory: Any, bystander: Any) -> None:
    messages = [{"role": "user", "content": distinct(16_000, 200_000, n)} for n in range(500)]
    request = pb.AddRequest(scope={"user_id": "verbatim"}, messages=messages, infer=False, dry_run=True)
    unharmed(server, bystander, lambda: memory.Add(request, timeout=240))


def test_a_batch_of_updates_with_much_metadata(server: testing.LocalServer, memory: Any, bystander: Any) -> None:
    ids = [str(uuid.uuid4()) for _ in range(900)]
    items = [
        pb.ImportItem(memory={"id": id, "text": f"Likes {n}", "user_id": "batch"}, vector=VECTOR, vector_model=MODEL)
        for n, id in enumerate(ids)
    ]
    *_, progress = memory.ImportMemories(iter(items), timeout=60)
    assert progress.stored == 900
    updates = [{"memory": {"id": id, "metadata": {f"k{n}": "x" * 1_600 for n in range(10)}}} for id in ids]
    request = pb.BatchUpdateMemoriesRequest(updates=updates)
    unharmed(server, bystander, lambda: memory.BatchUpdateMemories(request, timeout=60))


def test_one_item_as_large_as_a_call_is_refused_soon(server: testing.LocalServer, memory: Any, bystander: Any) -> None:
    item = pb.ImportItem(
        memory={"text": "Likes tea", "user_id": "vector"}, vector=[0.5] * 4_000_000, vector_model=MODEL
    )

    def attack() -> None:
        *_, progress = memory.ImportMemories(iter([item]), timeout=30)
        assert [failure.index for failure in progress.failed] == [0]

    unharmed(server, bystander, attack)
