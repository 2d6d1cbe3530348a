"""Storage that is used twice, disappears or is damaged under a running server: detected, reported, nothing lost."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import httpx
import pytest
from sqlalchemy import Connection

from recalld import testing
from recalld.v1 import memory_pb2, memory_service_pb2_grpc, search_service_pb2_grpc
from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import search_service_pb2 as spb
from recalld_server.adapters.sql.engine import SqliteEngine
from recalld_server.adapters.sql.shutdown_marker import ShutdownMarker
from recalld_server.domain.errors import LedgerUnavailable

ENV = {name: value for name, value in os.environ.items() if not name.startswith("RECALLD_")}


def recalld(*arguments: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """`recalld …`, run to its end."""
    command = [sys.executable, "-m", "recalld_server", *map(str, arguments)]
    return subprocess.run(command, env=ENV, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


def by_its_path(ledger: Path, beside: Path) -> str:
    return str(ledger)


def by_a_symbolic_link(ledger: Path, beside: Path) -> str:
    (beside / "link.db").symlink_to(ledger)
    return str(beside / "link.db")


def by_a_linked_folder(ledger: Path, beside: Path) -> str:
    (beside / "folder").symlink_to(ledger.parent)
    return str(beside / "folder" / ledger.name)


def by_a_hard_link(ledger: Path, beside: Path) -> str:
    os.link(ledger, beside / "hard.db")
    return str(beside / "hard.db")


def by_a_relative_path(ledger: Path, beside: Path) -> str:
    return os.path.relpath(ledger, beside)


WAYS = [by_its_path, by_a_symbolic_link, by_a_linked_folder, by_a_relative_path]
if sys.platform == "linux":
    WAYS.append(by_a_hard_link)


@pytest.mark.parametrize("default", [True, False], ids=["default", "--ledger"])
@pytest.mark.parametrize("way", WAYS)
def test_one_ledger_has_one_server(way: Callable[[Path, Path], str], default: bool, tmp_path: Path) -> None:
    """By whatever path the second one is given the file, and whether the first has it by default or by name."""
    one, beside = tmp_path / "one", tmp_path / "beside"
    beside.mkdir()
    ledger = one / "ledger.db" if default else tmp_path / "truth.db"
    arguments = [] if default else [f"--ledger={ledger}"]
    with testing.start_local(one, arguments=arguments) as server:
        server.client().add("Keeps bees", user_id="ann", infer=False)
        name = way(ledger, beside)
        second = ("--ledger", name, "--data-dir", "two", "--grpc-port=0", "--http-port=0")
        done = recalld("serve", *second, cwd=beside)
        assert (done.returncode, "recalld ready" in done.stdout) == (2, False)
        assert f"recalld: Another recalld uses {name}. Stop it, or choose another with --ledger." in done.stderr
        assert f"{name} is in use by another recalld" in recalld("serve", "--check", *second, cwd=beside).stdout
        doctor = recalld("doctor", *second[:4], cwd=beside)
        assert (doctor.returncode, "Another recalld uses" in doctor.stderr) == (2, True)
        if way is not by_a_hard_link:  # SQLite itself does not see that those are one file
            assert recalld("keys", "list", "--ledger", name, cwd=beside).returncode == 0
        assert [hit["memory"] for hit in server.client().search("bees", user_id="ann")] == ["Keeps bees"]


def test_one_index_file_has_one_server(tmp_path: Path) -> None:
    (tmp_path / "two").mkdir()
    with testing.start_local(tmp_path / "one") as server:
        (tmp_path / "two" / "index.db").symlink_to(server.data_dir / "index.db")
        done = recalld("serve", "--data-dir", tmp_path / "two", "--grpc-port=0", "--http-port=0")
        assert done.returncode == 2
        assert f"Another recalld uses {tmp_path / 'two' / 'index.db'}" in done.stderr
        assert server.client().search("bees", user_id="ann") == []


def test_what_a_dead_server_held_is_free(server: testing.LocalServer) -> None:
    server.client().add("Keeps bees", user_id="ann", infer=False)
    server.kill()
    server.start()
    assert [each["memory"] for each in server.client().get_all(user_id="ann")] == ["Keeps bees"]


def ready(server: testing.LocalServer) -> dict[str, bool]:
    """What /readyz says."""
    return dict(httpx.get(f"{server.http_url}/readyz", timeout=10).json())


def becomes(server: testing.LocalServer, **expected: bool) -> None:
    """Waits, ten seconds at most, until /readyz says so."""
    deadline = time.monotonic() + 10
    while not expected.items() <= (found := ready(server)).items():
        assert time.monotonic() < deadline, found
        time.sleep(0.1)


def lines(server: testing.LocalServer, words: str) -> int:
    return sum(words in line for line in server.log.splitlines())


class Caller:
    """Calls without the client's retries."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        self._search = search_service_pb2_grpc.SearchServiceStub(channel)
        self.refusal = ""

    def adds(self, number: int) -> bool:
        """Whether an add is acknowledged; `refusal` says why not."""
        message = memory_pb2.Message(role="user", content=f"Locker {number} holds a hat")
        request = pb.AddRequest(scope={"user_id": "ann"}, messages=[message], infer=False)
        try:
            self._memory.Add(request, timeout=30)
        except grpc.RpcError as error:
            self.refusal = f"{error.code().name}: {error.details()}"
            return False
        return True

    def texts(self) -> set[str]:
        """The memories; raises grpc.RpcError."""
        request = pb.ListMemoriesRequest(scope={"user_id": "ann"}, page_size=1000)
        return {memory.text for memory in self._memory.ListMemories(request, timeout=30).memories}

    def found(self) -> set[str]:
        """What a search finds, nothing while it is refused."""
        request = spb.SearchRequest(query="hat", scope={"user_id": "ann"}, limit=1000)
        try:
            return {hit.memory.text for hit in self._search.Search(request, timeout=30).hits}
        except grpc.RpcError:
            return set()


@contextmanager
def calling(server: testing.LocalServer) -> Iterator[Caller]:
    with grpc.insecure_channel(server.target, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        yield Caller(channel)


@pytest.fixture
def caller(placed: testing.LocalServer) -> Iterator[Caller]:
    with calling(placed) as found:
        yield found


@pytest.fixture
def placed(tmp_path: Path) -> Iterator[testing.LocalServer]:
    """A server whose ledger and index are in a folder of their own: the log is beside it, and stays."""
    (tmp_path / "own").mkdir()
    folder = tmp_path / "data"
    folder.mkdir()
    with testing.start_local(tmp_path / "own", arguments=[f"--data-dir={folder}"]) as server:
        yield server


def folder_of(server: testing.LocalServer) -> Path:
    return server.data_dir.parent / "data"


def test_a_deleted_folder_is_noticed(placed: testing.LocalServer, caller: Caller) -> None:
    """What would be acknowledged would be in files that nobody can open again."""
    folder = folder_of(placed)
    assert caller.adds(0)
    becomes(placed, ledger=True, index=True)
    shutil.rmtree(folder)
    assert [caller.adds(number) for number in range(20)] == [False] * 20
    assert caller.refusal.startswith("UNAVAILABLE: The file of this store is gone")
    assert "its operator must restart it" in caller.refusal
    assert "try again" not in caller.refusal
    becomes(placed, ledger=False, index=False)
    with pytest.raises(grpc.RpcError, match="gone or was replaced"):
        caller.texts()
    assert lines(placed, "its file is gone or was replaced") == 2  # the ledger's and the index's, once each
    assert "restart the server" in placed.log
    done = recalld("serve", "--check", "--data-dir", folder, "--grpc-port=0", "--http-port=0")
    assert done.returncode == 0, done.stdout  # another server may have the place
    assert not folder.exists()  # nothing was made anew there


def test_a_folder_that_comes_back_is_used_again(placed: testing.LocalServer, caller: Caller) -> None:
    folder = folder_of(placed)
    assert caller.adds(0)
    away = folder.with_name("away")
    folder.rename(away)
    becomes(placed, ledger=False, index=False)
    assert not caller.adds(1)
    away.rename(folder)
    becomes(placed, ledger=True, index=True)
    assert caller.adds(2)
    assert lines(placed, "its file is back") == 2
    assert caller.texts() >= {"Locker 0 holds a hat", "Locker 2 holds a hat"}


def test_a_replaced_folder_is_left_to_who_is_there(placed: testing.LocalServer, caller: Caller, tmp_path: Path) -> None:
    """A second server on the path has it; the first one refuses, and harms nothing when it ends."""
    folder = folder_of(placed)
    assert caller.adds(0)
    folder.rename(folder.with_name("away"))
    arguments = [f"--data-dir={folder}"]
    with testing.start_local(tmp_path / "second", arguments=arguments) as second, calling(second) as other:
        assert other.adds(7)
        assert not caller.adds(1)
        becomes(placed, ledger=False, index=False)
        placed.stop()
        assert other.adds(8)
        second.kill()
        second.start()
        with calling(second) as again:
            assert again.texts() == {"Locker 7 holds a hat", "Locker 8 holds a hat"}


@pytest.mark.parametrize("name", ["ledger.db", "ledger.db-wal"])
def test_a_file_of_the_ledger_is_missed(name: str, placed: testing.LocalServer, caller: Caller) -> None:
    folder = folder_of(placed)
    assert caller.adds(0)
    (folder / name).unlink()
    assert not caller.adds(1)
    becomes(placed, ledger=False, index=True)
    assert not (folder / name).exists()


def test_an_index_file_that_is_gone_costs_searches_only(placed: testing.LocalServer, caller: Caller) -> None:
    folder = folder_of(placed)
    assert caller.adds(0)
    (folder / "index.db").unlink()
    becomes(placed, ledger=True, index=False)
    assert caller.adds(1)
    assert caller.found() == set()
    placed.restart()  # as the log says
    with calling(placed) as again:
        deadline = time.monotonic() + 20
        while len(again.found()) < 2:
            assert time.monotonic() < deadline
            time.sleep(0.1)


PAGE = 4096


def damage(ledger: Path, last: int) -> None:
    """The last pages become something else, at the same length."""
    size = ledger.stat().st_size
    assert size > (last + 20) * PAGE
    with ledger.open("r+b") as file:
        file.seek(size - last * PAGE)
        file.write(b"\xff" * (last * PAGE))


@pytest.fixture
def used(placed: testing.LocalServer, caller: Caller) -> Path:
    """The ledger of the running server, all of it in its file and nothing in the log beside it."""
    for number in range(100):
        assert caller.adds(number)
    placed.restart()
    assert lines(placed, "was not closed cleanly") == 0
    return folder_of(placed) / "ledger.db"


def test_a_ledger_that_was_not_closed_is_checked(used: Path, placed: testing.LocalServer) -> None:
    placed.kill()
    placed.start()
    assert lines(placed, "ledger.db was not closed cleanly: checking it") == 1
    assert lines(placed, "ledger.db checked") == 1
    becomes(placed, ledger=True)
    placed.restart()
    assert lines(placed, "was not closed cleanly") == 1  # this time it was closed cleanly
    with calling(placed) as caller:
        assert len(caller.texts()) == 100


def test_a_damaged_ledger_is_not_served_after_an_unclean_end(used: Path, placed: testing.LocalServer) -> None:
    placed.kill()
    damage(used, 10)
    for command in (("serve", "--grpc-port=0", "--http-port=0"), ("doctor",)):
        done = recalld(*command, "--data-dir", used.parent)
        assert (done.returncode, "recalld ready" in done.stdout) == (2, False)
        assert f"recalld: {used} is damaged and was not changed: restore a backup." in done.stderr
        assert "Traceback" not in done.stderr


def test_damage_under_a_running_server_is_noticed(used: Path, placed: testing.LocalServer) -> None:
    damage(used, used.stat().st_size // PAGE - 21)
    with calling(placed) as caller:
        deadline = time.monotonic() + 20
        while caller.adds(0):
            assert time.monotonic() < deadline
        for _ in range(5):
            assert not caller.adds(1)
        assert caller.refusal == "UNAVAILABLE: This store is damaged: its operator must restore it."
        becomes(placed, ledger=False)
    assert lines(placed, "ledger.db: it is damaged") == 1
    placed.kill()
    done = recalld("serve", "--data-dir", used.parent, "--grpc-port=0", "--http-port=0")
    assert (done.returncode, "is damaged" in done.stderr) == (2, True)


@pytest.mark.parametrize("kept", [0.5, 0.1])
def test_the_doctor_says_what_is_wrong_with_a_truncated_ledger(
    kept: float, used: Path, placed: testing.LocalServer
) -> None:
    placed.stop()
    content = used.read_bytes()
    used.write_bytes(content[: int(len(content) * kept)])
    for command in (("doctor",), ("serve", "--grpc-port=0", "--http-port=0"), ("keys", "list")):
        done = recalld(*command, "--data-dir", used.parent)
        assert done.returncode in (1, 2), command
        assert "Traceback" not in done.stderr
        assert "damaged" in done.stderr or "DAMAGED" in done.stdout, done.stderr


async def test_a_check_that_takes_long_goes_on_and_the_server_is_not_ready(tmp_path: Path) -> None:
    engine = SqliteEngine(tmp_path / "x.db", unavailable=LedgerUnavailable)
    held, checked = asyncio.Event(), engine.sound

    async def slow() -> bool | None:
        await held.wait()
        return await checked()

    def nothing(_: Connection) -> None: ...

    first = ShutdownMarker(engine)
    await first.begin(1.0)
    engine.sound = slow  # type: ignore[method-assign]
    second = ShutdownMarker(engine)  # as after a crash: nobody has ended the first one
    await second.begin(0.05)
    with pytest.raises(LedgerUnavailable, match="is being checked"):
        await engine.ping(nothing)
    held.set()
    await asyncio.sleep(0.5)
    await engine.ping(nothing)
    await second.end()
    assert await engine.read(lambda c: c.exec_driver_sql("PRAGMA user_version").scalar()) == 0
    await engine.close()
