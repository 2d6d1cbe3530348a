"""The users, agents, apps and runs of memories."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from recalld.v1 import entity_service_pb2 as pb
from recalld.v1 import memory_pb2, memory_service_pb2

TYPES = {"user_id": "USER", "agent_id": "AGENT", "app_id": "APP", "run_id": "RUN"}


async def entities(api: Any, **fields: Any) -> list[memory_pb2.Entity]:
    """All entities, page by page."""
    request = pb.ListEntitiesRequest(page_size=1000, **fields)
    return [entity async for answer in api.pages(api.entity.ListEntities, request) for entity in answer.entities]


async def add(api: Any, text: str, **scope: str) -> memory_pb2.Memory:
    request = memory_service_pb2.AddRequest(scope=scope, text=text, infer=False)
    return (await api.memory.Add(request)).results[0].memory


@pytest.mark.parametrize(("field", "type"), TYPES.items())
async def test_an_entity_comes_with_its_memories_and_goes_with_them(api: Any, field: str, type: str) -> None:
    id = api.user()
    first = await add(api, "Likes tea", **{field: id})
    last = await add(api, "Likes rain", **{field: id})
    kind = memory_pb2.EntityType.Value(f"ENTITY_TYPE_{type}")
    [entity] = [each for each in await entities(api, type=kind) if each.id == id]
    assert (entity.type, entity.memory_count) == (kind, 2)
    assert (entity.first_seen_time, entity.last_seen_time) == (first.create_time, last.update_time)
    assert [each for each in await entities(api) if each.id == id] == [entity]
    for memory in (first, last):
        await api.memory.DeleteMemory(memory_service_pb2.DeleteMemoryRequest(memory_id=memory.id))
    assert [each for each in await entities(api) if each.id == id] == []


async def test_one_memory_is_about_several_entities_with_numbers_of_their_own(api: Any) -> None:
    scope = {field: api.user() for field in TYPES}
    await add(api, "Likes tea", **scope)
    found = {each.id: each for each in await entities(api) if each.id in scope.values()}
    assert {memory_pb2.EntityType.Name(found[id].type) for id in scope.values()} == {
        f"ENTITY_TYPE_{name}" for name in TYPES.values()
    }
    assert len({each.number for each in found.values()}) == 4
    again = {each.id: each.number for each in await entities(api) if each.id in scope.values()}
    assert again == {id: each.number for id, each in found.items()}


async def test_pages(api: Any) -> None:
    for n in range(5):
        await add(api, "Likes tea", app_id=f"{api.user()}-{n}")
    kind = memory_pb2.ENTITY_TYPE_APP
    everything = await entities(api, type=kind)
    request = pb.ListEntitiesRequest(type=kind, page_size=2, with_total_size=True)
    found: list[memory_pb2.Entity] = []
    async for answer in api.pages(api.entity.ListEntities, request):
        assert answer.total_size == len(everything)
        assert len(answer.entities) <= 2
        found += answer.entities
    assert found == everything
    names = [(memory_pb2.EntityType.Name(each.type), each.id) for each in await entities(api)]
    assert names == sorted(names)
    request.type = memory_pb2.ENTITY_TYPE_USER
    assert (await api.refused(api.entity.ListEntities(request))).reason == "PAGE_TOKEN_INVALID"
    refusal = await api.refused(api.entity.ListEntities(pb.ListEntitiesRequest(page_size=-1)))
    assert (refusal.reason, refusal.fields) == ("FIELD_INVALID", ("page_size",))


async def test_deleting_an_entity_deletes_every_memory_that_carries_it(api: Any) -> None:
    user, other = api.user(), api.user()
    await add(api, "Likes tea", user_id=user)
    await add(api, "Likes rain", user_id=user, run_id=api.user())
    kept = await add(api, "Likes fog", user_id=other)
    request = pb.DeleteEntityRequest(type="ENTITY_TYPE_USER", id=user)
    answer = await api.entity.DeleteEntity(request)
    assert (answer.deleted_count, bool(answer.consistency_token)) == (2, True)
    assert answer.index_state == memory_pb2.INDEX_STATE_APPLIED
    assert (await api.listed(user), await api.listed(other)) == ([], [kept])
    assert (await api.entity.DeleteEntity(request)).deleted_count == 0  # known, and nothing is left of it


async def test_an_entity_nobody_ever_was_is_not_found(api: Any) -> None:
    user = api.user()
    await add(api, "Likes tea", user_id=user)
    for type, id in (("ENTITY_TYPE_USER", api.user()), ("ENTITY_TYPE_AGENT", user)):
        refusal = await api.refused(api.entity.DeleteEntity(pb.DeleteEntityRequest(type=type, id=id)))
        assert (refusal.code, refusal.reason) == (grpc.StatusCode.NOT_FOUND, "ENTITY_NOT_FOUND")
        assert (refusal.metadata["type"], refusal.metadata["id"]) == (type.removeprefix("ENTITY_TYPE_"), id)
    assert len(await api.listed(user)) == 1


async def test_type_and_id_are_needed(api: Any) -> None:
    refusal = await api.refused(api.entity.DeleteEntity(pb.DeleteEntityRequest()))
    assert (refusal.reason, refusal.fields) == ("FIELD_INVALID", ("type", "id"))
    for request in (pb.DeleteEntityRequest(type=9, id="x"), pb.ListEntitiesRequest(type=9)):
        call = api.entity.DeleteEntity if isinstance(request, pb.DeleteEntityRequest) else api.entity.ListEntities
        assert (await api.refused(call(request))).fields == ("type",)
