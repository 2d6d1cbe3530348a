"""A program that floods a server and prints the results: `python flooding.py target key kind callers seconds`."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter

import grpc

from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import memory_service_pb2_grpc, search_service_pb2, search_service_pb2_grpc

CHANNELS = 4


async def main(target: str, key: str, kind: str, callers: int, seconds: float) -> None:
    """Each caller calls again as soon as it is answered or refused."""
    codes: Counter[str] = Counter()
    end = time.monotonic() + seconds
    metadata = [("authorization", f"Bearer {key}")] if key else []
    options = [("grpc.use_local_subchannel_pool", 1)]

    async def call(channel: grpc.aio.Channel) -> None:
        memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        search = search_service_pb2_grpc.SearchServiceStub(channel)
        while time.monotonic() < end:
            try:
                if kind == "search":
                    request = search_service_pb2.SearchRequest(query="tea in the garden", scope={"user_id": "flood"})
                    await search.Search(request, metadata=metadata, timeout=20)
                elif kind == "add":
                    note = pb.AddRequest(scope={"user_id": "flood"}, text=f"Note {time.time_ns()}", infer=False)
                    await memory.Add(note, metadata=metadata, timeout=20)
                else:
                    await memory.GetMemory(pb.GetMemoryRequest(memory_id="nobody"), metadata=metadata, timeout=20)
                codes["OK"] += 1
            except grpc.RpcError as error:
                codes[error.code().name] += 1

    channels = [grpc.aio.insecure_channel(target, options=options) for _ in range(CHANNELS)]
    await asyncio.gather(*(call(channels[number % CHANNELS]) for number in range(callers)))
    for channel in channels:
        await channel.close()
    print(json.dumps(codes))  # noqa: T201 - the test reads it


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]), float(sys.argv[5])))
