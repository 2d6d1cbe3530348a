"""Exports and operations over gRPC, and the import of an export on another server."""

from __future__ import annotations

import hashlib
import io
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pyarrow.parquet as pq
import pytest
from google.longrunning import operations_pb2, operations_pb2_grpc

from recalld import testing
from recalld.v1 import export_service_pb2 as pb
from recalld.v1 import export_service_pb2_grpc, filter_pb2, memory_service_pb2, operation_pb2


class Exports:
    """Short ways to export."""

    def __init__(self, api: Any) -> None:
        self.export = export_service_pb2_grpc.ExportServiceStub(api.channel)
        self.operations = operations_pb2_grpc.OperationsStub(api.channel)

    async def made(self, user: str, **fields: Any) -> pb.Export:
        fields = {"format": pb.EXPORT_FORMAT_JSONL} | fields
        started = await self.export.CreateExport(pb.CreateExportRequest(scope={"user_id": user}, **fields))
        done = await self.ended(started.name)
        export = pb.Export()
        assert done.response.Unpack(export), done.error
        return export

    async def ended(self, name: str) -> operations_pb2.Operation:
        done = await self.operations.WaitOperation(operations_pb2.WaitOperationRequest(name=name))
        assert done.done
        return done

    async def read(self, export: pb.Export, offset: int = 0) -> bytes:
        asked = pb.ReadExportRequest(export_id=export.export_id, offset=offset)
        data = b""
        async for piece in self.export.ReadExport(asked):
            assert (piece.offset, piece.total_size_bytes) == (offset + len(data), export.size_bytes)
            assert piece.sha256 == hashlib.sha256(piece.data).hexdigest()
            data += piece.data
        return data

    async def rows(self, export: pb.Export) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (await self.read(export)).splitlines()]


@pytest.fixture
def exports(api: Any) -> Exports:
    return Exports(api)


async def test_an_export_is_a_snapshot(api: Any, exports: Exports) -> None:
    user = api.user()
    kept, gone = await api.remember(user, "Likes tea", "Likes coffee", metadata={"n": 1})
    export = await exports.made(user)
    await api.remember(user, "Likes cocoa")
    rows = await exports.rows(export)
    assert [(row["id"], row["memory"]) for row in rows] == [(kept.id, "Likes tea"), (gone.id, "Likes coffee")]
    assert rows[0]["metadata"] == {"n": 1}
    assert rows[0]["input"] == [{"role": "user", "content": "Likes tea"}]
    assert (export.memory_count, export.scope.user_id, export.state) == (2, user, pb.EXPORT_STATE_READY)


async def test_history_and_vectors_come_on_request(api: Any, exports: Exports) -> None:
    user = api.user()
    [memory] = await api.remember(user, "Likes tea")
    await api.memory.DeleteMemory(memory_service_pb2.DeleteMemoryRequest(memory_id=memory.id))
    rows = await exports.rows(await exports.made(user, with_history=True, with_vectors=True))
    assert [(row["event"], row["revision"], row["superseded"]) for row in rows] == [
        ("ADDED", 1, True),
        ("DELETED", 2, True),
    ]
    assert len(rows[0]["vector"]) == 384
    assert await exports.rows(await exports.made(user)) == []


async def test_parquet_holds_the_same(api: Any, exports: Exports) -> None:
    user = api.user()
    await api.remember(user, "Likes tea", "Likes coffee")
    lines = await exports.rows(await exports.made(user))
    data = await exports.read(await exports.made(user, format=pb.EXPORT_FORMAT_PARQUET))
    table = pq.read_table(io.BytesIO(data)).to_pylist()
    assert [(row["id"], row["memory"], row["user_id"]) for row in table] == [
        (row["id"], row["memory"], user) for row in lines
    ]


async def test_a_file_read_in_pieces_from_anywhere(api: Any, exports: Exports) -> None:
    user = api.user()
    await api.fill(user, 2_000)
    export = await exports.made(user, with_vectors=True)
    whole = await exports.read(export)
    assert hashlib.sha256(whole).hexdigest() == export.sha256
    assert len(whole) == export.size_bytes > 2 * 1024 * 1024
    offsets = [0, 1, 1024 * 1024 - 1, 1024 * 1024, len(whole) - 1, len(whole)]
    for offset in [*offsets, *(random.randrange(len(whole)) for _ in range(10))]:
        assert await exports.read(export, offset) == whole[offset:]


async def test_what_is_refused(api: Any, exports: Exports) -> None:
    user = api.user()
    call = exports.export
    refused = {
        "SCOPE_MISSING": call.CreateExport(pb.CreateExportRequest(format=pb.EXPORT_FORMAT_JSONL)),
        "FIELD_INVALID": call.CreateExport(pb.CreateExportRequest(scope={"user_id": user})),
        "NOT_YET_AVAILABLE": call.CreateExport(pb.CreateExportRequest(scope={"user_id": user}, json_schema="{}")),
        "EXPORT_NOT_FOUND": call.GetExport(pb.GetExportRequest(scope={"user_id": user})),
        "OPERATION_NOT_FOUND": exports.operations.GetOperation(operations_pb2.GetOperationRequest(name="operations/x")),
    }
    for reason, made in refused.items():
        assert (await api.refused(made)).reason == reason
    export = await exports.made(user)
    with pytest.raises(grpc.RpcError) as caught:
        await exports.read(export, export.size_bytes + 1)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_an_export_is_found_listed_and_deleted_once(api: Any, exports: Exports) -> None:
    user = api.user()
    await api.remember(user, "Likes tea")
    first, second = await exports.made(user), await exports.made(user)
    latest = await exports.export.GetExport(pb.GetExportRequest(scope={"user_id": user}))
    assert latest.export == second
    listed, token = [], ""
    while token or not listed:
        page = await exports.export.ListExports(pb.ListExportsRequest(page_size=1, page_token=token))
        listed += [export.export_id for export in page.exports]
        token = page.next_page_token
    assert listed.index(second.export_id) < listed.index(first.export_id)
    for _ in range(2):
        await exports.export.DeleteExport(pb.DeleteExportRequest(export_id=second.export_id, request_id=user[:60]))
    gone = exports.export.GetExport(pb.GetExportRequest(export_id=second.export_id))
    assert (await api.refused(gone)).reason == "EXPORT_NOT_FOUND"
    again = exports.export.DeleteExport(pb.DeleteExportRequest(export_id=first.export_id, request_id=user[:60]))
    assert (await api.refused(again)).reason == "REQUEST_ID_REUSED"


def naming(user: str, leaves: int) -> pb.CreateExportRequest:
    """An export of a user with a filter of some 250 kB for each leaf."""
    request = pb.CreateExportRequest(format=pb.EXPORT_FORMAT_JSONL, scope={"user_id": user})
    values = [{"string_value": f"{number:04}" + "u" * 240} for number in range(1000)]
    for _ in range(leaves):
        comparison = request.filter.any_of.filters.add().comparison
        comparison.field, comparison.operator = "run_id", filter_pb2.OPERATOR_IN
        for value in values:
            comparison.value.list_value.values.add(**value)
    return request


async def test_exports_with_large_filters_are_listed_a_page_at_a_time(api: Any, exports: Exports) -> None:
    user = api.user()
    refused = await api.refused(exports.export.CreateExport(naming(user, 5)))
    assert (refused.reason, refused.metadata["field"]) == ("FILTER_INVALID", "filter")
    made = [(await exports.export.CreateExport(naming(user, 4))).name for _ in range(4)]
    for name in made:
        await exports.ended(name)
    listed: list[str] = []
    token = ""
    while token or not listed:
        page = await exports.export.ListExports(pb.ListExportsRequest(page_size=1000, page_token=token))
        assert page.ByteSize() <= 3 * 1024 * 1024
        assert page.exports
        listed += [export.export_id for export in page.exports if export.scope.user_id == user]
        token = page.next_page_token
    assert len(listed) == len(set(listed)) == len(made)


async def test_an_asynchronous_add_is_one_operation(api: Any, exports: Exports) -> None:
    user = api.user()
    request = memory_service_pb2.AddRequest(scope={"user_id": user}, text="I am a vegetarian.", request_id=user[:60])
    started = [await api.memory.AddAsync(request) for _ in range(3)]
    assert len({operation.name for operation in started}) == 1
    done = await exports.ended(started[0].name)
    answer, known = memory_service_pb2.AddResponse(), operation_pb2.OperationMetadata()
    assert done.response.Unpack(answer)
    assert done.metadata.Unpack(known)
    assert [result.memory.text for result in answer.results] == ["Is a vegetarian"]
    assert (known.kind, known.subject) == (operation_pb2.OPERATION_KIND_ADD, answer.add_id)
    assert (known.completed_count, known.total_count, known.attempt) == (1, 1, 1)
    assert await api.texts(user) == ["Is a vegetarian"]
    request.text = "Something else"
    assert (await api.refused(api.memory.AddAsync(request))).reason == "REQUEST_ID_REUSED"
    await exports.operations.DeleteOperation(operations_pb2.DeleteOperationRequest(name=done.name))
    gone = exports.operations.GetOperation(operations_pb2.GetOperationRequest(name=done.name))
    assert (await api.refused(gone)).reason == "OPERATION_NOT_FOUND"


async def test_a_broken_download_goes_on_in_both_clients(server: testing.LocalServer, api: Any, tmp_path: Path) -> None:
    user = api.user()
    await api.fill(user, 1_500)
    with server.client() as client:
        *_, whole = client.export(tmp_path / "whole.jsonl", user_id=user, with_vectors=True)
        for progress in client.export(tmp_path / "out.jsonl", user_id=user, with_vectors=True):
            if progress.stage == "reading":
                break
        del progress
    [part] = files(tmp_path, "out.jsonl.*.part")
    assert 0 < part.stat().st_size < whole.total
    options: Any = {"user_id": user, "with_vectors": True}
    async with server.async_client() as other:
        anew = [step async for step in other.export(tmp_path / "out.jsonl", **options)]
        assert {step.stage for step in anew} == {"writing", "reading"}, "only who asks for it gets an earlier snapshot"
        seen = [step async for step in other.export(tmp_path / "out.jsonl", **options, resume=True)]
    assert part.name.startswith(f"out.jsonl.{seen[-1].export_id}")
    assert {step.stage for step in seen} == {"reading"}
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert not files(tmp_path, "*.part")


def files(folder: Path, pattern: str) -> list[Path]:
    return list(folder.glob(pattern))


def test_what_goes_out_comes_in_the_same(server: testing.LocalServer, tmp_path: Path) -> None:
    def run(command: str, file: str, *options: str, target: str) -> None:
        words = [sys.executable, "-m", "recalld_server", command, str(tmp_path / file), *options, "--target", target]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def rows(file: str) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (tmp_path / file).read_text().splitlines()]

    said = [{"role": "user", "content": "I live in Lisbon. I am a vegetarian.", "name": "Mara"}]
    with server.client() as client, testing.start_local() as other:
        client.add(said, user_id="travels", run_id="r", metadata={"a": 1}, expiration_date="2090-01-01")
        client.add("The hat is blue", user_id="travels", infer=False, immutable=True)
        [changed, *_] = client.get_all(user_id="travels", run_id="r")
        client.update(changed["id"], "Lives in Porto")
        run("export", "out.jsonl", "--user", "travels", "--vectors", target=server.target)
        run("export", "history.jsonl", "--user", "travels", "--history", target=server.target)
        run("import", "history.jsonl", target=other.target)
        run("import", "out.jsonl", target=other.target)
        run("export", "back.jsonl", "--vectors", target=other.target)
    out, back = rows("out.jsonl"), rows("back.jsonl")
    assert len(out) == 3
    for one, two in zip(out, back, strict=True):
        ours, theirs = one.pop("vector"), two.pop("vector")
        assert sum(a * b for a, b in zip(ours, theirs, strict=True)) > 0.999  # embedded anew, and in a batch
        assert one == two
    assert len(rows("history.jsonl")) == 4
    assert not files(tmp_path, "*.part")


def test_texts_without_a_vector_go_out_and_come_in(server: testing.LocalServer, tmp_path: Path) -> None:
    """The model knows none of their words, so there is none to write, and the file may be imported as it is."""
    texts = ["ขอบคุณครับ", "🍕🍕", "Bakes bread", "Люблю чай"]
    options: Any = {"user_id": "no-vectors", "with_vectors": True}
    with server.client() as client, testing.start_local() as other, other.client() as theirs:
        ids = [client.add(text, user_id="no-vectors", infer=False)[0]["id"] for text in texts]
        client.update(ids[2], "ድመት")
        client.update(ids[2], "Bakes bread")
        for _ in client.export(tmp_path / "out.jsonl", **options, with_history=True):
            pass
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        assert [row["memory"] for row in rows if "vector" in row] == ["Bakes bread", "Bakes bread"]
        *_, last = theirs.import_memories(rows)
        assert (last.stored, last.failed) == (4, ())
        for _ in theirs.export(tmp_path / "back.jsonl", **options, with_history=True):
            pass
        back = [json.loads(line) for line in (tmp_path / "back.jsonl").read_text().splitlines()]
        assert [(row["id"], row["memory"], "vector" in row) for row in back] == [
            (row["id"], row["memory"], "vector" in row) for row in rows
        ]
        assert [hit["memory"] for hit in theirs.search("🍕 and rain", user_id="no-vectors", threshold=0.9)] == []
