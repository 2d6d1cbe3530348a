"""Watch on a real server: every committed change, in order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import grpc
import pytest

from recalld import testing
from recalld.v1 import filter_pb2, memory_pb2
from recalld.v1 import memory_service_pb2 as pb

SOON = 10.0  # seconds within which anything expected must have come
Connect = Callable[[str], AbstractAsyncContextManager[Any]]


@asynccontextmanager
async def watching(api: Any, **fields: Any) -> AsyncIterator[Any]:
    call = api.memory.Watch(pb.WatchRequest(**fields))
    try:
        yield call
    finally:
        call.cancel()


async def read(call: Any) -> pb.WatchResponse:
    answer = await asyncio.wait_for(call.read(), SOON)
    assert answer is not grpc.aio.EOF
    return answer


async def change(call: Any) -> memory_pb2.Event:
    """The next change; checkpoints are passed over."""
    while True:
        answer = await read(call)
        if answer.WhichOneof("item") == "event":
            return answer.event


def categories(*names: str) -> filter_pb2.Filter:
    wanted = filter_pb2.Value(list_value={"values": [{"string_value": name} for name in names]})
    return filter_pb2.Filter(
        comparison=filter_pb2.Comparison(field="categories", operator=filter_pb2.OPERATOR_IN, value=wanted)
    )


async def test_the_first_message_says_where_the_watch_stands(api: Any) -> None:
    user = api.user()
    await api.remember(user, "Likes tea")
    async with watching(api, scope={"user_id": user}) as call:
        first = await read(call)
        assert first.WhichOneof("item") == "checkpoint"
        assert first.checkpoint.sequence >= 1
        assert first.checkpoint.HasField("time")
        await api.remember(user, "Likes rain")
        assert (await change(call)).memory_after.text == "Likes rain"


async def test_each_kind_of_change_comes_as_listed(api: Any) -> None:
    user = api.user()
    async with watching(api, scope={"user_id": user}) as call:
        await read(call)
        [memory] = await api.remember(user, "Likes tea")
        changed = memory_pb2.Memory(id=memory.id, text="Likes coffee")
        await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
        await api.memory.SetFeedback(pb.SetFeedbackRequest(memory_id=memory.id, feedback="FEEDBACK_POSITIVE"))
        await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.id))
        await api.memory.RestoreMemory(pb.RestoreMemoryRequest(memory_id=memory.id))
        seen = [await change(call) for _ in range(5)]
    assert [memory_pb2.Kind.Name(event.kind) for event in seen] == [
        "KIND_ADDED",
        "KIND_UPDATED",
        "KIND_UPDATED",
        "KIND_DELETED",
        "KIND_RESTORED",
    ]
    assert seen == await api.events(user)


async def test_a_filter_sees_what_comes_in_and_what_goes_out(api: Any) -> None:
    user = api.user()
    async with watching(api, scope={"user_id": user}, filter=categories("food")) as call:
        await read(call)
        [memory] = await api.remember(user, "Likes figs", categories=["food"])
        await api.remember(user, "Drives a van", categories=["cars"])
        for name in ("cars", "trees", "food"):
            changed = memory_pb2.Memory(id=memory.id, categories=[name])
            await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
        seen = [await change(call) for _ in range(3)]
    assert [list(event.memory_before.categories) for event in seen] == [[], ["food"], ["trees"]]
    assert [list(event.memory_after.categories) for event in seen] == [["food"], ["cars"], ["food"]]


async def test_as_of_starts_after_that_moment(api: Any) -> None:
    user = api.user()
    await api.remember(user, "one", "two", "three")
    events = await api.events(user)
    async with watching(api, scope={"user_id": user}, as_of={"sequence": events[0].sequence}) as call:
        assert [await change(call) for _ in range(2)] == events[1:]
    async with watching(api, scope={"user_id": user}, as_of={"sequence": 2**40}) as call:
        refusal = await api.refused(call.read())
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.OUT_OF_RANGE, "AS_OF_FUTURE")


async def test_a_token_goes_with_its_scope_and_filter_only(api: Any) -> None:
    user = api.user()
    await api.remember(user, "one", "two")
    async with watching(api, scope={"user_id": user}, beginning=True) as call:
        await read(call)
        token = (await read(call)).resume_token
    async with watching(api, scope={"user_id": user}, resume_token=token) as call:
        assert (await change(call)).memory_after.text == "two"
    for fields in ({"scope": {"user_id": "other"}}, {"scope": {"user_id": user}, "filter": categories("x")}):
        async with watching(api, resume_token=token, **fields) as call:
            refusal = await api.refused(call.read())
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "RESUME_TOKEN_INVALID")


async def _write(api: Any, users: list[str], writer: int, count: int) -> None:
    choose = random.Random(writer)
    mine: list[memory_pb2.Memory] = []
    for number in range(count):
        what = choose.random()
        if mine and what < 0.25:
            memory = choose.choice(mine)
            changed = memory_pb2.Memory(id=memory.id, metadata={"n": number})
            await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory=changed))
        elif mine and what < 0.4:
            await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=mine.pop().id))
        else:
            texts = [f"{writer} has locker {number}.{part}" for part in range(choose.randint(1, 3))]
            mine += await api.remember(choose.choice(users), *texts)


async def test_broken_fifty_times_while_eight_write(api: Any) -> None:
    """From the beginning of the whole project: every change in order, none missing, in whatever pieces it is read."""
    choose = random.Random(20)
    users = [api.user() for _ in range(4)]
    writing = asyncio.gather(*(_write(api, users, writer, 25) for writer in range(8)))
    seen: dict[int, memory_pb2.Event] = {}
    last, start = 0, {"beginning": True}
    for _ in range(50):
        async with watching(api, **start) as call:
            for _ in range(choose.randint(1, 12)):
                try:
                    answer = await asyncio.wait_for(call.read(), 0.5)
                except TimeoutError:  # nothing new just now
                    break
                start = {"resume_token": answer.resume_token}
                if answer.WhichOneof("item") == "event":
                    assert answer.event.sequence > last, "out of order within what was resumed"
                    last = answer.event.sequence
                    assert seen.setdefault(last, answer.event) == answer.event
    await writing
    listed = await _everything(api)
    async with watching(api, **start) as call:
        while last < listed[-1].sequence:
            event = await change(call)
            seen[event.sequence], last = event, event.sequence
    assert list(seen.values()) == listed
    assert list(seen) == list(range(listed[0].sequence, listed[-1].sequence + 1))


async def _everything(api: Any) -> list[memory_pb2.Event]:
    found: list[memory_pb2.Event] = []
    token = ""
    while True:
        page = await api.memory.ListEvents(pb.ListEventsRequest(page_size=1000, page_token=token))
        found += page.events
        token = page.next_page_token
        if not token:
            return found


async def test_a_client_watches_across_a_restart(connect: Connect) -> None:
    texts = [f"Owns book {number}" for number in range(30)]
    async with testing.start_local() as own, connect(own.target) as api, own.async_client() as client:
        seen: list[str] = []

        async def follow() -> None:
            async with client.watch(user_id="ann", beginning=True) as changes:
                async for item in changes:
                    seen.append(item["new_memory"])
                    if len(seen) == len(texts):
                        return

        following = asyncio.create_task(follow())
        for number, text in enumerate(texts):
            await api.remember("ann", text)
            if number == 14:
                await asyncio.to_thread(own.kill)
                await asyncio.to_thread(own.start)
                await asyncio.wait_for(api.channel.channel_ready(), SOON)
        await asyncio.wait_for(following, 20)
    assert seen == texts


async def test_a_server_that_stops_ends_watches_with_a_token(connect: Connect) -> None:
    async with testing.start_local() as own, connect(own.target) as api:
        await api.remember("ann", "Likes tea")
        async with watching(api, beginning=True) as call:
            event = await change(call)
            stopping = asyncio.create_task(asyncio.to_thread(own.stop))
            refusal = await api.refused(call.read())
            await asyncio.wait_for(stopping, 4)  # well under the grace: nobody waits for a watch
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.UNAVAILABLE, "SHUTTING_DOWN")
        await asyncio.to_thread(own.start)
        await api.remember("ann", "Likes rain")
        async with watching(api, resume_token=refusal.metadata["resume_token"]) as call:
            assert (await change(call)).sequence == event.sequence + 1


def test_the_client_gives_typed_changes_and_cancels_when_left(server: testing.LocalServer) -> None:
    client = server.client()
    user = "watcher-of-figs"
    [added] = client.add("Grows figs", user_id=user, infer=False)
    client.delete(added["id"])
    with client.watch(user_id=user, beginning=True) as changes:
        first, second = next(changes), next(changes)
        assert changes.sequence == second["sequence"] == first["sequence"] + 1
        token = changes.resume_token
    assert (first["event"], first["cause"], first["new_memory"]) == ("ADD", "", "Grows figs")
    assert (second["event"], second["cause"], second["old_memory"]) == ("DELETE", "caller", "Grows figs")
    with pytest.raises(StopIteration):
        next(changes)
    client.restore(added["id"])
    with client.watch(user_id=user, resume_token=token) as changes:
        assert next(changes)["event"] == "RESTORE"
