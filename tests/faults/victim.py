"""A server that is killed at random moments, and its checks before and after."""

from __future__ import annotations

import hashlib
import json
import random
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.longrunning import operations_pb2, operations_pb2_grpc

from recalld import testing
from recalld.v1 import (
    export_service_pb2,
    export_service_pb2_grpc,
    memory_service_pb2,
    memory_service_pb2_grpc,
    operation_pb2,
    project_service_pb2_grpc,
    search_service_pb2,
    search_service_pb2_grpc,
)

MODEL, DIMENSION = "minilm-l6-v2-int8", 384
CREATED = 1_700_000_000
ENDED = 60.0  # seconds within which work that nobody disturbs any more must have ended


@dataclass
class Victim:
    """A server, its stubs, and a source of randomness whose seed a failing test shows."""

    server: testing.LocalServer
    random: random.Random
    metadata: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        options = [("grpc.max_receive_message_length", 2**25), ("grpc.max_reconnect_backoff_ms", 500)]
        self.channel = grpc.insecure_channel(self.server.target, options=options)
        self.memory = memory_service_pb2_grpc.MemoryServiceStub(self.channel)
        self.export = export_service_pb2_grpc.ExportServiceStub(self.channel)
        self.operations = operations_pb2_grpc.OperationsStub(self.channel)
        self.project = project_service_pb2_grpc.ProjectServiceStub(self.channel)
        self.search = search_service_pb2_grpc.SearchServiceStub(self.channel)

    def become(self, key: str) -> None:
        """Ask as the holder of a key from now on, where that matters."""
        self.metadata = (("authorization", f"Bearer {key}"),)

    def killed(self, longest: float) -> None:
        """Dies after up to `longest` seconds, and is started again."""
        time.sleep(self.random.uniform(0, longest))
        self.server.kill()
        self.server.start()
        grpc.channel_ready_future(self.channel).result(10)

    def ended(self, name: str) -> tuple[operations_pb2.Operation, operation_pb2.OperationMetadata]:
        """The operation once it has ended."""
        deadline = time.monotonic() + ENDED
        while True:
            wait = operations_pb2.WaitOperationRequest(name=name, timeout={"seconds": 2})
            found = self.operations.WaitOperation(wait, wait_for_ready=True, metadata=self.metadata)
            if found.done:
                known = operation_pb2.OperationMetadata()
                assert found.metadata.Unpack(known)
                return found, known
            assert time.monotonic() < deadline, f"not ended: {found}"

    def killed_until_done(self, name: str, times: int, longest: float) -> Any:
        """Dies so often while an operation is under way. The operation, which must have succeeded, and its metadata."""
        for _ in range(times):
            self.killed(longest)
        operation, known = self.ended(name)
        assert known.state == operation_pb2.OPERATION_STATE_SUCCEEDED, operation.error
        return operation, known

    def searched(self, query: str) -> list[str]:
        """Ids of the first results, once the server has caught up with what its index lacks."""
        asked = search_service_pb2.SearchRequest(query=query, scope={"user_id": "u"}, limit=20)
        deadline = time.monotonic() + ENDED
        while True:
            try:
                return [hit.memory.id for hit in self.search.Search(asked, wait_for_ready=True).hits]
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE or time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    def exported(self, operation: operations_pb2.Operation) -> export_service_pb2.Export:
        """The finished export, its bytes checked against what it says of them."""
        export = export_service_pb2.Export()
        assert operation.response.Unpack(export), operation.error
        whole, size = hashlib.sha256(), 0
        for piece in self.export.ReadExport(export_service_pb2.ReadExportRequest(export_id=export.export_id)):
            assert piece.offset == size
            assert hashlib.sha256(piece.data).hexdigest() == piece.sha256
            whole.update(piece.data)
            size += len(piece.data)
        assert (size, whole.hexdigest()) == (export.size_bytes, export.sha256)
        return export

    def snapshot(self, format: int = export_service_pb2.EXPORT_FORMAT_JSONL, **fields: Any) -> Any:
        """An export that nobody disturbs."""
        asked = export_service_pb2.CreateExportRequest(scope={"user_id": "u"}, format=format, **fields)
        return self.exported(self.ended(self.export.CreateExport(asked).name)[0])

    def rows(self, **fields: Any) -> list[dict[str, Any]]:
        """Everything there is, as an export has it."""
        export = self.snapshot(**fields)
        pieces = self.export.ReadExport(export_service_pb2.ReadExportRequest(export_id=export.export_id))
        return [json.loads(line) for line in b"".join(piece.data for piece in pieces).splitlines()]

    def sound(self, project: str = "default") -> tuple[int, int]:
        """What `recalld doctor` counts, which must find nothing wrong: memories, and entries of the index."""
        self.server.stop()
        command = [sys.executable, "-m", "recalld_server", "doctor", f"--data-dir={self.server.data_dir}"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stdout
        words = found.stdout.split(f"project {project}: ")[1].split()
        return int(words[0]), int(words[2])


def items(count: int, vectors: bool = True) -> Iterator[memory_service_pb2.ImportItem]:
    """Whole memories, the same in every run."""
    for number in range(count):
        item = memory_service_pb2.ImportItem(
            memory={
                "id": str(uuid.uuid5(uuid.NAMESPACE_OID, str(number))),
                "text": f"Locker {number} holds {number % 97} hats and {number % 89} coats",
                "user_id": "u",
                "metadata": {"number": number},
                "create_time": {"seconds": CREATED + number},
                "update_time": {"seconds": CREATED + number},
                "revision": 1,
                "add_id": f"add {number}",
            }
        )
        if vectors:
            vector = [0.0] * DIMENSION
            vector[number % DIMENSION], vector[number // DIMENSION] = 0.8, 0.6
            item.vector.extend(vector)
            item.vector_model = MODEL
        yield item
