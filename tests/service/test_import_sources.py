"""ImportMemories: the source messages of memories."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from google.rpc import error_details_pb2

from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb


def said(position: int, content: str = "I like tea") -> memory_pb2.Message:
    return memory_pb2.Message(role="user", content=content, position=position)


def reasons(progress: pb.ImportProgress) -> dict[int, str]:
    """Reasons of the failed items by index."""
    return {
        failure.index: error_details_pb2.ErrorInfo.FromString(failure.status.details[0].value).reason
        for failure in progress.failed
    }


async def test_what_claims_another_message_than_was_said_fails_alone(api: Any) -> None:
    user = api.user()
    add_id = str(uuid.uuid4())
    first = api.whole(user, "Likes tea", sources=[said(3)], add_id=add_id)
    also = api.whole(user, "Likes hot drinks", sources=[said(3), said(4, "And cocoa")], add_id=add_id)
    other = api.whole(user, "Likes rum", sources=[said(3, "I like rum")], add_id=add_id)
    await api.imported([first])
    nameless = pb.ImportItem()
    nameless.CopyFrom(other)
    nameless.memory.id = ""
    [progress] = await api.imported(
        [also, other, pb.ImportItem(text={"text": "Likes rain", "scope": {"user_id": user}}), nameless]
    )
    assert reasons(progress) == {1: "MEMORY_EXISTS", 3: "MEMORY_EXISTS"}
    assert sorted(await api.texts(user)) == ["Likes hot drinks", "Likes rain", "Likes tea"]


@pytest.mark.parametrize("field", ["user_id", "run_id"])
async def test_imported_messages_stay_in_their_conversation(api: Any, field: str) -> None:
    """Sources bring their positions, and what is said next in the run follows them."""
    id = api.user()
    sources = [said(n, f"Message {n}") for n in (7, 9)]
    item = api.whole("", "Likes tea", sources=sources, **{field: id})
    [progress] = await api.imported([item])
    assert progress.stored == 1
    answer = await api.memory.Add(pb.AddRequest(scope={field: id}, text="Likes rain", infer=False))
    assert answer.results[0].memory.sources[0].position == (10 if field == "run_id" else 0)
    memory = (await api.memory.GetMemory(pb.GetMemoryRequest(memory_id=item.memory.id))).memory
    assert list(memory.sources) == sources
