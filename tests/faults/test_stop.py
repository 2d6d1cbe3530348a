"""SIGTERM: running calls finish, waiting calls are refused in a retryable way, and the exit status is 0."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import grpc
import pytest

from recalld.v1 import memory_pb2, memory_service_pb2_grpc
from recalld.v1 import memory_service_pb2 as pb

ADDS = 100
STOP = 3.0  # seconds that the whole stop may take
BUSY = 1.5  # more on a busy machine, where the process itself takes its time to be seen to end
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"  # HTTP/2's first words, with empty SETTINGS


class Serve:
    """`recalld serve` as a shell starts it."""

    def __init__(self, folder: Path, **more: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith(("RECALLD_", "OTEL_"))} | more
        ports = ("--grpc-port", "0", "--http-port", "0")
        command = [sys.executable, "-m", "recalld_server", "serve", "--data-dir", str(folder), *ports]
        self.log = folder.with_suffix(".log")
        with self.log.open("a") as log:
            self.process = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
        assert self.process.stdout
        self.lines = []
        while not (self.lines and self.lines[-1].startswith("recalld ready ")):
            self.lines.append(self.process.stdout.readline())
            assert self.lines[-1], self.log.read_text()
        self.target = self.lines[-1].split("grpc=")[1].split()[0]
        self.http = self.lines[-1].split("http=")[1].split()[0]

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
def serve(tmp_path: Path) -> Iterator[Callable[..., Serve]]:
    """Starts servers on one folder, with variables of the environment."""
    started: list[Serve] = []

    def start(**env: str) -> Serve:
        started.append(Serve(tmp_path / "data", **env))
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
        assert time.monotonic() - start < STOP + BUSY  # an idle caller is not waited for
    assert "Traceback" not in server.log.read_text()


def connections(stack: ExitStack, target: str, many: int = 5) -> list[socket.socket]:
    """TCP connections on which nothing was said yet."""
    host, port = target.split(":")
    return [stack.enter_context(socket.create_connection((host, int(port)))) for _ in range(many)]


@pytest.mark.parametrize("attempt", range(5))  # of such ends one in three was a crash
def test_connections_that_say_nothing_do_not_harm_it(attempt: int, serve: Callable[[], Serve]) -> None:
    """A client that was started and stopped, a port scanner, a balancer's health check by TCP."""
    server = serve()
    with ExitStack() as stack:
        connections(stack, server.target)
        connections(stack, server.http)
        for half in connections(stack, server.target):
            half.sendall(PREFACE[:10])
        for half in connections(stack, server.http):
            half.sendall(b"GET /readyz HTTP/1.1\r\nHost: ")
        time.sleep(0.5)
        start = time.monotonic()
        assert server.end() == 0, server.log.read_text()
        assert time.monotonic() - start < STOP + BUSY
    assert "Traceback" not in server.log.read_text()


def test_long_calls_are_cut_and_told_so(
    serve: Callable[[], Serve],
    call: Callable[[str], Any],
    refused: Callable[[grpc.RpcError], str],
    items: Callable[[str, int], list[pb.ImportItem]],
) -> None:
    """An import whose caller says nothing more, and an add of much text: each would take much longer than the stop."""
    server = serve()
    with ExitStack() as stack:
        caller = stack.enter_context(call(server.target))
        caller.fill("ann", 3)
        ended = threading.Event()
        stack.callback(ended.set)

        def requests() -> Iterator[pb.ImportItem]:
            yield items("ann", 1)[0]
            ended.wait(30)

        importing = caller.memory.ImportMemories(requests())
        words = [memory_pb2.Message(role="user", content=f"Shelf {n} " + f"holds box {n} " * 600) for n in range(400)]
        adding = caller.memory.Add.future(pb.AddRequest(scope={"user_id": "ann"}, messages=words, infer=False))
        time.sleep(1.5)
        assert not adding.done()
        start = time.monotonic()
        assert server.end() == 0, server.log.read_text()
        assert time.monotonic() - start < STOP + BUSY
        for cut in (lambda: list(importing), adding.result):
            with pytest.raises(grpc.RpcError) as error:
                cut()
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE  # which every client repeats
            assert refused(error.value) == "SHUTTING_DOWN"
    assert "Traceback" not in server.log.read_text()
    with call(serve().target) as caller:
        assert len(caller.texts("ann")) in (3, 4)


def refusing(stack: ExitStack) -> int:
    """A port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


def silent(stack: ExitStack) -> int:
    """Connections are taken and nothing is ever said on them."""
    return int(stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1])


def unreachable(stack: ExitStack) -> int:
    """Connections are not even taken: the queue of those that wait is full, and more are dropped."""
    listening = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
    for _ in range(4):
        filling = stack.enter_context(socket.socket())
        filling.setblocking(False)
        filling.connect_ex(listening.getsockname())
    return int(listening.getsockname()[1])


def slow(stack: ExitStack) -> int:
    """Every call is taken and not answered."""
    ended = threading.Event()

    class Handler(grpc.GenericRpcHandler):
        def service(self, _: Any) -> Any:
            return grpc.unary_unary_rpc_method_handler(lambda request, context: ended.wait(60))

    collector = grpc.server(ThreadPoolExecutor(4), handlers=[Handler()])
    port = int(collector.add_insecure_port("127.0.0.1:0"))
    collector.start()
    stack.callback(lambda: (ended.set(), collector.stop(0).wait()))
    return port


@pytest.mark.parametrize("collector", [refusing, silent, unreachable, slow])
def test_a_collector_that_is_away_does_not_hold_it_up(
    collector: Callable[[ExitStack], int], serve: Callable[..., Serve], call: Callable[[str], Any]
) -> None:
    """With a watch and idle connections open, too. Alone it takes 1.5 s; the rest is for a busy machine."""
    with ExitStack() as stack:
        endpoint = f"http://127.0.0.1:{collector(stack)}"
        server = serve(OTEL_EXPORTER_OTLP_ENDPOINT=endpoint, OTEL_METRIC_EXPORT_INTERVAL="500")
        caller = stack.enter_context(call(server.target))
        caller.fill("ann", 3)
        watch = caller.memory.Watch(pb.WatchRequest(scope={"user_id": "ann"}))
        next(watch)
        for idle in connections(stack, server.target):
            idle.sendall(PREFACE)
        time.sleep(1)  # so that an export is under way
        start = time.monotonic()
        assert server.end() == 0, server.log.read_text()
        assert time.monotonic() - start < STOP + BUSY
        with pytest.raises(grpc.RpcError):
            list(watch)
    assert "Traceback" not in server.log.read_text()


def test_an_index_that_is_away_does_not_hold_it_up(serve: Callable[..., Serve], call: Callable[[str], Any]) -> None:
    with ExitStack() as stack:
        ports = refusing(stack), silent(stack)
        server = serve(RECALLD_INDEX=f"weaviate://127.0.0.1:{ports[0]}?grpc_port={ports[1]}")
        caller = stack.enter_context(call(server.target))
        caller.memory.Add(request(1))
        time.sleep(1)
        start = time.monotonic()
        assert server.end() == 0, server.log.read_text()
        assert time.monotonic() - start < STOP + BUSY
    assert "Traceback" not in server.log.read_text()


def test_it_says_where_it_is(serve: Callable[[], Serve], tmp_path: Path) -> None:
    lines = serve().lines
    assert lines[0] == f"data folder {tmp_path / 'data'}\n"
    assert "no API key" in lines[1]
    assert lines[-1].startswith("recalld ready grpc=127.0.0.1:")
