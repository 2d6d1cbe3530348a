"""Requests that are small on the wire and huge after decompression."""

from __future__ import annotations

from typing import Any

import grpc
import pytest

from recalld import testing
from recalld.v1 import memory_service_pb2 as pb

METHODS = ("MemoryService/GetMemory", "MemoryService/ImportMemories", "SearchService/StreamSearch")
INFLATED = 600 * 1024 * 1024  # bytes, of 600 kB


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("compression", [grpc.Compression.Gzip, grpc.Compression.Deflate])
def test_a_request_is_never_inflated(
    method: str, compression: grpc.Compression, server: testing.LocalServer, bystander: Any
) -> None:
    bomb = bytes(INFLATED)
    with (
        bystander(server.target, server.pid) as seen,
        grpc.insecure_channel(server.target, options=[("grpc.max_send_message_length", -1)]) as channel,
    ):
        before = seen.megabytes
        shape = channel.stream_stream if method.endswith("ImportMemories") else channel.unary_stream
        if method.endswith("GetMemory"):
            call: Any = channel.unary_unary(f"/recalld.v1.{method}")
            with pytest.raises(grpc.RpcError) as caught:
                call(bomb, compression=compression, timeout=60)
        else:
            sent: Any = iter([bomb]) if method.endswith("ImportMemories") else bomb
            with pytest.raises(grpc.RpcError) as caught:
                list(shape(f"/recalld.v1.{method}")(sent, compression=compression, timeout=60))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert f"'{compression.name.lower()}' is disabled" in str(caught.value.details())
    assert seen.megabytes - before < 64
    assert not seen.failures
    assert "Compression" not in server.log  # no line for each of them
    with grpc.insecure_channel(server.target) as channel:
        stub = channel.unary_unary(
            "/recalld.v1.MemoryService/ListMemories",
            pb.ListMemoriesRequest.SerializeToString,
            pb.ListMemoriesResponse.FromString,
        )
        assert not stub(pb.ListMemoriesRequest()).memories  # an uncompressed call is answered
