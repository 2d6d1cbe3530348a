"""Batches of memories are atomic."""

from __future__ import annotations

from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb

UNKNOWN = ["0192f0c1-5b7e-7c3a-9d52-000000000001", "0192f0c1-5b7e-7c3a-9d52-000000000002"]


def item(id: str, etag: str = "", paths: tuple[str, ...] = (), **fields: Any) -> pb.BatchUpdateItem:
    memory = memory_pb2.Memory(id=id, **fields)
    return pb.BatchUpdateItem(memory=memory, update_mask=FieldMask(paths=paths), etag=etag)


async def test_updates_are_answered_in_their_order(api: Any) -> None:
    user = api.user()
    one, two, three = await api.remember(user, "Likes tea", "Likes rain", "Likes fog")
    items = [
        item(three.id, text="Likes sun"),
        item(one.id, categories=["drink"]),
        item(two.id, paths=("metadata",), metadata={"n": 1}),
    ]
    answer = await api.memory.BatchUpdateMemories(pb.BatchUpdateMemoriesRequest(updates=items))
    assert [memory.id for memory in answer.memories] == [three.id, one.id, two.id]
    assert [memory.text for memory in answer.memories] == ["Likes sun", "Likes tea", "Likes rain"]
    assert [list(memory.categories) for memory in answer.memories][1] == ["drink"]
    assert {memory.id: memory for memory in answer.memories} == {m.id: m for m in await api.listed(user)}
    assert (bool(answer.consistency_token), answer.index_state) == (True, memory_pb2.INDEX_STATE_APPLIED)
    assert await api.found(user, "sun", limit=1) == ["Likes sun"]


async def test_an_unknown_id_spoils_the_batch_and_every_unknown_one_is_named(api: Any) -> None:
    user = api.user()
    before = await api.remember(user, "Likes tea", "Likes rain")
    ids = [before[0].id, UNKNOWN[0], before[1].id, UNKNOWN[1]]
    updates = pb.BatchUpdateMemoriesRequest(updates=[item(id, text="x") for id in ids])
    for call in (
        api.memory.BatchUpdateMemories(updates),
        api.memory.BatchDeleteMemories(pb.BatchDeleteMemoriesRequest(memory_ids=ids)),
    ):
        refusal = await api.refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MEMORY_NOT_FOUND")
        assert refusal.metadata["memory_ids"] == ",".join(UNKNOWN)
    assert await api.listed(user) == before
    assert len(await api.events(user)) == len(before)


async def test_a_thousand_unknown_ids_are_still_an_answer(api: Any) -> None:
    """Details travel in trailers, which callers bound to 8 KiB."""
    ids = [f"{UNKNOWN[0][:-4]}{n:04}" for n in range(1000)]
    refusal = await api.refused(api.memory.BatchDeleteMemories(pb.BatchDeleteMemoriesRequest(memory_ids=ids)))
    assert refusal.reason == "MEMORY_NOT_FOUND"
    named = refusal.metadata["memory_ids"].split(",")
    assert named == ids[: len(named)]
    assert len(named) > 50
    assert refusal.metadata["count"] == "1000"


@pytest.mark.parametrize("kind", ["etag", "immutable", "expired"])
async def test_one_update_that_cannot_be_spoils_the_batch(api: Any, kind: str) -> None:
    user = api.user()
    [good] = await api.remember(user, "Likes tea")
    [bad] = await api.remember(user, "Likes rain", immutable=kind == "immutable")
    spoiled, reason = {
        "etag": (item(bad.id, etag=good.etag, text="x"), "ETAG_MISMATCH"),
        "immutable": (item(bad.id, text="x"), "MEMORY_IMMUTABLE"),
        "expired": (item(bad.id, expire_time=Timestamp(seconds=1)), "FIELD_INVALID"),
    }[kind]
    request = pb.BatchUpdateMemoriesRequest(updates=[item(good.id, etag=good.etag, text="y"), spoiled])
    refusal = await api.refused(api.memory.BatchUpdateMemories(request))
    assert refusal.reason == reason
    if kind == "expired":
        assert refusal.fields == ("updates[1].memory.expire_time",)
    else:
        assert refusal.metadata["memory_id"] == bad.id
    assert await api.listed(user) == [good, bad]


async def test_violations_name_the_update_they_are_about(api: Any) -> None:
    [memory] = await api.remember(api.user(), "Likes tea")
    items = [item(memory.id, text="fine"), item("", text="x"), item(memory.id, paths=("user_id",), text="x")]
    refusal = await api.refused(api.memory.BatchUpdateMemories(pb.BatchUpdateMemoriesRequest(updates=items)))
    assert refusal.reason == "FIELD_INVALID"
    assert {"updates[1].memory.id", "updates[2].update_mask", "updates[2]"} <= set(refusal.fields)


async def test_one_memory_twice_in_the_updates_is_refused(api: Any) -> None:
    user = api.user()
    [memory] = await api.remember(user, "Likes tea")
    items = [item(memory.id, text="x"), item(memory.id, text="y")]
    refusal = await api.refused(api.memory.BatchUpdateMemories(pb.BatchUpdateMemoriesRequest(updates=items)))
    assert refusal.fields == ("updates[1]",)
    assert await api.listed(user) == [memory]


async def test_a_repeated_id_is_deleted_once(api: Any) -> None:
    user = api.user()
    one, two, three = await api.remember(user, "Likes tea", "Likes rain", "Likes fog")
    request = pb.BatchDeleteMemoriesRequest(memory_ids=[one.id, three.id, one.id])
    answer = await api.memory.BatchDeleteMemories(request)
    assert (answer.deleted_count, answer.index_state) == (2, memory_pb2.INDEX_STATE_APPLIED)
    assert await api.listed(user) == [two]


@pytest.mark.parametrize("name", ["BatchUpdateMemories", "BatchDeleteMemories"])
async def test_an_empty_batch_is_refused(api: Any, name: str) -> None:
    request = getattr(pb, f"{name}Request")()
    refusal = await api.refused(getattr(api.memory, name)(request))
    assert (refusal.reason, refusal.fields) == (
        "FIELD_INVALID",
        ("updates" if name == "BatchUpdateMemories" else "memory_ids",),
    )


async def test_a_thousand_memories_are_one_batch_and_one_more_is_none(api: Any) -> None:
    user = api.user()
    await api.fill(user, 1000)
    memories = await api.listed(user)
    [extra] = await api.remember(user, "Likes tea")
    items = [item(memory.id, categories=["hat"]) for memory in memories]
    over = pb.BatchUpdateMemoriesRequest(updates=[*items, item(extra.id, categories=["hat"])])
    refusal = await api.refused(api.memory.BatchUpdateMemories(over))
    assert (refusal.reason, refusal.fields) == ("LIMIT_EXCEEDED", ("updates",))
    assert (refusal.metadata["limit"], refusal.metadata["actual"]) == ("1000", "1001")
    answer = await api.memory.BatchUpdateMemories(pb.BatchUpdateMemoriesRequest(updates=items))
    assert {memory.revision for memory in answer.memories} == {2}
    ids = [memory.id for memory in memories]
    refusal = await api.refused(
        api.memory.BatchDeleteMemories(pb.BatchDeleteMemoriesRequest(memory_ids=[*ids, extra.id]))
    )
    assert (refusal.reason, refusal.fields) == ("LIMIT_EXCEEDED", ("memory_ids",))
    answer = await api.memory.BatchDeleteMemories(pb.BatchDeleteMemoriesRequest(memory_ids=ids))
    assert answer.deleted_count == 1000
    assert await api.listed(user) == [extra]
