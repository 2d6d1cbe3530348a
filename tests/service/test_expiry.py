"""Calls on an expired memory have the same result before and after the server has deleted it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.timestamp_pb2 import Timestamp

from recalld import testing
from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb

NEVER = Timestamp(seconds=4_000_000_000)


@pytest.fixture(scope="module", params=["embedded", pytest.param("postgres", marks=pytest.mark.needs_postgres)])
def engine(request: pytest.FixtureRequest) -> Iterator[testing.LocalServer]:
    """A server over each ledger."""
    if request.param == "embedded":
        yield request.getfixturevalue("server")
        return
    postgres = request.getfixturevalue("postgres")
    with postgres.database("ledger") as url, testing.start_local(arguments=["--ledger", url]) as running:
        yield running


@pytest.fixture
async def api(engine: testing.LocalServer, connect: Callable[[str], Any]) -> AsyncIterator[Any]:
    async with connect(engine.target) as found:
        yield found


async def expired(api: Any, *texts: str, **fields: Any) -> list[memory_pb2.Memory]:
    """Memories of a new user that have just expired."""
    soon = Timestamp(seconds=int(time.time()) + 2)
    memories: list[memory_pb2.Memory] = await api.remember(api.user(), *texts, expire_time=soon, **fields)
    await asyncio.sleep(max(0.0, soon.seconds - time.time()) + 0.05)
    return memories


def item(id: str, **fields: Any) -> pb.BatchUpdateItem:
    return pb.BatchUpdateItem(memory=memory_pb2.Memory(id=id, **fields))


async def test_no_write_finds_an_expired_memory(api: Any) -> None:
    [gone, immutable] = await expired(api, "Holds a ticket", "Ha un biglietto")
    [live] = await api.remember(api.user(), "Holds a passport")
    one = memory_pb2.Memory(id=gone.id, expire_time=NEVER)
    both = [item(live.id, text="x"), item(gone.id, text="x"), item(immutable.id, immutable=True)]
    for call, named in (
        (api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=one)), [gone.id]),
        (api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=one, etag=gone.etag)), [gone.id]),
        (api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=gone.id)), [gone.id]),
        (api.memory.SetFeedback(pb.SetFeedbackRequest(memory_id=gone.id, feedback="FEEDBACK_POSITIVE")), [gone.id]),
        (api.memory.BatchUpdateMemories(pb.BatchUpdateMemoriesRequest(updates=both)), [gone.id, immutable.id]),
        (api.memory.BatchDeleteMemories(pb.BatchDeleteMemoriesRequest(memory_ids=[live.id, gone.id])), [gone.id]),
    ):
        refusal = await api.refused(call)
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "MEMORY_NOT_FOUND")
        assert (refusal.metadata.get("memory_ids") or refusal.metadata["memory_id"]).split(",") == named
        assert all(id in refusal.message for id in named)
        assert live.id not in refusal.message
        assert "RestoreMemory" in refusal.message
    assert (await api.memory.GetMemory(pb.GetMemoryRequest(memory_id=live.id))).memory == live


@pytest.mark.parametrize("immutable", [False, True])
async def test_restore_brings_an_expired_memory_back_without_its_expiry(api: Any, immutable: bool) -> None:
    [gone] = await expired(api, "チケットを持っている", immutable=immutable)
    back = (await api.memory.RestoreMemory(pb.RestoreMemoryRequest(memory_id=gone.id))).memory
    assert (back.id, back.text, back.HasField("expire_time")) == (gone.id, gone.text, False)
    assert await api.texts(gone.user_id) == [gone.text]
    assert await api.found(gone.user_id, "チケット") == [gone.text]
    assert (await api.refused(api.memory.RestoreMemory(pb.RestoreMemoryRequest(memory_id=gone.id)))).reason == (
        "MEMORY_NOT_DELETED"
    )
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=gone.id))
