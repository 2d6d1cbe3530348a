"""ImportMemories: texts and whole memories in bulk."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.rpc import error_details_pb2

from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb

LATER = Timestamp(seconds=4_000_000_000)


def text(user: str, content: str, **fields: Any) -> pb.ImportItem:
    return pb.ImportItem(text=pb.ImportText(text=content, scope={"user_id": user}, **fields))


def said(position: int, content: str = "I like tea") -> memory_pb2.Message:
    return memory_pb2.Message(role="user", content=content, position=position)


def reasons(progress: pb.ImportProgress) -> dict[int, str]:
    """Reasons of the failed items by index; each failure must carry one ErrorInfo of ours."""
    found = {}
    for failure in progress.failed:
        infos = [d for d in failure.status.details if d.Is(error_details_pb2.ErrorInfo.DESCRIPTOR)]
        [info] = [error_details_pb2.ErrorInfo.FromString(packed.value) for packed in infos]
        assert info.domain == "recalld"
        assert failure.status.message
        found[failure.index] = info.reason
    return found


async def test_texts_become_memories(api: Any) -> None:
    user = api.user()
    said = Timestamp(seconds=1_700_000_000)
    items = [
        text(user, "Likes tea"),
        text(user, "Has a dog", name="Ann", role="assistant", message_time=said),
        text(user, "Likes rain", metadata={"n": 1}, categories=["sky"], expire_time=LATER, immutable=True),
    ]
    [progress] = await api.imported(items)
    assert (progress.through_index, progress.stored, progress.unchanged, len(progress.failed)) == (2, 3, 0, 0)
    assert (bool(progress.consistency_token), progress.index_state) == (True, memory_pb2.INDEX_STATE_APPLIED)
    tea, dog, rain = await api.listed(user)
    assert [(source.role, source.content) for source in tea.sources] == [("user", "Likes tea")]
    assert (dog.speaker, dog.sources[0].role, dog.sources[0].time) == ("Ann", "assistant", said)
    assert (dict(rain.metadata), list(rain.categories)) == ({"n": 1}, ["sky"])
    assert (rain.expire_time, rain.immutable, rain.revision) == (LATER, True, 1)
    assert (await api.found(user, "dog", limit=1, at_least_as_fresh=progress.consistency_token)) == ["Has a dog"]


async def test_texts_that_are_there_are_unchanged(api: Any) -> None:
    user, other = api.user(), api.user()
    await api.remember(user, "Likes tea")
    [progress] = await api.imported([text(user, " Likes tea\n"), text(user, "Likes rain"), text(user, "Likes rain")])
    assert (progress.stored, progress.unchanged) == (1, 2)
    [progress] = await api.imported([text(other, "Likes tea")])
    assert (progress.stored, progress.unchanged) == (1, 0)
    assert await api.texts(user) == ["Likes tea", "Likes rain"]


async def test_whole_memories_keep_what_they_bring(api: Any) -> None:
    user = api.user()
    source = memory_pb2.Message(role="user", content="I drive a red tractor", name="Ann", position=4, time=LATER)
    brought: dict[str, Any] = {
        "agent_id": "tutor",
        "metadata": {"n": 1},
        "categories": ["farm"],
        "create_time": Timestamp(seconds=1_500_000_000, nanos=1000),
        "update_time": Timestamp(seconds=1_600_000_000),
        "expire_time": LATER,
        "event_time": Timestamp(seconds=1_400_000_000),
        "revision": 7,
        "speaker": "Ann",
        "sources": [source],
        "add_id": str(uuid.uuid4()),
        "immutable": True,
    }
    item = api.whole(user, "Drives a red tractor", 3, **brought)
    [progress] = await api.imported([item])
    assert (progress.stored, len(progress.failed)) == (1, 0)
    [memory] = await api.listed(user)
    assert memory == (await api.memory.GetMemory(pb.GetMemoryRequest(memory_id=item.memory.id))).memory
    expected = memory_pb2.Memory()
    expected.CopyFrom(item.memory)
    expected.etag = memory.etag
    expected.said_time.CopyFrom(item.memory.sources[0].time)
    assert memory == expected
    [event] = await api.events(user)
    assert event.memory_after == memory
    assert event.time.seconds > 1_700_000_000  # when the ledger learned of it


async def test_a_memory_without_id_times_and_revision_gets_them(api: Any) -> None:
    user = api.user()
    [progress] = await api.imported([pb.ImportItem(memory=memory_pb2.Memory(user_id=user, text="Likes tea"))])
    assert progress.stored == 1
    [memory] = await api.listed(user)
    assert (uuid.UUID(memory.id).version, memory.revision, bool(memory.add_id)) == (7, 1, True)
    assert memory.create_time == memory.update_time != Timestamp()
    assert await api.found(user, "tea") == ["Likes tea"]


async def test_the_first_second_of_1970_is_a_time_as_any_other(api: Any) -> None:
    user, epoch = api.user(), Timestamp()
    past = api.whole(user, "Likes rain", create_time=epoch, update_time=epoch, revision=1).memory
    undated = api.whole(user, "Likes snow", revision=1).memory
    histories = [
        pb.ImportItem(history={"revisions": [{"memory": memory, "kind": memory_pb2.KIND_ADDED}]})
        for memory in (past, undated)
    ]
    [progress] = await api.imported(
        [api.whole(user, "Likes tea", create_time=epoch, update_time=epoch), api.whole(user, "Likes ice"), *histories]
    )
    assert progress.stored == 4
    for memory in await api.listed(user):
        dated = memory.text in ("Likes tea", "Likes rain")
        assert memory.HasField("create_time")
        assert memory.HasField("update_time")
        assert (memory.create_time == epoch, memory.update_time == epoch) == (dated, dated)


async def test_a_history_of_too_many_values_is_refused_for_good(api: Any) -> None:
    user = api.user()
    memory = api.whole(user, "Likes tea", revision=1).memory
    memory.metadata.update({"n": [1] * 8_000})
    item = pb.ImportItem()
    for number in range(1, 9):
        memory.revision = number
        kind = memory_pb2.KIND_UPDATED if number > 1 else memory_pb2.KIND_ADDED
        item.history.revisions.add(memory=memory, kind=kind)
    [progress] = await api.imported([text(user, "Likes rain"), item])
    [failure] = progress.failed
    assert (failure.index, failure.status.code, progress.stored) == (1, grpc.StatusCode.INVALID_ARGUMENT.value[0], 1)
    assert "at most 50000 values" in failure.status.message
    assert "again" not in failure.status.message
    del item.history.revisions[:2]
    [progress] = await api.imported([item])
    assert (progress.stored, len(progress.failed)) == (1, 0)


async def test_a_vector_of_the_models_is_used_and_another_models_is_not(api: Any) -> None:
    user = api.user()
    item = api.whole(user, "Drives a red tractor", 5)
    await api.imported([item])
    assert await api.found(user, "farm vehicle", mode="SEARCH_MODE_VECTOR", threshold=0.25) == []
    other = api.whole(user, "Drives a blue tractor", 5)
    other.vector_model, other.vector[:] = "somebody/else", [1.0, 2.0]
    [progress] = await api.imported([other])
    assert progress.stored == 1
    found = await api.found(user, "Drives a blue tractor", mode="SEARCH_MODE_VECTOR", threshold=0.9)
    assert found == ["Drives a blue tractor"]


async def test_again_is_unchanged_and_other_content_under_the_id_fails(api: Any) -> None:
    user = api.user()
    item = api.whole(user, "Likes tea", metadata={"n": 1})
    await api.imported([item])
    changed = pb.ImportItem()
    changed.CopyFrom(item)
    changed.memory.text = "Likes coffee"
    [progress] = await api.imported([item, changed, item])
    assert (progress.stored, progress.unchanged, reasons(progress)) == (0, 2, {1: "MEMORY_EXISTS"})
    assert progress.failed[0].status.code == grpc.StatusCode.ALREADY_EXISTS.value[0]
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=item.memory.id))
    [progress] = await api.imported([item, item])
    assert (progress.stored, progress.unchanged) == (1, 1)  # what was deleted is back
    assert (await api.texts(user), len(await api.events(user))) == (["Likes tea"], 3)


async def test_bad_items_fail_alone_each_with_its_reason(api: Any) -> None:
    user = api.user()
    wrong_size, zero, endless = (api.whole(user, f"Bad vector {n}") for n in range(3))
    wrong_size.vector.append(1.0)
    zero.vector[:] = [0.0] * len(zero.vector)
    endless.vector[0] = float("inf")
    nameless = api.whole(user, "No model")
    nameless.vector_model = ""
    bad = {
        "FIELD_INVALID": [
            pb.ImportItem(),
            text(user, ""),
            text(user, " \n"),
            text(user, "x", role="king"),
            text(user, "x", expire_time=Timestamp(seconds=1)),
            api.whole(user, "x", id="no uuid"),
            api.whole(user, ""),
            api.whole(user, "x", revision=-1),
            api.whole(user, "x", create_time=Timestamp(seconds=2**60)),
            api.whole(user, "x", sources=[memory_pb2.Message(role="king")]),
            api.whole(user, "x", sources=[said(0), said(0)]),
            api.whole(user, "x", sources=[said(-1)]),
            api.whole(user, "x", sources=[said(2**30)]),
            nameless,
        ],
        "SCOPE_MISSING": [text("", "x"), api.whole("", "x")],
        "LIMIT_EXCEEDED": [text(user, "x" * 16385), api.whole(user, "x" * 16385)],
        "TEXT_INVALID": [text(user, "a\0b"), api.whole(user, "a", metadata={"k": "a\0"})],
        "VECTOR_INVALID": [wrong_size, zero, endless],
    }
    items, expected = [text(user, "Likes tea")], {}
    for reason, some in bad.items():
        for item in some:
            expected[len(items)] = reason
            items += [item, text(user, f"Likes dish {len(items)}")]
    [progress] = await api.imported(items)
    assert reasons(progress) == expected
    assert progress.through_index == len(items) - 1
    assert progress.stored == len(items) - len(expected) == len(await api.listed(user))


async def test_progress_comes_while_items_are_still_sent(api: Any) -> None:
    user = api.user()
    settled = asyncio.Event()

    async def items() -> AsyncIterator[pb.ImportItem]:
        for n in range(1200):
            if n == 700:
                await asyncio.wait_for(settled.wait(), 30)
            yield api.whole(user, f"Locker {n} holds a hat", n) if n % 400 else pb.ImportItem()

    call = api.memory.ImportMemories(items())
    progress = []
    async for answer in call:
        progress.append(answer)
        settled.set()
    assert [answer.through_index for answer in progress] == [499, 999, 1199]
    assert [answer.stored for answer in progress] == [498, 997, 1197]
    assert [list(reasons(answer)) for answer in progress] == [[0, 400], [800], []]
    assert len(await api.listed(user, page_size=1000)) == 1000
    found = await api.memory.ListMemories(pb.ListMemoriesRequest(scope={"user_id": user}, with_total_size=True))
    assert found.total_size == 1197


async def test_an_import_of_nothing_is_settled(api: Any) -> None:
    [progress] = await api.imported([])
    assert (progress.through_index, progress.stored, progress.consistency_token) == (-1, 0, "")


async def test_the_request_id_of_the_first_item_stands_on_the_events(api: Any) -> None:
    user = api.user()
    first, second = api.whole(user, "Likes tea"), api.whole(user, "Likes rain")
    first.request_id, second.request_id = "import-1", "ignored"
    await api.imported([first, second])
    assert {event.request_id for event in await api.events(user)} == {"import-1"}


@pytest.mark.parametrize("wrong", ["nul\0", "x" * 65, "näh"])
async def test_a_request_id_that_is_refused_stands_on_no_event(api: Any, wrong: str) -> None:
    user = api.user()
    first, second = text(user, "Keeps bees"), text(user, "Keeps hens")
    first.request_id = wrong
    last = (await api.imported([first, second]))[-1]
    assert ([failure.index for failure in last.failed], last.stored) == ([0], 1)
    assert [event.request_id for event in await api.events(user)] == [""]


async def test_a_broken_import_keeps_what_was_settled(api: Any) -> None:
    user = api.user()

    async def items() -> AsyncIterator[pb.ImportItem]:
        for n in range(500):
            yield api.whole(user, f"Locker {n} holds a hat", n)
        await asyncio.sleep(30)

    call = api.memory.ImportMemories(items())
    first = await call.read()
    call.cancel()
    assert first.through_index == 499
    assert len(await api.listed(user)) == 500
