"""Request ids: a repeated write is done once and gets the same answer."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import pytest

from recalld import testing
from recalld.v1 import entity_service_pb2, memory_pb2, search_service_pb2
from recalld.v1 import memory_service_pb2 as pb

# What prepares a write for a user: its stub, the request, and another one that is as valid.
Prepared = tuple[Callable[..., Awaitable[Any]], Any, Any]


async def an_add(api: Any, user: str) -> Prepared:
    await api.remember(user, "Is a vegetarian")
    message = memory_pb2.Message(role="user", content="I'm a vegetarian and I have a dog.")
    request = pb.AddRequest(scope={"user_id": user}, messages=[message], metadata={"n": 1})
    other = pb.AddRequest(scope={"user_id": user}, messages=[message], metadata={"n": 2})
    return api.memory.Add, request, other


async def a_verbatim_add(api: Any, user: str) -> Prepared:
    [before] = await api.remember(user, "Likes tea")
    request = pb.AddRequest(scope={"user_id": user}, text=before.text, infer=False)  # changes nothing at all
    return api.memory.Add, request, pb.AddRequest(scope={"user_id": user}, text="Likes rain", infer=False)


async def an_update(api: Any, user: str) -> Prepared:
    [memory] = await api.remember(user, "Likes tea")
    request = pb.UpdateMemoryRequest(memory={"id": memory.id, "text": "Likes coffee"}, etag=memory.etag)
    return api.memory.UpdateMemory, request, pb.UpdateMemoryRequest(memory={"id": memory.id, "text": "Likes wine"})


async def a_deletion(api: Any, user: str) -> Prepared:
    one, two = await api.remember(user, "Likes tea", "Likes rain")
    request = pb.DeleteMemoryRequest(memory_id=one.id)
    return api.memory.DeleteMemory, request, pb.DeleteMemoryRequest(memory_id=two.id)


async def a_batch_of_updates(api: Any, user: str) -> Prepared:
    one, two = await api.remember(user, "Likes tea", "Likes rain")
    updates = [{"memory": {"id": each.id, "categories": ["new"]}} for each in (two, one)]
    request = pb.BatchUpdateMemoriesRequest(updates=updates)
    return api.memory.BatchUpdateMemories, request, pb.BatchUpdateMemoriesRequest(updates=updates[:1])


async def a_batch_of_deletions(api: Any, user: str) -> Prepared:
    one, two = await api.remember(user, "Likes tea", "Likes rain")
    request = pb.BatchDeleteMemoriesRequest(memory_ids=[one.id])
    return api.memory.BatchDeleteMemories, request, pb.BatchDeleteMemoriesRequest(memory_ids=[two.id])


async def a_deletion_by_scope(api: Any, user: str) -> Prepared:
    await api.remember(user, "Likes tea", "Likes rain")
    request = pb.DeleteMemoriesRequest(scope={"user_id": user}, expected_count=2)
    return api.memory.DeleteMemories, request, pb.DeleteMemoriesRequest(scope={"user_id": user}, filter={"all_of": {}})


async def a_restoration(api: Any, user: str) -> Prepared:
    [memory] = await api.remember(user, "Likes tea")
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.id))
    request = pb.RestoreMemoryRequest(memory_id=memory.id)
    return api.memory.RestoreMemory, request, pb.RestoreMemoryRequest(memory_id=memory.id, revision=1)


async def a_deletion_of_an_entity(api: Any, user: str) -> Prepared:
    await api.remember(user, "Likes tea")
    other = api.user()
    await api.remember(other, "Likes tea")
    Request = entity_service_pb2.DeleteEntityRequest  # noqa: N806 - it is a class
    request = Request(type="ENTITY_TYPE_USER", id=user)
    return api.entity.DeleteEntity, request, Request(type="ENTITY_TYPE_USER", id=other)


WRITES = {
    "Add": an_add,
    "Add (verbatim)": a_verbatim_add,
    "UpdateMemory": an_update,
    "DeleteMemory": a_deletion,
    "BatchUpdateMemories": a_batch_of_updates,
    "BatchDeleteMemories": a_batch_of_deletions,
    "DeleteMemories": a_deletion_by_scope,
    "RestoreMemory": a_restoration,
    "DeleteEntity": a_deletion_of_an_entity,
}
every_write = pytest.mark.parametrize("prepare", WRITES.values(), ids=list(WRITES))
Prepare = Callable[[Any, str], Awaitable[Prepared]]


def named(request: Any) -> Any:
    request.request_id = str(uuid.uuid4())
    return request


def raw(answer: Any) -> bytes:
    return answer.SerializeToString(deterministic=True)


@every_write
async def test_the_same_request_has_the_same_answer(api: Any, prepare: Prepare) -> None:
    user = api.user()
    call, request, _ = await prepare(api, user)
    first = await call(named(request))
    before = await api.events(user)
    await api.remember(user, "Something happened in between")
    for _ in range(2):
        assert raw(await call(request)) == raw(first)
    assert (await api.events(user))[:-1] == before
    written = [event for event in before if event.request_id == request.request_id]
    assert bool(written) is not (prepare is a_verbatim_add)


@every_write
async def test_another_request_under_the_id_is_refused(api: Any, prepare: Prepare) -> None:
    user = api.user()
    call, request, other = await prepare(api, user)
    first = await call(named(request))
    before = await api.events(user)
    other.request_id = request.request_id
    refusal = await api.refused(call(other))
    assert (refusal.code, refusal.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert (refusal.metadata["request_id"], refusal.fields) == (request.request_id, ("request_id",))
    assert await api.events(user) == before
    assert raw(await call(request)) == raw(first)


@every_write
async def test_duplicates_under_way_are_one_write(api: Any, prepare: Prepare) -> None:
    user = api.user()
    call, request, other = await prepare(api, user)
    before = len(await api.events(user))
    named(request)
    other.request_id = request.request_id
    calls = [call(each) for each in (request, request, other, request, request)]
    answers = await asyncio.gather(*calls, return_exceptions=True)
    others = [answers.pop(2)]
    first, refused = (answers, others) if isinstance(others[0], grpc.RpcError) else (others, answers)  # either may be
    assert {error.code() for error in refused} == {grpc.StatusCode.INVALID_ARGUMENT}
    assert len({raw(answer) for answer in first}) == 1
    after = await api.events(user)
    assert {event.request_id for event in after[before:]} <= {request.request_id}
    assert len(after) == len({(event.memory_id, event.kind, event.memory_after.revision) for event in after})


async def test_answers_survive_a_restart_and_a_crash(connect: Any) -> None:
    with testing.start_local() as server:
        done: dict[str, tuple[Any, bytes]] = {}
        for end in (server.stop, server.kill):
            async with connect(server.target) as api:
                for name, prepare in WRITES.items():
                    call, request, _ = await prepare(api, api.user())
                    done[f"{name} {end.__name__}"] = request, raw(await call(named(request)))
            end()
            server.start()
        async with connect(server.target) as api:
            before = await api.memory.ListEvents(pb.ListEventsRequest(page_size=1000))
            for name, (request, answer) in done.items():
                method = name.split()[0]
                service = api.entity if method == "DeleteEntity" else api.memory
                assert raw(await getattr(service, method)(request)) == answer, name
            assert await api.memory.ListEvents(pb.ListEventsRequest(page_size=1000)) == before


async def test_an_answer_shows_the_memory_as_it_was_then(api: Any) -> None:
    [memory] = await api.remember(api.user(), "Likes tea")
    request = named(pb.UpdateMemoryRequest(memory={"id": memory.id, "text": "Likes coffee"}))
    first = await api.memory.UpdateMemory(request)
    await api.memory.UpdateMemory(pb.UpdateMemoryRequest(memory={"id": memory.id, "text": "Likes wine"}))
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.id))
    assert await api.memory.UpdateMemory(request) == first


async def test_only_what_was_committed_is_kept(api: Any) -> None:
    [memory] = await api.remember(api.user(), "Likes tea")
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.id))
    request = named(pb.UpdateMemoryRequest(memory={"id": memory.id, "text": "Likes coffee"}))
    assert (await api.refused(api.memory.UpdateMemory(request))).reason == "MEMORY_NOT_FOUND"
    await api.memory.RestoreMemory(pb.RestoreMemoryRequest(memory_id=memory.id))
    assert (await api.memory.UpdateMemory(request)).memory.text == "Likes coffee"


async def test_a_dry_run_uses_up_no_id(api: Any) -> None:
    user = api.user()
    request = named(pb.AddRequest(scope={"user_id": user}, text="Likes tea", infer=False, dry_run=True))
    await api.memory.Add(request)
    request.dry_run = False
    assert (await api.memory.Add(request)).results[0].memory_id
    deletion = named(pb.DeleteMemoriesRequest(scope={"user_id": user}, dry_run=True))
    assert (await api.memory.DeleteMemories(deletion)).count == 1
    deletion.dry_run = False
    assert (await api.memory.DeleteMemories(deletion)).count == 1
    assert await api.listed(user) == []


async def test_one_id_serves_several_calls(api: Any) -> None:
    user = api.user()
    id = str(uuid.uuid4())
    [memory] = await api.remember(user, "Likes tea", request_id=id)
    update = pb.UpdateMemoryRequest(memory={"id": memory.id, "text": "Likes coffee"}, request_id=id)
    await api.memory.UpdateMemory(update)
    await api.memory.DeleteMemory(pb.DeleteMemoryRequest(memory_id=memory.id, request_id=id))
    assert [event.request_id for event in await api.events(user)] == [id] * 3


@pytest.mark.parametrize("moment", [0.0, 0.002, 0.005, 0.01, 0.02])
async def test_a_caller_that_left_and_comes_again_has_written_once(api: Any, moment: float) -> None:
    user = api.user()
    [memory] = await api.remember(user, "Likes tea")
    request = named(pb.DeleteMemoryRequest(memory_id=memory.id))
    call = api.memory.DeleteMemory(request)
    await asyncio.sleep(moment)
    call.cancel()
    assert (await api.memory.DeleteMemory(request)).consistency_token
    assert len(await api.events(user)) == 2


async def test_the_token_of_a_write_is_good_for_a_search(api: Any) -> None:
    user = api.user()
    answer = await api.memory.Add(pb.AddRequest(scope={"user_id": user}, text="Likes tea", infer=False))
    token = answer.consistency_token
    assert await api.found(user, "tea", at_least_as_fresh=token) == ["Likes tea"]
    for wrong in ("nonsense", token[:-3], token + "AA", "é"):
        request = search_service_pb2.SearchRequest(query="tea", at_least_as_fresh=wrong)
        refusal = await api.refused(api.search.Search(request))
        assert (refusal.reason, refusal.fields) == ("CONSISTENCY_TOKEN_INVALID", ("at_least_as_fresh",))
