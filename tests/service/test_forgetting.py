"""ForgetMemories on a real server: no answer and no file contains forgotten memories."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import grpc
import pytest

from recalld import testing
from recalld.v1 import filter_pb2, memory_pb2
from recalld.v1 import memory_service_pb2 as pb

Connect = Callable[[str], AbstractAsyncContextManager[Any]]
LEGS = [
    "ledger",
    "messages",
    "ledger_file",
    "caches",
    "index",
    "index_file",
    "index_queue",
    "requests",
    "queued_adds",
    "exports",
    "backups",
]


def states(receipt: pb.ForgetReceipt) -> dict[str, str]:
    return {leg.name: pb.ForgetState.Name(leg.state).removeprefix("FORGET_STATE_") for leg in receipt.legs}


def tagged(tag: str) -> filter_pb2.Filter:
    compared = filter_pb2.Comparison(field="metadata.tag", operator=filter_pb2.OPERATOR_EQ)
    compared.value.string_value = tag
    return filter_pb2.Filter(comparison=compared)


async def forget(api: Any, user: str = "", **fields: Any) -> pb.ForgetReceipt:
    scope = {"scope": {"user_id": user}} if user else {}
    return await api.memory.ForgetMemories(pb.ForgetMemoriesRequest(**scope, **fields))


def left(folder: Path, words: Sequence[str]) -> dict[str, list[str]]:
    """Which of the words stand in which file of a data folder, in whatever case."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    assert {"ledger.db", "index.db"} <= {path.name for path in files}
    found = {path.name: [w for w in words if w.encode() in path.read_bytes().lower()] for path in files}
    return {name: there for name, there in found.items() if there}


async def test_nothing_is_left_in_any_answer(api: Any) -> None:
    user, other = api.user(), api.user()
    [kept] = await api.remember(other, "Keeps a zebrafinch")
    [first, second] = await api.remember(user, "Keeps a zebrafinch", "Likes quinces", metadata={"n": 1})
    changed = memory_pb2.Memory(id=first.id, text="Keeps two zebrafinches")
    await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=second.id))
    before = (await api.events(user))[-1].sequence
    receipt = await forget(api, user)
    assert (receipt.memory_count, receipt.revision_count, receipt.export_count) == (2, 4, 0)
    assert (receipt.sequence, receipt.index_state) == (before + 2, memory_pb2.INDEX_STATE_APPLIED)
    assert list(states(receipt)) == LEGS
    files = {"ledger_file", "caches", "index_file"}  # cleared in the background
    assert {name for name, state in states(receipt).items() if state != "EMPTY"} <= {"requests", "backups", *files}
    assert states(receipt)["backups"] == "NOT_COVERED"
    assert all(leg.detail for leg in receipt.legs if leg.state != pb.FORGET_STATE_EMPTY)
    for memory in (first, second):
        assert (await api.refused(api.memory.GetMemory(pb.GetMemoryRequest(memory_id=memory.id)))).reason
        for fields in ({}, {"revision": 1}):
            restoring = api.memory.RestoreMemory(pb.RestoreMemoryRequest(memory_id=memory.id, **fields))
            assert (await api.refused(restoring)).reason == "MEMORY_NOT_FOUND"
    assert await api.listed(user) == []
    assert await api.listed(user, as_of={"sequence": before}) == []
    assert await api.found(user, "zebrafinch") == []
    assert await api.listed(other) == [kept]
    assert await api.found(other, "zebrafinch") == [kept.text]


async def test_the_history_tells_that_it_was_forgotten_and_nothing_else(api: Any) -> None:
    user = api.user()
    [memory] = await api.remember(user, "Likes quinces")
    changed = memory_pb2.Memory(id=memory.id, text="Likes medlars")
    await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
    call = api.memory.Watch(pb.WatchRequest(scope={"user_id": user}, filter=tagged("any")))
    await asyncio.wait_for(call.read(), 10)
    await forget(api, user)
    told = await asyncio.wait_for(call.read(), 10)
    call.cancel()
    history = (await api.memory.ListEvents(pb.ListEventsRequest(memory_id=memory.id))).events
    kinds = [memory_pb2.Kind.Name(event.kind) for event in history]
    assert kinds == ["KIND_ADDED", "KIND_UPDATED", "KIND_FORGOTTEN"]
    assert not any(event.HasField("memory_before") or event.HasField("memory_after") for event in history)
    assert not any(event.sources or event.request_id for event in history)
    assert told.event == history[-1]
    assert await api.events(user) == [history[-1]]


async def test_a_filter_is_asked_of_the_last_revision_deleted_ones_too(api: Any) -> None:
    user = api.user()
    [a, b, c] = [
        (await api.remember(user, f"Box {n} is {tag}", metadata={"tag": tag}))[0]
        for n, tag in enumerate(("red", "red", "blue"))
    ]
    for memory, tag in ((a, "blue"), (c, "red")):
        changed = memory_pb2.Memory(id=memory.id, metadata={"tag": tag})
        await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=b.id))
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=c.id))
    dry = await forget(api, user, filter=tagged("red"), dry_run=True)
    assert (dry.memory_count, dry.revision_count, len(dry.legs), dry.consistency_token) == (2, 5, 0, "")
    receipt = await forget(api, user, filter=tagged("red"))
    assert (receipt.memory_count, receipt.revision_count) == (2, 5)
    assert [memory.id for memory in await api.listed(user)] == [a.id]


async def test_a_message_that_a_live_memory_needs_stays_and_the_receipt_says_so(api: Any) -> None:
    user = api.user()
    request = pb.AddRequest(scope={"user_id": user}, text="I am a vegetarian and I am allergic to nuts.")
    results = (await api.memory.Add(request)).results
    assert len(results) == 2
    changed = memory_pb2.Memory(id=results[0].memory_id, metadata={"tag": "gone"})
    await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
    assert states(await forget(api, user, filter=tagged("gone")))["messages"] == "PENDING"
    assert len((await api.listed(user))[0].sources) == 1
    assert states(await forget(api, user))["messages"] == "EMPTY"


async def test_adds_that_wait_are_told_of(api: Any) -> None:
    """They were accepted before and store afterwards: whoever forgets must know."""
    user, other = api.user(), api.user()
    messages = [memory_pb2.Message(role="user", content=f"I am allergic to nut number {n}") for n in range(400)]
    started = [
        await api.memory.AddAsync(pb.AddRequest(scope={"user_id": whose}, messages=messages))
        for whose in (other, user, user)
    ]
    receipt = await forget(api, user)
    ended = [await api.ended(operation) for operation in started]
    waited = states(receipt)["queued_adds"] == "PENDING"
    assert waited or receipt.memory_count > 0  # the machine may have been faster than this test
    assert all(operation.HasField("response") for operation in ended)
    again = await forget(api, user)
    assert again.memory_count + receipt.memory_count > 0
    assert states(again)["queued_adds"] == "EMPTY"
    assert await api.listed(user) == []


@pytest.mark.parametrize("expected", [0, 2])
async def test_another_count_than_expected_erases_nothing(api: Any, expected: int) -> None:
    user = api.user()
    before = await api.remember(user, "Likes tea")
    refusal = await api.refused(forget(api, user, expected_count=expected))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "COUNT_MISMATCH")
    assert await api.listed(user) == before


async def test_a_retry_erases_nothing_more_and_looks_again(api: Any) -> None:
    user = api.user()
    await api.remember(user, "Likes tea")
    receipt = await forget(api, user, request_id=f"forget {user}")
    await api.remember(user, "Likes rain")
    again = await forget(api, user, request_id=f"forget {user}")
    assert again.sequence > receipt.sequence
    assert {name for name, state in states(again).items() if state != "EMPTY"} <= {
        name for name, state in states(receipt).items() if state != "EMPTY"
    }
    assert (again.memory_count, again.revision_count, again.export_count) == (1, 1, 0)
    assert states(receipt)["requests"] == "PENDING"
    assert await api.texts(user) == ["Likes rain"]
    refusal = await api.refused(forget(api, api.user(), request_id=f"forget {user}"))
    assert refusal.reason == "REQUEST_ID_REUSED"


async def test_neither_scope_nor_filter_is_refused(api: Any) -> None:
    assert (await api.refused(forget(api))).reason == "SCOPE_MISSING"


async def test_a_forgotten_id_stays_taken(api: Any) -> None:
    user = api.user()
    item = api.whole(user, "Likes tea")
    await api.imported([item])
    await forget(api, user)
    [progress] = await api.imported([item])
    assert (progress.stored, len(progress.failed)) == (0, 1)
    assert await api.listed(user) == []


@pytest.fixture
async def own(tmp_path: Path, connect: Connect) -> AsyncIterator[tuple[testing.LocalServer, Any]]:
    async with testing.start_local(tmp_path) as server, connect(server.target) as api:
        yield server, api


async def test_no_file_holds_a_word_or_an_id_of_the_forgotten(own: tuple[testing.LocalServer, Any]) -> None:
    server, api = own
    texts = [f"Xanthippe-{n:03} breeds axolotls at Zwiesel" for n in range(400)]
    for start in range(0, 400, 100):
        await api.remember("bob", *[f"Bob owns kayak {n}" for n in range(start, start + 100)])
        request = pb.AddRequest(
            scope={"user_id": "xanthippe", "run_id": "run-zwiesel"},
            messages=[{"role": "user", "name": "Xanthippe", "content": t} for t in texts[start : start + 100]],
            infer=False,
            metadata={"place": "Zwiesel"},
            categories=["axolotls"],
        )
        added = await api.memory.Add(request)
    greeting = [{"role": "user", "name": "Xanthippe", "content": "Hello from Zwiesel!"}]
    nothing = await api.memory.Add(pb.AddRequest(scope={"user_id": "xanthippe"}, messages=greeting))
    assert not nothing.results
    for result in added.results[:30]:
        changed = memory_pb2.Memory(id=result.memory_id, text=f"{result.memory.text} in tanks")
        await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
        judged = pb.SetFeedbackRequest(memory_id=result.memory_id, feedback="FEEDBACK_NEGATIVE", reason="not Zwiesel")
        await api.memory.SetFeedback(judged)
    gone = pb.BatchDeleteMemoriesRequest(memory_ids=[result.memory_id for result in added.results[20:60]])
    await api.memory.BatchDeleteMemories(gone)
    assert await api.found("xanthippe", "axolotls at Zwiesel")
    words = ["xanthippe", "axolotl", "zwiesel", "run-zwiesel"]
    assert left(server.data_dir, words)
    receipt = await forget(api, "xanthippe", expected_count=400)
    assert receipt.memory_count == 400
    async with asyncio.timeout(60):  # on a busy machine the background needs a moment
        while "PENDING" in states(receipt).values():
            pending = {name for name, state in states(receipt).items() if state == "PENDING"}
            assert pending <= {"ledger_file", "caches", "index_file"}
            receipt = await forget(api, "xanthippe")
    assert {name for name, state in states(receipt).items() if state != "EMPTY"} == {"backups"}
    assert left(server.data_dir, words) == {}
    assert (server.data_dir / "index.db-wal").stat().st_size == 0
    assert (server.data_dir / "ledger.db-wal").stat().st_size < 10_000  # that the file is clear is noted after it is
    assert len(await api.listed("bob")) == 400
    assert len(await api.found("bob", "kayak 7")) == 10
    await asyncio.to_thread(server.stop)
    assert left(server.data_dir, words) == {}
