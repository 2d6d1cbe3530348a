"""How far imports read ahead, and the size of their answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from recalld.v1 import memory_service_pb2 as pb
from recalld_server.domain.memory import Access
from recalld_server.domain.page_tokens import Tokens
from recalld_server.rpc.services import import_stream as module
from recalld_server.rpc.services.import_stream import ImportStream
from recalld_server.usecases.imports import Imported

TOKENS = Tokens("ledger", b"secret")


class Storing:
    """Stands for the use case: each batch waits for a permit."""

    def __init__(self) -> None:
        self.held = 0
        self.permits = asyncio.Semaphore(0)
        self.begun: list[int] = []

    async def batch(self, access: Access, items: Any, request_id: str = "", after: Any = None) -> Imported:
        self.begun.append(len(items))
        if items:
            await self.permits.acquire()
        return Imported(len(items), 0, [], 1, True)


class Stream:
    """Items of one kilobyte, and how many were taken of them."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.taken = 0

    async def items(self) -> AsyncIterator[pb.ImportItem]:
        for number in range(self.count):
            self.taken += 1
            yield pb.ImportItem(text={"text": f"{number} " + "x" * 1000, "scope": {"user_id": "u"}})


async def collected(storing: Storing, stream: Stream) -> list[pb.ImportProgress]:
    importing: Any = ImportStream(storing, TOKENS, Access("default"))  # type: ignore[arg-type]
    return [progress async for progress in importing.progress(stream.items())]


@pytest.mark.parametrize(("held", "ahead"), [(0, 1500), (module.HELD_BYTES, 500)])
async def test_a_stream_reads_ahead_while_all_imports_hold_little(held: int, ahead: int) -> None:
    storing, stream = Storing(), Stream(2200)
    storing.held = held  # by others
    running = asyncio.create_task(collected(storing, stream))
    async with asyncio.timeout(20):
        while stream.taken < ahead:  # noqa: ASYNC110 - the stream tells nobody
            await asyncio.sleep(0.01)
    await asyncio.sleep(0.2)
    assert stream.taken == ahead
    assert storing.held > held
    for _ in range(10):
        storing.permits.release()
    progress = await running
    assert [each.through_index for each in progress] == [499, 999, 1499, 1999, 2199]
    assert progress[-1].stored == 2200
    assert storing.held == held


async def test_a_batch_ends_by_its_bytes() -> None:
    storing = Storing()
    for _ in range(100):
        storing.permits.release()

    async def items() -> AsyncIterator[pb.ImportItem]:
        for number in range(400):
            yield pb.ImportItem(text={"text": f"{number} " + "x" * 16_000, "scope": {"user_id": "u"}})

    importing: Any = ImportStream(storing, TOKENS, Access("default"))  # type: ignore[arg-type]
    assert sum([1 async for _ in importing.progress(items())]) == len(storing.begun)
    assert max(storing.begun) * 16_000 < module.BATCH_BYTES + 20_000
    assert sum(storing.begun) == 400


async def test_a_batch_of_which_all_failed_is_told_in_less_than_a_page() -> None:
    """Whatever the items hold, their errors tell little of it."""
    long = "é" * 2_000
    bad = pb.ImportItem(
        memory={
            "id": long,
            "text": long,
            "user_id": long,
            "agent_id": long,
            "run_id": long,
            "categories": [long] * 5,
            "speaker": long,
            "etag": long,
        },
        vector_model=long,
        request_id=long,
    )

    async def items() -> AsyncIterator[pb.ImportItem]:
        for _ in range(500):
            yield bad

    importing: Any = ImportStream(Storing(), TOKENS, Access("default"))  # type: ignore[arg-type]
    [progress] = [each async for each in importing.progress(items())]
    assert len(progress.failed) == 500
    assert progress.ByteSize() < 3 * 1024 * 1024
