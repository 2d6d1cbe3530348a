"""SIGTERM: what runs is finished, what waits is refused in a way that callers repeat, and the program ends with 0."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from recalld.v1 import memory_pb2, memory_service_pb2_grpc
from recalld.v1 import memory_service_pb2 as pb

ADDS = 100


class Serve:
    """`recalld serve` as a shell starts it."""

    def __init__(self, folder: Path) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("RECALLD_")}
        command = [sys.executable, "-m", "recalld_server", "serve", "--data-dir", str(folder), "--grpc-port", "0"]
        self.log = folder.with_suffix(".log")
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout
        self.lines = []
        while not (self.lines and self.lines[-1].startswith("recalld ready ")):
            self.lines.append(self.process.stdout.readline())
            assert self.lines[-1], self.log.read_text()
        self.target = self.lines[-1].split("grpc=")[1].split()[0]

    def end(self, number: int = signal.SIGTERM) -> int:
        """Asks the process to end; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(20)

    def close(self) -> None:
        """Ends the process in any case."""
        self.process.kill()
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[], Serve]]:
    """Starts servers on one folder."""
    started: list[Serve] = []

    def start() -> Serve:
        started.append(Serve(tmp_path / "data"))
        return started[-1]

    yield start
    for each in started:
        each.close()


def request(number: int) -> pb.AddRequest:
    message = memory_pb2.Message(role="user", content=f"Locker {number} holds a hat")
    return pb.AddRequest(scope={"user_id": "ann"}, messages=[message], infer=False, request_id=f"add-{number}")


async def test_running_adds_are_finished(
    serve: Callable[[], Serve], call: Callable[[str], Any], refused: Callable[[grpc.RpcError], str]
) -> None:
    server = serve()
    answers: dict[int, pb.AddResponse] = {}
    refusals: list[tuple[grpc.StatusCode, str]] = []
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = memory_service_pb2_grpc.MemoryServiceStub(channel)

        async def add(number: int) -> None:
            try:
                answers[number] = await stub.Add(request(number))
            except grpc.RpcError as error:
                refusals.append((error.code(), refused(error)))
            if len(answers) == 10:
                server.process.send_signal(signal.SIGTERM)

        await asyncio.gather(*(add(number) for number in range(ADDS)))
    assert await asyncio.to_thread(server.process.wait, 20) == 0
    assert {code for code, _ in refusals} <= {grpc.StatusCode.UNAVAILABLE}  # which every client repeats
    assert {reason for _, reason in refusals} <= {"SHUTTING_DOWN", ""}
    logged = [json.loads(line) for line in server.log.read_text().splitlines() if "MemoryService/Add" in line]
    assert {line["code"] for line in logged} <= {"OK", "UNAVAILABLE"}
    assert sum(line["code"] == "OK" for line in logged) == len(answers)
    with call(serve().target) as caller:
        there = caller.texts("ann")
        assert {answer.results[0].memory_id for answer in answers.values()} == set(there)
        for number in range(ADDS):
            again = caller.memory.Add(request(number))
            assert number not in answers or list(again.results) == list(answers[number].results)
        assert len(caller.texts("ann")) == ADDS


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_with_0_though_callers_are_connected(
    serve: Callable[[], Serve], call: Callable[[str], Any], number: signal.Signals
) -> None:
    server = serve()
    with call(server.target) as caller:
        caller.fill("ann", 3)
        start = time.monotonic()
        assert server.end(number) == 0
        assert time.monotonic() - start < 4  # an idle caller is not waited for
    assert "Traceback" not in server.log.read_text()


def test_it_says_where_it_is(serve: Callable[[], Serve], tmp_path: Path) -> None:
    lines = serve().lines
    assert lines[0] == f"data folder {tmp_path / 'data'}\n"
    assert "no API key" in lines[1]
    assert lines[-1].startswith("recalld ready grpc=127.0.0.1:")
