"""Large and concurrent ForgetMemories calls end, erase everything, and do not block other calls."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlean
from google.longrunning import operations_pb2_grpc
from tests.attacks import copies

from recalld import testing
from recalld.v1 import export_service_pb2 as export
from recalld.v1 import export_service_pb2_grpc, memory_service_pb2_grpc, operation_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.admin.offline import open_keys
from recalld_server.domain.keys import ApiKey, Role
from recalld_server.domain.memory import Access
from recalld_server.wiring.settings import Settings

MANY = 70_000  # beyond what one statement of PostgreSQL may have of parameters
PROJECTS = 10
EACH = 1_000  # memories that each of them forgets
OTHERS = 100_000  # that nobody forgets
PATIENCE = 600.0
QUIET = 3.0  # seconds to see how long a write takes without an attack


class Calls:
    """A caller of a server."""

    def __init__(self, target: str, key: str = "") -> None:
        self._channel = grpc.insecure_channel(target, options=[("grpc.use_local_subchannel_pool", 1)])
        self.memory = memory_service_pb2_grpc.MemoryServiceStub(self._channel)
        self.export = export_service_pb2_grpc.ExportServiceStub(self._channel)
        self.operations = operations_pb2_grpc.OperationsStub(self._channel)
        self._metadata = [("authorization", f"Bearer {key}")] if key else []

    def add(self, user: str, text: str) -> str:
        request = pb.AddRequest(scope={"user_id": user}, text=text, infer=False)
        return self.memory.Add(request, timeout=PATIENCE, metadata=self._metadata).results[0].memory_id

    def forget(self, user: str, **fields: Any) -> pb.ForgetReceipt:
        request = pb.ForgetMemoriesRequest(scope={"user_id": user}, **fields)
        return self.memory.ForgetMemories(request, timeout=PATIENCE, metadata=self._metadata)

    def exported(self, user: str, *, wait: bool = True) -> str:
        """The id of an export, finished unless nobody waits for it."""
        request = export.CreateExportRequest(scope={"user_id": user}, format=export.EXPORT_FORMAT_JSONL)
        begun = self.export.CreateExport(request, metadata=self._metadata)
        told = operation_pb2.OperationMetadata()
        assert begun.metadata.Unpack(told)
        deadline = time.monotonic() + PATIENCE
        while wait and self.state(told.subject) != export.EXPORT_STATE_READY:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return told.subject

    def state(self, id: str) -> int:
        """Of an export."""
        request = export.GetExportRequest(export_id=id)
        try:
            return self.export.GetExport(request, metadata=self._metadata).export.state
        except grpc.RpcError as error:
            return _withdrawn(error) and export.EXPORT_STATE_WITHDRAWN

    def readable(self, id: str) -> bool:
        """Whether an export gives its first bytes."""
        try:
            next(self.export.ReadExport(export.ReadExportRequest(export_id=id), metadata=self._metadata))
        except grpc.RpcError as error:
            return not _withdrawn(error)
        return True

    def close(self) -> None:
        self._channel.close()


def _withdrawn(error: grpc.RpcError) -> bool:
    if error.code() is not grpc.StatusCode.FAILED_PRECONDITION:
        raise error
    return True


def states(receipt: pb.ForgetReceipt) -> dict[str, str]:
    return {leg.name: pb.ForgetState.Name(leg.state).removeprefix("FORGET_STATE_") for leg in receipt.legs}


@pytest.mark.timeout(900)
@pytest.mark.needs_postgres
def test_more_than_a_statement_can_name_are_forgotten_and_no_export_of_them_is_read(postgres: Any) -> None:
    with postgres.database("ledger") as url, testing.start_local(arguments=[f"--ledger={url}"]) as server:
        database = url.rpartition("/")[2]
        calls = Calls(server.target)
        first = calls.add("gone", "Keeps a zebrafinch")
        calls.add("stays", "Keeps a canary")
        copies.copy(lambda statement: postgres.run(statement, database), first, MANY, "gone")
        held = calls.exported("gone")
        kept = calls.exported("stays")
        assert calls.readable(held)
        left = "SELECT count(*) FROM revisions WHERE user_id = 'gone'"
        with ThreadPoolExecutor(1) as pool:
            forgetting = pool.submit(calls.forget, "gone", request_id="all of it", expected_count=MANY + 1)
            begun, late = False, ""
            while not forgetting.done():
                begun = begun or postgres.run(left, database)[0][0] <= MANY
                assert not (begun and calls.readable(held))
                late = late or (calls.exported("gone", wait=False) if begun else "")
                time.sleep(0.2)
        receipt = forgetting.result()
        assert (receipt.memory_count, receipt.revision_count) == (MANY + 1, MANY + 1)
        assert 1 <= receipt.export_count <= 2  # the one begun meanwhile, too, unless it came after the last memory
        assert late
        if calls.state(late) != export.EXPORT_STATE_WITHDRAWN:
            assert not calls.readable(late)
        assert postgres.run("SELECT count(*) FROM revisions WHERE text LIKE '%zebra%'", database) == [(0,)]
        assert postgres.run("SELECT count(*) FROM features WHERE memory_id LIKE 'default-gone-%'", database) == [(0,)]
        chunks = f"SELECT count(*) FROM export_chunks WHERE export_id = '{held}'"  # noqa: S608
        assert postgres.run(chunks, database) == [(0,)]
        assert calls.readable(kept)
        pending = {name for name, state in states(receipt).items() if state == "PENDING"}
        assert pending - {"index_file"} == {"ledger_file", "caches", "requests"}  # it may need another moment
        again = calls.forget("gone", request_id="all of it", expected_count=MANY + 1)
        assert again.memory_count == MANY + 1
        assert {name for name, state in states(again).items() if state == "PENDING"} <= pending
        calls.close()


@pytest.fixture
def tenants(tmp_path: Path) -> Iterator[tuple[testing.LocalServer, dict[str, str]]]:
    """A server with many memories in `default` and some in each other project, and a key of each."""
    with testing.start_local(tmp_path) as server:
        memory_id = Calls(server.target).add("ann", "Keeps a zebrafinch")
    names = [f"tenant{number}" for number in range(PROJECTS)]
    connection = sqlean.connect(tmp_path / "ledger.db", isolation_level=None)
    copies.copy(connection.execute, memory_id, OTHERS, "ann")
    for name in names:
        copies.project(connection.execute, name)
        copies.copy(connection.execute, memory_id, EACH, "gone", name)
    connection.close()

    async def keys() -> dict[str, str]:
        async with open_keys(Settings(data_dir=tmp_path)) as ring:
            holders = {name: ApiKey("", name, Role.ADMIN) for name in (*names, "default")}
            return {name: (await ring.create(Access(name), key))[1] for name, key in holders.items()}

    made = asyncio.run(keys())
    with testing.start_local(tmp_path) as server:
        yield server, made


@pytest.mark.timeout(900)
def test_ten_projects_that_forget_at_once_hold_up_nobody(
    tenants: tuple[testing.LocalServer, dict[str, str]], bystander: Callable[..., Any]
) -> None:
    server, keys = tenants
    here = [("authorization", f"Bearer {keys['default']}")]
    writer, waits, ended = Calls(server.target, keys["default"]), [], threading.Event()

    def writing() -> None:
        while not ended.is_set():
            begun = time.monotonic()
            writer.add("bob", f"Keeps {begun} canaries")
            waits.append(time.monotonic() - begun)
            time.sleep(0.02)

    callers = [Calls(server.target, keys[f"tenant{number}"]) for number in range(PROJECTS)]
    with bystander(server.target, server.pid, here) as seen, ThreadPoolExecutor(PROJECTS + 1) as pool:
        others = pool.submit(writing)
        try:
            time.sleep(QUIET)
            allowed = 2.0 + 5 * max(waits)  # seconds; the machine may be busy with other things
            receipts = list(pool.map(lambda caller: caller.forget("gone"), callers))
        finally:
            ended.set()
        others.result()
    assert [receipt.memory_count for receipt in receipts] == [EACH] * PROJECTS
    assert all(states(receipt)["ledger"] == "EMPTY" for receipt in receipts)
    assert seen.failures == []
    assert seen.longest < allowed
    assert max(waits) < allowed, sorted(waits)[-5:]
    deadline = time.monotonic() + PATIENCE
    while "PENDING" in (told := states(callers[0].forget("gone"))).values():  # until the background has done its part
        assert {name for name, state in told.items() if state == "PENDING"} <= {"ledger_file", "caches", "index_file"}
        assert time.monotonic() < deadline
        time.sleep(0.5)
    for caller in (writer, *callers):
        caller.close()


def test_forgetting_nothing_writes_no_file_anew(server: testing.LocalServer) -> None:
    calls = Calls(server.target)
    calls.add("ann", "Keeps a zebrafinch")
    calls.add("gone", "Keeps a canary")
    deadline = time.monotonic() + PATIENCE
    while "PENDING" in states(calls.forget("gone")).values():  # the background does its part
        assert time.monotonic() < deadline
    files = [server.data_dir / name for name in ("ledger.db", "index.db")]
    before = [(file.read_bytes(), file.stat().st_mtime_ns) for file in files]
    for user in ("nobody", "gone"):
        receipt = calls.forget(user)
        assert receipt.memory_count == 0
        assert "PENDING" not in states(receipt).values()
    assert [(file.read_bytes(), file.stat().st_mtime_ns) for file in files] == before
    calls.close()
