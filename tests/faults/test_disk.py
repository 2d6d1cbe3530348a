"""A full disk: clear errors, and no loss of acknowledged writes."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable
from typing import Any

import grpc
import httpx
from sqlalchemy import Connection

from recalld import testing
from recalld.v1 import memory_pb2
from recalld.v1 import memory_service_pb2 as pb
from recalld_server.adapters.sql.engine import SqliteEngine
from recalld_server.domain.errors import LedgerUnavailable


def request(number: int) -> pb.AddRequest:
    text = f"Locker {number} holds a hat and {'h' * 8_000}"
    message = memory_pb2.Message(role="user", content=text)
    return pb.AddRequest(scope={"user_id": "ann"}, messages=[message], infer=False, request_id=f"add-{number}")


if sys.platform == "linux":  # elsewhere the limits of a running process can't be changed
    import resource

    def test_adds_on_a_full_disk(
        server: testing.LocalServer,
        call: Callable[[str], Any],
        recalld: Callable[..., Any],
        refused: Callable[[grpc.RpcError], str],
    ) -> None:
        """The file size limit of the process stands for the end of the disk: writes beyond it fail."""
        answers: dict[int, pb.AddResponse] = {}
        reasons: list[tuple[grpc.StatusCode, str]] = []
        with call(server.target) as caller:
            before = caller.fill("bob", 20)
            largest = max(file.stat().st_size for file in server.data_dir.iterdir())
            _, hard = resource.prlimit(server.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (largest + 1_000_000, hard))
            number = 0
            while len(reasons) < 10 and number < 400:
                try:
                    answers[number] = caller.memory.Add(request(number))
                except grpc.RpcError as error:
                    reasons.append((error.code(), refused(error)))
                number += 1
            assert set(reasons) == {(grpc.StatusCode.UNAVAILABLE, "LEDGER_UNAVAILABLE")}
            assert answers
            ids = {answer.results[0].memory_id for answer in answers.values()}
            assert set(caller.texts("ann")) == ids  # reading goes on
            assert set(caller.texts("bob")) == before
            until(server, ledger=False, index=True)
            resource.prlimit(server.pid, resource.RLIMIT_FSIZE, (hard, hard))
            for each in range(number):
                again = caller.memory.Add(request(each))  # there is room again: the same server goes on
                assert each not in answers or list(again.results) == list(answers[each].results)
            until(server, ledger=True, index=True)
            assert 1 <= server.log.count("ledger.db: it can't be written") <= 3  # on change, not for each refusal
            assert "ledger.db: it can be written again" in server.log
            assert len(caller.texts("ann")) == number
            assert ids <= set(caller.texts("ann"))
            wait_for_the_index(caller, number)
        server.stop()
        done = recalld("doctor", "--data-dir", server.data_dir)
        assert done.returncode == 0, done.stdout + done.stderr

    def until(server: testing.LocalServer, **expected: bool) -> None:
        """Waits, ten seconds at most, until /readyz says so."""
        deadline = time.monotonic() + 10
        while not expected.items() <= (found := httpx.get(f"{server.http_url}/readyz", timeout=10).json()).items():
            assert time.monotonic() < deadline, found
            time.sleep(0.1)

    def wait_for_the_index(caller: Any, count: int) -> None:
        """The index was full as well; the projector brings it what it missed."""
        for _ in range(100):
            if len(caller.found("ann")) == count:
                return
            time.sleep(0.1)
        raise AssertionError("the index did not catch up in 10 s")


async def test_a_change_in_a_group_that_failed_is_not_acknowledged(tmp_path: Any) -> None:
    """SQLite undoes the whole transaction when the disk is full in the middle, not only the statement that failed."""
    engine = SqliteEngine(tmp_path / "x.db", unavailable=LedgerUnavailable)
    await engine.write(lambda c: c.exec_driver_sql("CREATE TABLE t (n INTEGER, text BLOB)"))

    def small(connection: Connection) -> None:
        connection.exec_driver_sql("INSERT INTO t VALUES (1, x'00')")

    def large(connection: Connection) -> None:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages + 2}")
        connection.exec_driver_sql("INSERT INTO t VALUES (2, zeroblob(1000000))")

    async def run(work: Callable[[Connection], None]) -> bool:
        try:
            await engine.write(work)
        except LedgerUnavailable:
            return False
        return True

    def wait(connection: Connection) -> None:
        time.sleep(0.2)  # so that what comes meanwhile becomes one group

    running = [run(work) for work in (wait, small, large, small)]
    _, *acknowledged = await asyncio.gather(*running)
    stored = await engine.read(lambda c: c.exec_driver_sql("SELECT count(*) FROM t WHERE n = 1").scalar_one())
    assert sum(acknowledged) <= stored
    assert acknowledged[1] is False
    await engine.close()
