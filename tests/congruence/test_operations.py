"""Operations whose responses are no longer kept, on both ledgers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest
from google.longrunning import operations_pb2
from tests.congruence.small_world import DAY, SECOND, OwnClock, opened

from recalld.v1 import export_service_pb2, memory_service_pb2, operation_pb2
from recalld_server.domain.commands import ExportCommand, Format
from recalld_server.domain.memory import Access, Scope
from recalld_server.domain.revision import RequestKey
from recalld_server.rpc.render.operation_protos import OperationRenderer
from recalld_server.rpc.services.add_async import AsyncAdds
from recalld_server.wiring.parts import Recalld

WHO = Access("default", principal="key")


class World:
    """A recalld with its work done, and what its operations are shown with."""

    def __init__(self, recalld: Recalld, clock: OwnClock) -> None:
        self.recalld = recalld
        self.clock = clock
        self.adding = AsyncAdds(recalld.add, recalld.operations, recalld.page_tokens)
        self.shown = OperationRenderer(self.adding.answers, recalld.exports.get)

    async def add(self, text: str) -> str:
        request = memory_service_pb2.AddRequest(scope={"user_id": "ann"}, text=text)
        return (await self.adding.start(WHO, request)).id

    async def export(self) -> str:
        asked = ExportCommand(Scope("ann"), None, Format.JSONL)
        key = RequestKey("CreateExport", "", "f")
        return (await self.recalld.exports.start(WHO, asked, key)).id

    async def done(self, *ids: str) -> None:
        working = asyncio.create_task(self.recalld.worker.run())
        for id in ids:
            assert (await self.recalld.operations.wait(WHO, id, 30)).state.ended
        working.cancel()
        with suppress(asyncio.CancelledError):
            await working

    async def listed(self) -> list[operations_pb2.Operation]:
        found, _ = await self.recalld.operations.page(WHO, None, 1000)
        return [each async for each in self.shown.several(found)]


@pytest.fixture(params=["embedded", pytest.param("postgres", marks=pytest.mark.needs_postgres)])
def ledger(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue("postgres_url") if request.param == "postgres" else "embedded"


@pytest.fixture
async def world(ledger: str, tmp_path: Path) -> AsyncIterator[World]:
    clock = OwnClock()
    recalld = await opened(tmp_path, clock, ledger)
    yield World(recalld, clock)
    await recalld.close()


def known(operation: operations_pb2.Operation) -> operation_pb2.OperationMetadata:
    metadata = operation_pb2.OperationMetadata()
    assert operation.metadata.Unpack(metadata)
    return metadata


async def test_a_list_and_a_get_show_what_is_no_longer_kept_as_gone(world: World) -> None:
    ids = [await world.add("I like tea."), await world.export(), await world.add("I like rain.")]
    await world.done(*ids)
    fresh = await world.listed()
    answers = [memory_service_pb2.AddResponse(), export_service_pb2.Export(), memory_service_pb2.AddResponse()]
    names = {operation.name: operation for operation in fresh}
    for id, answer in zip(ids, answers, strict=True):
        assert names[f"operations/{id}"].response.Unpack(answer)
        assert not known(names[f"operations/{id}"]).response_gone
    assert [answer.results[0].memory.text for answer in (answers[0], answers[2])] == ["Likes tea", "Likes rain"]
    world.clock.time += DAY + SECOND  # neither the export nor the answers are kept, and nothing has been swept
    for operation in await world.listed():
        assert operation.done
        assert operation.WhichOneof("result") == "response"
        assert operation.response.type_url == ""
        assert known(operation).response_gone
        found = await world.recalld.operations.get(WHO, operation.name.removeprefix("operations/"))
        assert await world.shown.operation(found) == operation


async def test_the_answers_of_a_list_are_read_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    ids = [await world.add(f"I like tea number {number}.") for number in range(45)]
    await world.done(*ids)
    asked: list[int] = []
    recall = world.recalld.add.recall

    async def counted(who: Access, rpc: str, request_ids: list[str]) -> object:
        asked.append(len(request_ids))
        return await recall(who, rpc, request_ids)

    monkeypatch.setattr(world.recalld.add, "recall", counted)
    listed = await world.listed()
    assert [operation.name.removeprefix("operations/") for operation in listed] == ids[::-1]
    assert asked == [20, 20, 5]


async def test_those_who_wait_share_one_look_and_one_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    id = await world.add("I like tea.")
    gets: list[str] = []
    get = world.recalld.operations._operations.get

    async def counted(who: Access, id: str) -> object:
        gets.append(id)
        await asyncio.sleep(0.01)
        return await get(who, id)

    monkeypatch.setattr(world.recalld.operations._operations, "get", counted)
    waits = [asyncio.create_task(world.recalld.operations.wait(WHO, id, 30)) for _ in range(100)]
    async with asyncio.timeout(10):
        while len(gets) <= len(waits):  # noqa: ASYNC110 - each asks once whether it may see it
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.5)
    assert len(gets) - len(waits) < 60
    monkeypatch.undo()
    await world.done(id)
    found = await asyncio.gather(*waits)
    assert len({each.id for each in found}) == 1
    answers = await asyncio.gather(*(world.shown.operation(each) for each in found))
    assert all(answer is answers[0] for answer in answers)
    assert world.recalld.operations._looks == {}


async def test_a_wait_that_ends_early_leaves_the_others_waiting(world: World) -> None:
    id = await world.add("I like tea.")
    follow = world.recalld.operations
    long = asyncio.create_task(follow.wait(WHO, id, 30))
    short = await follow.wait(WHO, id, 0.05)
    assert not short.state.ended
    gone = asyncio.create_task(follow.wait(WHO, id, 30))
    await asyncio.sleep(0.05)
    gone.cancel()
    await world.done(id)
    assert (await long).state.ended
    assert follow._looks == {}
