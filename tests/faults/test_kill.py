"""kill -9 during writes: acknowledged writes are stored once, and interrupted ones can be repeated."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import pytest

from recalld import testing
from recalld.v1 import memory_pb2, memory_service_pb2_grpc
from recalld.v1 import memory_service_pb2 as pb

ADDS = 200
MANY = 3_000


def requests() -> list[pb.AddRequest]:
    """Adds under request ids, every third of them in one of three runs; all texts differ."""
    return [
        pb.AddRequest(
            scope={"user_id": "ann", "run_id": f"run {number % 9}" if number % 3 == 0 else ""},
            messages=[memory_pb2.Message(role="user", content=f"Locker {number} holds a hat")],
            infer=False,
            request_id=f"add-{number}",
        )
        for number in range(ADDS)
    ]


async def adds(server: testing.LocalServer, kill_after: int) -> dict[int, pb.AddResponse]:
    """All adds at once; the server dies when so many were acknowledged. The answers that came, by number."""
    answers: dict[int, pb.AddResponse] = {}
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = memory_service_pb2_grpc.MemoryServiceStub(channel)

        async def add(number: int, request: pb.AddRequest) -> None:
            try:
                answers[number] = await stub.Add(request)
            except grpc.RpcError:
                return
            if len(answers) == kill_after:
                server.kill()

        await asyncio.gather(*(add(*numbered) for numbered in enumerate(requests())))
    return answers


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_acknowledged_adds_survive_once(
    server: testing.LocalServer, call: Callable[[str], Any], recalld: Callable[..., Any], seed: int
) -> None:
    kill_after = random.Random(seed).randrange(1, ADDS)
    answers = asyncio.run(adds(server, kill_after))
    assert kill_after <= len(answers) < ADDS
    server.start()
    with call(server.target) as caller:
        there = caller.texts("ann")
        assert len(set(there.values())) == len(there)
        for number, answer in answers.items():
            assert there[answer.results[0].memory_id] == requests()[number].messages[0].content
        again = [caller.memory.Add(request) for request in requests()]
        for number, answer in answers.items():
            assert list(again[number].results) == list(answer.results)
            assert list(again[number].verdicts) == list(answer.verdicts)
            assert (again[number].add_id, again[number].consistency_token) == (answer.add_id, answer.consistency_token)
        after = caller.texts("ann")
        assert there.items() <= after.items()
        assert sorted(after.values()) == sorted(request.messages[0].content for request in requests())
        events = caller.memory.ListEvents(pb.ListEventsRequest(scope={"user_id": "ann"}, page_size=1000)).events
        assert [event.sequence for event in events] == list(range(1, ADDS + 1))
        assert caller.found_at_last("ann")[0] == set(after)
        places = [
            source.position
            for event in events
            if event.memory_after.run_id == "run 0"
            for source in event.memory_after.sources
        ]
        assert sorted(places) == list(range(len(places)))  # no two messages share a place in a conversation
    server.stop()
    done = recalld("doctor", "--data-dir", server.data_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{ADDS} memories, {ADDS} index entries, 0 pending, 0 missing, 0 stale, 0 orphaned" in done.stdout


def test_a_broken_import_and_a_broken_deletion_are_finished(
    server: testing.LocalServer, call: Callable[[str], Any], recalld: Callable[..., Any], items: Callable[..., Any]
) -> None:
    given = items("ann", MANY)
    with call(server.target) as caller:
        others = caller.fill("bob", 10)
        settled = import_halfway(server, caller, given)
    server.start()
    with call(server.target) as caller:
        there = caller.texts("ann")
        assert {item.memory.text for item in given[: settled + 1]} <= set(there.values())
        assert len(there) % 500 == 0  # whole transactions
        *_, last = caller.memory.ImportMemories(iter(given))
        assert (last.stored, last.unchanged) == (MANY - len(there), len(there))
        after = caller.texts("ann")
        assert there.items() <= after.items()
        assert sorted(after.values()) == sorted(item.memory.text for item in given)
        delete_halfway(server, caller)
    server.start()
    with call(server.target) as caller:
        left = caller.texts("ann")
        assert 0 < len(left) < MANY
        assert (MANY - len(left)) % 250 == 0
        kept = caller.memory.Add(pb.AddRequest(scope={"user_id": "ann"}, text="Came later", infer=False)).results[0]
        assert caller.memory.DeleteMemories(deletion()).count == MANY
        assert caller.texts("ann") == {kept.memory_id: "Came later"}
        assert caller.memory.DeleteMemories(deletion()).count == MANY
        assert caller.found_at_last("ann")[0] == {kept.memory_id}
        assert caller.found("bob") == others
    server.stop()
    done = recalld("doctor", "--data-dir", server.data_dir)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "11 memories, 11 index entries, 0 pending" in done.stdout


def import_halfway(server: testing.LocalServer, caller: Any, given: list[pb.ImportItem]) -> int:
    """Imports and kills the server after two transactions; up to which item the server said that all is settled."""
    settled = -1
    try:
        for progress in caller.memory.ImportMemories(iter(given)):
            settled = progress.through_index
            if settled >= 999:
                server.kill()
    except grpc.RpcError:
        assert 999 <= settled < MANY - 1
        return settled
    raise AssertionError("the import was over before the server was killed")


def deletion() -> pb.DeleteMemoriesRequest:
    return pb.DeleteMemoriesRequest(scope={"user_id": "ann"}, request_id="delete-ann", expected_count=MANY)


def delete_halfway(server: testing.LocalServer, caller: Any) -> None:
    """Begins to delete all of a user and kills the server once some are gone and some are not."""
    codes: list[grpc.StatusCode] = []

    def delete() -> None:
        try:
            caller.memory.DeleteMemories(deletion())
        except grpc.RpcError as error:
            codes.append(error.code())

    deleting = threading.Thread(target=delete)
    deleting.start()
    request = pb.ListMemoriesRequest(scope={"user_id": "ann"}, page_size=1, with_total_size=True)
    while caller.memory.ListMemories(request).total_size == MANY:
        time.sleep(0.002)
    server.kill()
    deleting.join()
    assert codes == [grpc.StatusCode.UNAVAILABLE]
