"""Single memories: read, update, delete."""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb

EVERYTHING = {
    "metadata": {"source": "app", "n": 3},
    "categories": ["food"],
    "expire_time": Timestamp(seconds=4_000_000_000),
}


def update(id: str, *paths: str, etag: str = "", **fields: Any) -> pb.UpdateMemoryRequest:
    memory = memory_pb2.Memory(id=id, **fields)
    return pb.UpdateMemoryRequest(memory=memory, update_mask=FieldMask(paths=paths), etag=etag)


async def test_a_memory_is_read_as_it_was_added(api: Any) -> None:
    user = api.user()
    [added] = await api.remember(user, "Is a vegetarian", **EVERYTHING)
    read = (await api.memory.GetMemory(pb.GetMemoryRequest(memory_id=added.id))).memory
    assert read == added
    assert uuid.UUID(read.id).version == 7
    assert (read.text, read.user_id, read.revision, read.speaker) == ("Is a vegetarian", user, 1, "user")
    assert dict(read.metadata) == {"source": "app", "n": 3}
    assert read.create_time == read.update_time
    assert abs(read.create_time.seconds - time.time()) < 60
    assert [(source.role, source.content) for source in read.sources] == [("user", "Is a vegetarian")]
    assert read.etag


@pytest.mark.parametrize(
    "id", ["0192f0c1-5b7e-7c3a-9d52-3f1a8be0c4d7", "no uuid", "ÿ" * 128, "' OR 1=1 --"], ids=range(4)
)
async def test_an_unknown_memory_is_not_found(api: Any, id: str) -> None:
    for call in (
        api.memory.GetMemory(pb.GetMemoryRequest(memory_id=id)),
        api.memory.UpdateMemory(update(id, text="x")),
        api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=id)),
        api.memory.RestoreMemory(pb.RestoreMemoryRequest(memory_id=id)),
        api.memory.ListEvents(pb.ListEventsRequest(memory_id=id)),
    ):
        refusal = await api.refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MEMORY_NOT_FOUND")
        assert refusal.metadata["memory_id"] == id


async def test_an_update_changes_what_the_mask_names_and_nothing_else(api: Any) -> None:
    [before] = await api.remember(api.user(), "Likes tea", **EVERYTHING)
    fields: dict[str, Any] = {"text": "Likes coffee", "metadata": {"k": 1}, "categories": ["drink"]}
    answer = await api.memory.UpdateMemory(update(before.id, "text", **fields))
    after = answer.memory
    assert (after.text, after.revision) == ("Likes coffee", 2)
    assert (after.metadata, after.categories, after.expire_time) == (
        before.metadata,
        before.categories,
        before.expire_time,
    )
    assert (after.create_time, after.sources, after.add_id) == (before.create_time, before.sources, before.add_id)
    assert after.update_time.ToNanoseconds() > before.update_time.ToNanoseconds()
    assert after.etag != before.etag
    assert answer.consistency_token
    assert answer.index_state == memory_pb2.INDEX_STATE_APPLIED


async def test_a_field_in_the_mask_that_is_not_set_is_cleared(api: Any) -> None:
    [before] = await api.remember(api.user(), "Likes tea", **EVERYTHING)
    paths = ("metadata", "categories", "expire_time")
    after = (await api.memory.UpdateMemory(update(before.id, *paths))).memory
    assert (len(after.metadata), list(after.categories), after.HasField("expire_time")) == (0, [], False)
    assert after.text == "Likes tea"


async def test_without_a_mask_the_fields_that_are_set_change(api: Any) -> None:
    [before] = await api.remember(api.user(), "Likes tea", **EVERYTHING)
    after = (await api.memory.UpdateMemory(update(before.id, categories=["drink"]))).memory
    assert (after.text, list(after.categories), after.metadata) == ("Likes tea", ["drink"], before.metadata)


async def test_a_star_replaces_everything_that_can_change(api: Any) -> None:
    [before] = await api.remember(api.user(), "Likes tea", **EVERYTHING)
    after = (await api.memory.UpdateMemory(update(before.id, "*", text="Likes coffee"))).memory
    assert (after.text, len(after.metadata), list(after.categories)) == ("Likes coffee", 0, [])
    assert not after.HasField("expire_time")
    assert after.user_id == before.user_id


@pytest.mark.parametrize("paths", [("user_id",), ("id",), ("text", "*"), ("text", "nonsense"), ("text", "metadata.a")])
async def test_a_mask_with_another_field_is_refused(api: Any, paths: tuple[str, ...]) -> None:
    user = api.user()
    [before] = await api.remember(user, "Likes tea")
    refusal = await api.refused(api.memory.UpdateMemory(update(before.id, *paths, text="x")))
    assert (refusal.reason, refusal.fields[0]) == ("FIELD_INVALID", "update_mask")
    assert await api.listed(user) == [before]


async def test_an_update_with_nothing_to_change_or_an_empty_text_is_refused(api: Any) -> None:
    user = api.user()
    [before] = await api.remember(user, "Likes tea")
    assert (await api.refused(api.memory.UpdateMemory(update(before.id)))).fields == ("update_mask",)
    for request in (update(before.id, "text"), update(before.id, text=" \n"), update(before.id, "*")):
        assert (await api.refused(api.memory.UpdateMemory(request))).fields == ("memory.text",)
    assert await api.listed(user) == [before]


async def test_the_etag_of_another_revision_aborts(api: Any) -> None:
    user = api.user()
    [first] = await api.remember(user, "Likes tea")
    second = (await api.memory.UpdateMemory(update(first.id, text="Likes coffee", etag=first.etag))).memory
    for call in (
        api.memory.UpdateMemory(update(first.id, text="Likes wine", etag=first.etag)),
        api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=first.id, etag=first.etag)),
    ):
        refusal = await api.refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "ETAG_MISMATCH")
        assert refusal.metadata["memory_id"] == first.id
    assert await api.listed(user) == [second]
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=first.id, etag=second.etag))
    assert await api.listed(user) == []


async def test_the_etag_inside_the_memory_counts_too(api: Any) -> None:
    [first] = await api.remember(api.user(), "Likes tea")
    first.text = "Likes coffee"  # a memory that was read, changed and sent back whole
    request = pb.UpdateMemoryRequest(memory=first, update_mask=FieldMask(paths=["text"]))
    assert (await api.memory.UpdateMemory(request)).memory.revision == 2
    assert (await api.refused(api.memory.UpdateMemory(request))).reason == "ETAG_MISMATCH"


async def test_of_concurrent_updates_with_one_etag_one_wins(api: Any) -> None:
    user = api.user()
    [first] = await api.remember(user, "Likes tea")
    calls = [api.memory.UpdateMemory(update(first.id, text=f"Likes {n}", etag=first.etag)) for n in range(8)]
    done = await asyncio.gather(*calls, return_exceptions=True)
    won = [answer for answer in done if not isinstance(answer, BaseException)]
    assert [error.code() for error in done if isinstance(error, grpc.RpcError)] == [grpc.StatusCode.ABORTED] * 7
    assert await api.texts(user) == [won[0].memory.text]


async def test_concurrent_updates_without_etags_follow_one_another(api: Any) -> None:
    user = api.user()
    [first] = await api.remember(user, "Likes tea")
    calls = [api.memory.UpdateMemory(update(first.id, categories=[f"c{n}"])) for n in range(3)]
    done = await asyncio.gather(*calls)
    assert sorted(answer.memory.revision for answer in done) == [2, 3, 4]


async def test_an_immutable_memory_changes_only_together_with_its_immutability(api: Any) -> None:
    user = api.user()
    [fixed] = await api.remember(user, "Was born in Rome", immutable=True)
    for request in (update(fixed.id, text="Was born in Oslo"), update(fixed.id, "immutable", immutable=True)):
        refusal = await api.refused(api.memory.UpdateMemory(request))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MEMORY_IMMUTABLE")
        assert refusal.metadata["memory_id"] == fixed.id
        assert refusal.details["PreconditionFailure"].violations[0].subject == fixed.id
    assert await api.listed(user) == [fixed]
    request = update(fixed.id, "text", "immutable", text="Was born in Oslo")
    freed = (await api.memory.UpdateMemory(request)).memory
    assert (freed.text, freed.immutable) == ("Was born in Oslo", False)


async def test_an_immutable_memory_can_be_deleted(api: Any) -> None:
    user = api.user()
    [fixed] = await api.remember(user, "Was born in Rome", immutable=True)
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=fixed.id))
    assert await api.listed(user) == []


async def test_a_new_text_is_found_at_once_and_the_old_one_no_more(api: Any) -> None:
    user = api.user()
    [first] = await api.remember(user, "Drives a red tractor")
    await api.memory.UpdateMemory(update(first.id, text="Sails a yellow submarine"))
    assert await api.found(user, "yellow submarine", threshold=0.5) == ["Sails a yellow submarine"]
    assert await api.found(user, "red tractor", threshold=0.5) == []


async def test_a_deleted_memory_is_gone_for_reads_and_searches(api: Any) -> None:
    user = api.user()
    [gone] = await api.remember(user, "Drives a red tractor")
    answer = await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=gone.id))
    assert (answer.index_state, bool(answer.consistency_token)) == (memory_pb2.INDEX_STATE_APPLIED, True)
    assert await api.found(user, "red tractor") == []
    for call in (
        api.memory.GetMemory(pb.GetMemoryRequest(memory_id=gone.id)),
        api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=gone.id)),
    ):
        assert (await api.refused(call)).reason == "MEMORY_NOT_FOUND"


async def test_an_expired_memory_is_read_but_neither_listed_nor_found(api: Any) -> None:
    user = api.user()
    [soon] = await api.remember(user, "Holds a ticket", expire_time=Timestamp(seconds=int(time.time()) + 2))
    assert await api.texts(user) == ["Holds a ticket"]
    await asyncio.sleep(max(0.0, soon.expire_time.seconds - time.time()) + 0.05)
    assert await api.texts(user) == []
    assert await api.found(user, "ticket") == []
    assert (await api.memory.GetMemory(pb.GetMemoryRequest(memory_id=soon.id))).memory == soon


@pytest.mark.parametrize("seconds", [0, 1, int(time.time()) - 1], ids=["epoch", "second", "now"])
async def test_an_expiry_in_the_past_is_refused(api: Any, seconds: int) -> None:
    user = api.user()
    [memory] = await api.remember(user, "Holds a ticket")
    past = Timestamp(seconds=seconds)
    refusal = await api.refused(api.memory.UpdateMemory(update(memory.id, expire_time=past)))
    assert (refusal.reason, refusal.fields) == ("FIELD_INVALID", ("memory.expire_time",))
    request = pb.AddRequest(scope={"user_id": user}, text="x", infer=False, expire_time=past)
    refusal = await api.refused(api.memory.Add(request))
    assert (refusal.reason, refusal.fields) == ("FIELD_INVALID", ("expire_time",))
    assert await api.listed(user) == [memory]
