"""kill -9 during imports: a repeated import ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress

import grpc
import pytest
from tests.faults.victim import Victim, items

from recalld.v1 import memory_pb2, memory_service_pb2

COUNT, WITH_HISTORY = 3_000, 1_000
Items = Callable[[], Iterator[memory_service_pb2.ImportItem]]


@pytest.mark.parametrize("victim", [0], indirect=True)
def test_an_import_sent_again_is_as_one_that_was_never_broken(victim: Victim, kills: int) -> None:
    again_and_again(victim, lambda: items(COUNT), COUNT, kills)
    rows = victim.rows()
    assert {row["id"]: row["memory"] for row in rows} == {each.memory.id: each.memory.text for each in items(COUNT)}
    assert len(rows) == COUNT
    assert all(row["created_at"] == row["updated_at"] and row["revision"] == 1 for row in rows)
    assert victim.sound() == (COUNT, COUNT)


@pytest.mark.parametrize("victim", [0], indirect=True)
def test_histories_are_whole_or_not_there(victim: Victim, kills: int) -> None:
    again_and_again(victim, histories, WITH_HISTORY, kills)
    rows = victim.rows(with_history=True)
    found = sorted((row["id"], row["revision"], row["memory"]) for row in rows)
    sent = [revision.memory for item in histories() for revision in item.history.revisions]
    assert found == sorted((memory.id, memory.revision, memory.text) for memory in sent)
    assert victim.sound() == (WITH_HISTORY, WITH_HISTORY)


def again_and_again(victim: Victim, made: Items, count: int, times: int) -> None:
    """Sends an import until it goes through; the server dies after one of its answers, the last one at the latest."""
    for _ in range(times):
        with suppress(grpc.RpcError):  # or everything was settled before the server died
            for answer in victim.memory.ImportMemories(made()):
                if victim.random.random() < 0.3 or answer.through_index + 1 == count:
                    victim.killed(0.05)
        grpc.channel_ready_future(victim.channel).result(10)
    *_, last = victim.memory.ImportMemories(made(), wait_for_ready=True)
    assert last.stored + last.unchanged == count
    assert not last.failed


def histories() -> Iterator[memory_service_pb2.ImportItem]:
    """Memories that were changed twice, with the vectors of what they came to."""
    for item in items(WITH_HISTORY):
        revisions = []
        for number, kind in enumerate((memory_pb2.KIND_ADDED, memory_pb2.KIND_UPDATED, memory_pb2.KIND_UPDATED), 1):
            memory = memory_pb2.Memory()
            memory.CopyFrom(item.memory)
            memory.text, memory.revision = f"{memory.text}, edition {number}", number
            memory.update_time.seconds = memory.create_time.seconds + number
            revisions.append({"memory": memory, "kind": kind, "vector": item.vector})
        yield memory_service_pb2.ImportItem(history={"revisions": revisions}, vector_model=item.vector_model)
