"""Deletion by scope and filter, and restores."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from recalld.v1 import filter_pb2, memory_pb2
from recalld.v1 import memory_service_pb2 as pb

FOOD = filter_pb2.Filter(
    comparison=filter_pb2.Comparison(
        field="categories", operator=filter_pb2.OPERATOR_EQ, value=filter_pb2.Value(string_value="food")
    )
)


def deletion(user: str, **fields: Any) -> pb.DeleteMemoriesRequest:
    return pb.DeleteMemoriesRequest(scope={"user_id": user}, **fields)


async def restored(api: Any, id: str, revision: int | None = None) -> memory_pb2.Memory:
    answer = await api.memory.RestoreMemory(pb.RestoreMemoryRequest(memory_id=id, revision=revision))
    assert answer.consistency_token
    return answer.memory


async def test_a_scope_deletes_what_lies_inside_it_and_no_more(api: Any) -> None:
    user, other = api.user(), api.user()
    await api.remember(user, "Likes tea", "Likes rain")
    kept = await api.remember(other, "Likes tea")
    answer = await api.memory.DeleteMemories(deletion(user))
    assert (answer.count, len(answer.sample), bool(answer.consistency_token)) == (2, 0, True)
    assert answer.index_state == memory_pb2.INDEX_STATE_APPLIED
    assert await api.listed(user) == []
    assert await api.found(user, "tea") == []
    assert await api.listed(other) == kept


async def test_scope_and_filter_go_together(api: Any) -> None:
    user, other = api.user(), api.user()
    await api.remember(user, "Likes rice", categories=["food"])
    kept = await api.remember(user, "Likes rain", categories=["weather"])
    also = await api.remember(other, "Likes rice", categories=["food"])
    assert (await api.memory.DeleteMemories(deletion(user, filter=FOOD))).count == 1
    assert (await api.listed(user), await api.listed(other)) == (kept, also)


async def test_a_filter_alone_is_enough(api: Any) -> None:
    user = api.user()
    await api.remember(user, "Likes rice", "Likes peas")
    value = filter_pb2.Value(string_value=user)
    mine = filter_pb2.Comparison(field="user_id", operator=filter_pb2.OPERATOR_EQ, value=value)
    request = pb.DeleteMemoriesRequest(filter=filter_pb2.Filter(comparison=mine))
    assert (await api.memory.DeleteMemories(request)).count == 2


async def test_neither_scope_nor_filter_is_refused(api: Any) -> None:
    user = api.user()
    kept = await api.remember(user, "Likes rice")
    for request in (pb.DeleteMemoriesRequest(), pb.DeleteMemoriesRequest(scope={}, dry_run=True)):
        refusal = await api.refused(api.memory.DeleteMemories(request))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "SCOPE_MISSING")
        assert refusal.fields == ("scope",)
    assert await api.listed(user) == kept


async def test_nothing_to_delete_is_no_error(api: Any) -> None:
    assert (await api.memory.DeleteMemories(deletion(api.user()))).count == 0


async def test_a_dry_run_counts_and_samples_and_deletes_nothing(api: Any) -> None:
    user = api.user()
    before = await api.remember(user, *(f"Likes dish {n}" for n in range(12)))
    answer = await api.memory.DeleteMemories(deletion(user, dry_run=True))
    assert (answer.count, len(answer.sample)) == (12, 10)
    assert all(memory in before for memory in answer.sample)
    assert (answer.consistency_token, answer.index_state) == ("", memory_pb2.INDEX_STATE_UNSPECIFIED)
    assert await api.listed(user) == before


@pytest.mark.parametrize("expected", [0, 1, 3])
async def test_another_count_than_expected_deletes_nothing(api: Any, expected: int) -> None:
    user = api.user()
    before = await api.remember(user, "Likes tea", "Likes rain")
    refusal = await api.refused(api.memory.DeleteMemories(deletion(user, expected_count=expected)))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.ABORTED, "COUNT_MISMATCH")
    assert (refusal.metadata["expected"], refusal.metadata["actual"]) == (str(expected), "2")
    assert await api.listed(user) == before
    assert (await api.memory.DeleteMemories(deletion(user, expected_count=2))).count == 2


async def test_more_than_a_transaction_holds(api: Any) -> None:
    user = api.user()
    await api.fill(user, 2100)
    request = deletion(user, expected_count=2100, request_id="all")
    answer = await api.memory.DeleteMemories(request)
    assert (answer.count, answer.index_state) == (2100, memory_pb2.INDEX_STATE_APPLIED)
    assert await api.listed(user) == []
    assert await api.memory.DeleteMemories(request) == answer


async def test_an_expired_memory_is_deleted_with_the_others(api: Any) -> None:
    user = api.user()
    [soon] = await api.remember(user, "Holds a ticket", expire_time=Timestamp(seconds=int(time.time()) + 1))
    await asyncio.sleep(max(0.0, soon.expire_time.seconds - time.time()) + 0.05)
    assert (await api.memory.DeleteMemories(deletion(user, expected_count=1))).count == 1
    # An expiry that has passed does not come back.
    back = await restored(api, soon.id)
    assert not back.HasField("expire_time")
    assert await api.listed(user) == [back]


async def test_a_deleted_memory_comes_back_as_it_was(api: Any) -> None:
    user = api.user()
    [before] = await api.remember(user, "Drives a red tractor", metadata={"n": 1}, categories=["farm"])
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=before.id))
    back = await restored(api, before.id)
    assert (back.revision, back.etag != before.etag) == (3, True)
    for name in ("id", "text", "user_id", "metadata", "categories", "create_time", "speaker", "sources", "add_id"):
        assert getattr(back, name) == getattr(before, name), name
    assert await api.listed(user) == [back]
    assert await api.found(user, "red tractor") == [back.text]


async def test_an_earlier_revision_comes_back_as_a_new_one(api: Any) -> None:
    user = api.user()
    [first] = await api.remember(user, "Drives a red tractor", categories=["farm"])
    changed = memory_pb2.Memory(id=first.id, text="Sails a yellow submarine")
    mask = FieldMask(paths=["text", "categories"])
    await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed, update_mask=mask))
    back = await restored(api, first.id, revision=1)
    assert (back.text, list(back.categories), back.revision) == (first.text, ["farm"], 3)
    assert await api.found(user, "red tractor", threshold=0.5) == [first.text]
    assert await api.found(user, "yellow submarine", threshold=0.5) == []
    again = await restored(api, first.id, revision=2)
    assert (again.text, again.revision) == ("Sails a yellow submarine", 4)


async def test_a_live_memory_needs_a_revision_to_go_back_to(api: Any) -> None:
    [memory] = await api.remember(api.user(), "Likes tea")
    refusal = await api.refused(restored(api, memory.id))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "MEMORY_NOT_DELETED")
    assert refusal.metadata["memory_id"] == memory.id


@pytest.mark.parametrize("revision", [0, 2, -1, 2**31 - 1])
async def test_an_unknown_revision_is_not_found(api: Any, revision: int) -> None:
    user = api.user()
    [memory] = await api.remember(user, "Likes tea")
    refusal = await api.refused(restored(api, memory.id, revision))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "REVISION_NOT_FOUND")
    assert (refusal.metadata["memory_id"], refusal.metadata["revision"]) == (memory.id, str(revision))
    assert await api.listed(user) == [memory]


async def test_an_immutable_memory_goes_back_only_when_it_was_deleted(api: Any) -> None:
    [memory] = await api.remember(api.user(), "Was born in Rome", immutable=True)
    assert (await api.refused(restored(api, memory.id, 1))).reason == "MEMORY_IMMUTABLE"
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.id))
    assert (await restored(api, memory.id)).immutable
