"""PostgreSQL goes away under a running server, or is unusable at the start."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import httpx
import pytest
from tests.postgres import PostgresServer
from tests.weaviate_node import running as running_node

from recalld import MemoryClient, Unavailable, testing
from recalld.v1 import memory_pb2, memory_service_pb2_grpc
from recalld.v1 import memory_service_pb2 as pb

pytestmark = pytest.mark.needs_postgres
WRITERS = 8
ADDS = 25  # of each writer
PATIENCE = 60.0  # seconds for a writer to get an answer


@pytest.fixture
def database() -> Iterator[PostgresServer]:
    """A PostgreSQL that waits for its disk, to be killed."""
    server = PostgresServer()
    try:
        server.start()
        server.run("CREATE DATABASE ledger")
        yield server
    finally:
        server.close()


@pytest.fixture
def index(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Which index: the embedded one, or a Weaviate that stays up."""
    if request.param == "embedded":
        yield "--index=embedded"
        return
    with running_node(tmp_path / "weaviate") as node:
        yield f"--index={node.url}"


def request(writer: int, number: int) -> pb.AddRequest:
    text = f"Locker {writer}-{number} holds a hat"
    return pb.AddRequest(
        scope={"user_id": "ann", "run_id": f"run {writer % 3}"},
        messages=[memory_pb2.Message(role="user", content=text)],
        infer=False,
        request_id=f"add-{writer}-{number}",
    )


class Writing:
    """Writers that repeat each call under its request id until it is answered."""

    def __init__(self) -> None:
        self.answers: dict[tuple[int, int], pb.AddResponse] = {}
        self.refusals: list[grpc.RpcError] = []
        self.slowest = 0.0

    async def run(self, target: str) -> None:
        async with grpc.aio.insecure_channel(target) as channel:
            stub = memory_service_pb2_grpc.MemoryServiceStub(channel)
            await asyncio.gather(*(self._write(stub, writer) for writer in range(WRITERS)))

    async def _write(self, stub: Any, writer: int) -> None:
        for number in range(ADDS):
            deadline = time.monotonic() + PATIENCE
            while (writer, number) not in self.answers:
                assert time.monotonic() < deadline
                begun = time.monotonic()
                try:
                    self.answers[writer, number] = await stub.Add(request(writer, number))
                except grpc.RpcError as error:
                    self.refusals.append(error)
                    await asyncio.sleep(0.1)
                self.slowest = max(self.slowest, time.monotonic() - begun)


@pytest.mark.parametrize(
    ("end", "index"),
    [
        (PostgresServer.kill, "embedded"),
        (PostgresServer.stop, "embedded"),
        pytest.param(PostgresServer.kill, "weaviate", marks=pytest.mark.needs_weaviate),
    ],
    indirect=["index"],
)
def test_writers_outlive_a_restart_of_postgres(
    end: Callable[[PostgresServer], None],
    index: str,
    database: PostgresServer,
    tmp_path: Path,
    call: Callable[[str], Any],
    refused: Callable[[grpc.RpcError], str],
    recalld: Callable[..., Any],
) -> None:
    writing = Writing()
    ledger = f"--ledger={database.url('ledger').replace('@', ':hush@')}"

    async def run(target: str) -> None:
        working = asyncio.create_task(writing.run(target))
        for _ in range(2):
            there = len(writing.answers)
            while len(writing.answers) < there + 20:  # noqa: ASYNC110 - many writers answer, one test looks
                await asyncio.sleep(0.01)
            await asyncio.to_thread(end, database)
            await asyncio.sleep(1.0)
            await asyncio.to_thread(database.start)
        await working

    with testing.start_local(tmp_path / "data", arguments=[ledger, index]) as server:
        asyncio.run(run(server.target))
        assert writing.refusals
        assert {error.code() for error in writing.refusals} == {grpc.StatusCode.UNAVAILABLE}
        assert {refused(error) for error in writing.refusals} == {"LEDGER_UNAVAILABLE"}
        assert writing.slowest < 15
        with call(server.target) as caller:
            there = caller.texts("ann")
            assert len(there) == WRITERS * ADDS == len(set(there.values()))
            for (writer, number), answer in writing.answers.items():
                assert there[answer.results[0].memory_id] == request(writer, number).messages[0].content
                assert caller.memory.Add(request(writer, number)).results == answer.results
            assert caller.found_at_last("ann")[0] == set(there)
        assert all((error.details() or "").startswith("The ledger ") for error in writing.refusals)
        assert "hush" not in server.log
        assert "PostgreSQL: it can't be reached" in server.log
        assert "PostgreSQL: it answers again" in server.log
        deadline = time.monotonic() + 20
        while database.run("SELECT FROM pending", "ledger"):  # what was committed without its writer's knowledge
            assert time.monotonic() < deadline
            time.sleep(0.1)
    revisions = database.run("SELECT seq_from, revision FROM revisions ORDER BY seq_from", "ledger")
    assert revisions == [(seq, 1) for seq in range(1, WRITERS * ADDS + 1)]
    done = recalld("doctor", ledger, index, "--data-dir", tmp_path / "data")
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{WRITERS * ADDS} memories, {WRITERS * ADDS} index entries, 0 pending" in done.stdout


def test_an_outage_is_told_once(database: PostgresServer, tmp_path: Path, call: Callable[[str], Any]) -> None:
    ledger = f"--ledger={database.url('ledger')}"
    with testing.start_local(tmp_path / "data", arguments=[ledger]) as server, call(server.target) as caller:
        caller.fill("ann", 3)
        before = len(server.log.splitlines())
        database.kill()
        ends = time.monotonic() + 5
        while time.monotonic() < ends:
            with pytest.raises(grpc.RpcError):
                caller.memory.ListMemories(pb.ListMemoriesRequest(scope={"user_id": "ann"}))
        ready = httpx.get(f"{server.http_url}/readyz").json()
        assert (ready["ledger"], ready["index"], ready["model"]) == (False, True, True)
        database.start()
        until_it_answers(server, caller)
        told = [line for line in server.log.splitlines()[before:] if '"WARNING"' in line or '"ERROR"' in line]
        assert sum("PostgreSQL: it can't be reached" in line for line in told) == 1, told
        assert sum("PostgreSQL: it answers again" in line for line in told) == 1, told
        assert len(told) < 20, told  # of all parts; it was six a second of each
        begun = time.monotonic()
        database.kill()
        time.sleep(1)
        server.stop()
        assert time.monotonic() - begun < 1 + 5


def until_it_answers(server: testing.LocalServer, caller: Any) -> None:
    deadline = time.monotonic() + 20
    while not httpx.get(f"{server.http_url}/readyz").json()["ledger"]:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert len(caller.texts("ann")) == 3


def test_a_database_that_takes_no_changes_is_not_ready(
    database: PostgresServer, tmp_path: Path, call: Callable[[str], Any]
) -> None:
    """PostgreSQL's own error of a full disk, raised by triggers where a change would be written."""
    ledger = f"--ledger={database.url('ledger')}"
    with testing.start_local(tmp_path / "data", arguments=[ledger]) as server, call(server.target) as caller:
        caller.fill("ann", 3)
        with database.connected("ledger") as other:
            other.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
                "$$ BEGIN RAISE EXCEPTION 'no space left' USING ERRCODE = 'disk_full'; END $$"
            )
            for change in ("INSERT ON revisions", "UPDATE ON ledger"):
                other.execute(f"CREATE TRIGGER refuse BEFORE {change} EXECUTE FUNCTION refuse()")
        deadline, number = time.monotonic() + 20, 10
        while httpx.get(f"{server.http_url}/readyz").json()["ledger"]:
            assert time.monotonic() < deadline
            number += 1
            with suppress(grpc.RpcError):
                caller.memory.Add(request(0, number))
        with pytest.raises(grpc.RpcError, match="can't be written"):
            caller.memory.Add(request(1, 1))
        assert len(caller.texts("ann")) == 3  # reading goes on
        with database.connected("ledger") as other:
            other.execute("DROP FUNCTION refuse CASCADE")
        deadline = time.monotonic() + 20
        while not httpx.get(f"{server.http_url}/readyz").json()["ledger"]:
            assert time.monotonic() < deadline
            time.sleep(0.1)
        caller.memory.Add(request(2, 2))


def test_a_second_server_with_an_index_of_its_own_is_refused(
    database: PostgresServer, tmp_path: Path, recalld: Callable[..., Any]
) -> None:
    ledger = f"--ledger={database.url('ledger')}"
    with testing.start_local(tmp_path / "one", arguments=[ledger]):
        second = recalld("serve", ledger, "--data-dir", tmp_path / "two", "--grpc-port=0", "--http-port=0")
        assert second.returncode == 2
        assert "Another server uses this ledger" in second.stderr
        made = recalld("keys", "create", ledger)  # keys may be made beside a server
        assert made.stdout.startswith("rk_"), made.stderr
    with testing.start_local(tmp_path / "two", arguments=[ledger], env={"RECALLD_API_KEY": ""}) as later:
        assert later.pid


def test_who_takes_the_place_of_a_cut_off_server_ends_it(database: PostgresServer, tmp_path: Path) -> None:
    """The place is lost with its connection. A server that finds it taken must not go on beside the other."""
    take = (
        "SELECT pg_terminate_backend(pid) FROM pg_locks WHERE locktype = 'advisory';"
        "SELECT pg_advisory_lock(1919247201, hashtext(current_schema()))"
    )
    ledger = f"--ledger={database.url('ledger')}"
    with testing.start_local(tmp_path / "data", arguments=[ledger]) as server, database.connected("ledger") as other:
        other.execute(take)
        deadline = time.monotonic() + 20
        while running(server):
            assert time.monotonic() < deadline, server.log
            time.sleep(0.1)
        assert "another server has taken this ledger" in server.log


def running(server: testing.LocalServer) -> bool:
    try:
        return server.pid > 0
    except testing.ServerError:
        return False


def test_keys_and_projects_are_made_on_the_ledger(
    database: PostgresServer, tmp_path: Path, recalld: Callable[..., Any]
) -> None:
    ledger = f"--ledger={database.url('ledger')}"
    early = recalld("projects", "create", "kitchen", ledger)
    assert (early.returncode, early.stdout) == (1, "")
    with testing.start_local(tmp_path / "data", arguments=[ledger]) as server:
        made = recalld("projects", "create", "kitchen", "--name=The kitchen", ledger)
        assert made.stdout.split()[0] == "kitchen", made.stderr
        assert "already exists" in recalld("projects", "create", "kitchen", ledger).stderr
        assert "1 to 64" in recalld("projects", "create", "Kitchen", ledger).stderr
        key = recalld("keys", "create", "--project=kitchen", ledger).stdout.strip()
        assert [line.split()[0] for line in recalld("projects", "list", ledger).stdout.splitlines()] == [
            "default",
            "kitchen",
        ]
        client = server.client(key)
        client.add("The oven is hot", user_id="cook", infer=False)
        deadline = time.monotonic() + 10
        while not (hits := searched(client)):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        assert [hit["memory"] for hit in hits] == ["The oven is hot"]
        assert "memory    1\n" in recalld("projects", "usage", "kitchen", ledger).stdout
        assert "memory    0\n" in recalld("projects", "usage", "default", ledger).stdout
    in_file = recalld("projects", "list", "--ledger", tmp_path / "data" / "ledger.db")
    assert "use --target instead" in in_file.stderr


def searched(client: MemoryClient) -> list[Any]:
    """Nothing while the server has not heard of the project."""
    try:
        return list(client.search("oven", user_id="cook"))
    except Unavailable:
        return []


@pytest.mark.parametrize(
    ("ledger", "said"),
    [
        ("postgresql://ann:hush@127.0.0.1:1/ledger", "127.0.0.1:1/ledger cannot be used"),
        ("postgresql://ann:hush@127.0.0.1:port/ledger", "not of the form postgresql://"),
        ("postgresql://ann:hush@127.0.0.1:1/ledger?no_such_parameter=1", "127.0.0.1:1/ledger cannot be used"),
        ("postgresql:ann:hush@127.0.0.1", "not of the form postgresql://"),
        ("mysql://ann:hush@127.0.0.1/ledger", "must be embedded, the path of a SQLite file, or postgresql://"),
    ],
)
def test_a_ledger_that_cant_be_used_is_named_without_its_secret(
    ledger: str, said: str, tmp_path: Path, recalld: Callable[..., Any]
) -> None:
    for command in (["serve", "--grpc-port=0", "--http-port=0"], ["keys", "list"]):
        done = recalld(*command, "--ledger", ledger, "--data-dir", tmp_path)
        assert done.returncode in (1, 2)
        assert said in done.stderr
        assert "hush" not in done.stdout + done.stderr
