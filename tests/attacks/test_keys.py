"""Keys that expire during their calls, keys that are sent twice, and keys that a library would log."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status
from tests.attacks import http2
from tests.attacks.conftest import KeyedServer, keyed_server

from recalld.v1 import (
    export_service_pb2,
    export_service_pb2_grpc,
    memory_service_pb2_grpc,
    project_service_pb2,
    project_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)
from recalld.v1 import memory_service_pb2 as pb

# Without probing for bandwidth only 64 KiB are under way: what is read later was sent later.
SLOW_READER = [("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
SHELVES = 300  # of 16 kB
PAUSES = {"ReadExport": 4.0, "StreamSearch": 0.5, "Watch": 0.0}  # seconds; of the export a piece is 1 MiB
PROMISED = 15.0  # seconds within which a key ends its streams


def shelf(number: int) -> pb.ImportItem:
    """A long memory with a vector of its own: nothing to embed."""
    vector = [0.0] * 384
    vector[0], vector[1 + number] = 1.0, 0.5
    memory = {"text": f"Shelf {number} holds {'jars ' * 3200}", "user_id": "shelves", "id": str(uuid.uuid4())}
    return pb.ImportItem(memory=memory, vector=vector, vector_model="minilm-l6-v2-int8")


def reason(error: grpc.RpcError) -> str:
    status = rpc_status.from_call(error)
    assert status is not None, f"{error.code()} {error.details()}"
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    return info.reason


def slowly(answers: Any, ended: dict[str, tuple[str, float]], name: str) -> None:
    """Reads an answer every now and then, and notes how and when it ends."""
    try:
        for _ in answers:
            time.sleep(PAUSES[name])
        ended[name] = ("DONE", time.monotonic())
    except grpc.RpcError as error:
        ended[name] = (reason(error), time.monotonic())


def test_a_revoked_key_reads_nothing_more(keyed: KeyedServer) -> None:
    writer, admin = keyed.metadata("writer"), keyed.metadata("admin")
    ended: dict[str, tuple[str, float]] = {}
    with (
        grpc.insecure_channel(keyed.server.target, options=SLOW_READER) as channel,
        grpc.insecure_channel(keyed.server.target) as other,
    ):
        memory, exports = (
            memory_service_pb2_grpc.MemoryServiceStub(channel),
            export_service_pb2_grpc.ExportServiceStub(channel),
        )
        *_, last = memory.ImportMemories(map(shelf, range(SHELVES)), metadata=writer)
        assert last.stored == SHELVES
        export = export_service_pb2.CreateExportRequest(
            scope={"user_id": "shelves"}, format="EXPORT_FORMAT_JSONL", with_vectors=True
        )
        exports.CreateExport(export, metadata=writer)
        shown = pb_export(exports, writer)
        search = search_service_pb2.SearchRequest(query="jars", scope={"user_id": "shelves"}, limit=SHELVES)
        reads: dict[str, Callable[[], Any]] = {
            "ReadExport": lambda: exports.ReadExport(
                export_service_pb2.ReadExportRequest(export_id=shown.export_id), metadata=writer
            ),
            "StreamSearch": lambda: search_service_pb2_grpc.SearchServiceStub(channel).StreamSearch(
                search, metadata=writer
            ),
            "Watch": lambda: memory.Watch(pb.WatchRequest(), metadata=writer),
        }
        threads = [threading.Thread(target=slowly, args=(read(), ended, name)) for name, read in reads.items()]
        for thread in threads:
            thread.start()
        time.sleep(2)
        assert not ended
        revoke = project_service_pb2.RevokeApiKeyRequest(key_id=keyed.keys["writer"].split("_")[1])
        project_service_pb2_grpc.ProjectServiceStub(other).RevokeApiKey(revoke, metadata=admin)
        begun = time.monotonic()
        for thread in threads:
            thread.join(60)
    assert {name: how for name, (how, _) in ended.items()} == dict.fromkeys(reads, "KEY_REVOKED")
    assert max(at for _, at in ended.values()) - begun < PROMISED + 20  # what was under way is read slowly
    assert ended["Watch"][1] - begun < PROMISED
    with grpc.insecure_channel(keyed.server.target) as channel:  # others go on
        memory_service_pb2_grpc.MemoryServiceStub(channel).ListMemories(pb.ListMemoriesRequest(), metadata=admin)


def pb_export(exports: Any, metadata: Any) -> Any:
    """The project's export, when it can be read."""
    for _ in range(200):
        [export] = exports.ListExports(export_service_pb2.ListExportsRequest(), metadata=metadata).exports
        if export.size_bytes:
            return export
        time.sleep(0.1)
    raise AssertionError("the export was not made")


@pytest.fixture(scope="module")
def asked() -> Iterator[KeyedServer]:
    """A server with keys for all tests that only ask."""
    with keyed_server() as server:
        yield server


@pytest.mark.parametrize("order", [("reader", "writer"), ("writer", "reader"), ("reader", "reader")])
def test_two_keys_are_none(asked: KeyedServer, order: tuple[str, str]) -> None:
    with grpc.insecure_channel(asked.server.target) as channel:
        stub = memory_service_pb2_grpc.MemoryServiceStub(channel)
        both = [*asked.metadata(order[0]), *asked.metadata(order[1])]
        with pytest.raises(grpc.RpcError) as caught:
            stub.ListMemories(pb.ListMemoriesRequest(), metadata=both)
        assert (caught.value.code(), reason(caught.value)) == (grpc.StatusCode.UNAUTHENTICATED, "KEY_INVALID")
        assert "more than one authorization header" in str(caught.value.details())
        stub.ListMemories(pb.ListMemoriesRequest(), metadata=asked.metadata(order[1]))


def answer(port: int, *authorization: tuple[bytes, bytes]) -> bytes:
    """What a ListMemories with these headers is answered with, as bytes."""
    block = http2.headers("/recalld.v1.MemoryService/ListMemories", authorization)
    with http2.connect(port) as connection:
        connection.sendall(http2.call(1, block))
        connection.settimeout(2)
        found = b""
        try:
            while piece := connection.recv(65536):
                found += piece
        except TimeoutError:
            pass
    return found


def test_a_key_in_headers_of_two_cases_is_refused(asked: KeyedServer) -> None:
    reader, admin = (f"Bearer {asked.keys[name]}".encode() for name in ("reader", "admin"))
    assert b"grpc-status\x010" in answer(asked.port, (b"authorization", reader))
    for pair in (
        [(b"authorization", reader), (b"Authorization", admin)],
        [(b"Authorization", reader), (b"authorization", admin)],
        [(b"Authorization", reader), (b"AUTHORIZATION", admin)],
    ):
        assert b"grpc-status\x010" not in answer(asked.port, *pair)


def test_no_key_reaches_the_log(asked: KeyedServer) -> None:
    secrets = [key.rpartition("_")[2] for key in asked.keys.values()]
    for ending in (b"\xa0", "\xa0".encode(), b"\x7f", b"\t", "é".encode(), b"\xff"):
        for name in ("reader", "admin"):
            header = (b"authorization", f"Bearer {asked.keys[name]}".encode() + ending)
            assert b"grpc-status\x010" not in answer(asked.port, header), ending
    for header in (
        (b"x-note", f"Bearer {asked.keys['admin']}".encode() + b"\xff"),
        (b"authorization", asked.keys["admin"].encode()),
        (b"authorization", f"Basic {asked.keys['admin']}".encode()),
        (b"x-correlation-id", asked.keys["admin"].encode()),
    ):
        answer(asked.port, header)
    time.sleep(0.5)
    assert asked.server.log
    assert [secret for secret in secrets if secret in asked.server.log] == []


def test_a_key_without_its_scheme_is_told_so(asked: KeyedServer) -> None:
    with grpc.insecure_channel(asked.server.target) as channel, pytest.raises(grpc.RpcError) as caught:
        memory_service_pb2_grpc.MemoryServiceStub(channel).ListMemories(
            pb.ListMemoriesRequest(), metadata=[("authorization", asked.keys["reader"])]
        )
    assert reason(caught.value) == "KEY_INVALID"
    assert "has no scheme; send `authorization: Bearer rk_…`" in str(caught.value.details())
