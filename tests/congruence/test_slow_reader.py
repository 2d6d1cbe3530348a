"""A watch whose reader is too slow ends with a resume token, without loss."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.congruence.small_world import OwnClock, opened

from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import memory_service_pb2_grpc
from recalld_server.domain.commands import AddCommand
from recalld_server.domain.memory import Access, Message, Scope
from recalld_server.rpc.interceptors.auth import development
from recalld_server.rpc.server import start
from recalld_server.rpc.services import memory_service
from recalld_server.wiring.app import _services

NARROW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 65_536)]  # so that little fits on the way


async def test_a_reader_that_takes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_service, "READER_PATIENCE", 0.3)
    recalld = await opened(tmp_path, OwnClock())
    said = [Message("user", f"{n}: " + "x" * 15_000) for n in range(300)]
    await recalld.add.add(Access("default"), AddCommand(Scope(user_id="ann"), said, infer=False))
    server = await start(_services(recalld), "127.0.0.1", 0, authenticator=development)
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}", NARROW) as channel:
            stub = memory_service_pb2_grpc.MemoryServiceStub(channel)
            call = stub.Watch(pb.WatchRequest(beginning=True))
            first = await anext(aiter(call))
            seen = [first.checkpoint.sequence]
            await asyncio.sleep(1.0)

            async def read_on() -> None:
                async for answer in call:
                    seen.append(answer.event.sequence)  # noqa: PERF401 - what came before it failed counts

            with pytest.raises(grpc.RpcError) as caught:
                await asyncio.wait_for(read_on(), 20)
            status = rpc_status.from_call(caught.value)
            info = error_details_pb2.ErrorInfo.FromString(status.details[0].value)
            assert (caught.value.code(), info.reason) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "WATCH_TOO_SLOW")
            assert 0 < len(seen) < 200
            rest = stub.Watch(pb.WatchRequest(resume_token=info.metadata["resume_token"]))
            while seen[-1] < 300:
                answer = await asyncio.wait_for(rest.read(), 5)
                if answer.WhichOneof("item") == "event":
                    seen.append(answer.event.sequence)
            rest.cancel()
        assert seen == list(range(301))
    finally:
        recalld.watch.stop()
        await server.stop(1)
        await recalld.close()
