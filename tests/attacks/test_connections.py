"""Connections without a key that are silent, slow, or only start and cancel calls, on both ports."""

from __future__ import annotations

import socket
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import pytest
from tests.attacks import http2

from recalld import testing
from recalld.v1 import memory_service_pb2 as pb
from recalld.v1 import memory_service_pb2_grpc
from recalld_server.http.connection import CONNECTIONS, PATIENCE

MANY = 4  # connections of a flood
FLOOD = 3.0  # seconds


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def healthy(server: testing.LocalServer) -> bool:
    with urllib.request.urlopen(f"{server.http_url}/healthz", timeout=5) as answer:  # noqa: S310 - our own server
        return bool(answer.status == 200)


def closed(connection: socket.socket, within: float) -> bool:
    """Whether the other side ends the connection in time, whatever it says before."""
    connection.settimeout(within)
    try:
        while connection.recv(65536):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


@pytest.fixture(scope="module")
def quiet() -> Iterator[testing.LocalServer]:
    """A server that closes gRPC connections two seconds after their last call."""
    with testing.start_local(env={"RECALLD_CONNECTION_IDLE": "2"}) as running:
        yield running


def test_however_many_connections_are_idle_probes_are_answered(quiet: testing.LocalServer) -> None:
    port = port_of(quiet.http_url)
    with ExitStack() as held:
        idle = [
            held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            for _ in range(CONNECTIONS + 44)
        ]
        for _ in range(20):
            begun = time.monotonic()
            assert healthy(quiet)
            assert time.monotonic() - begun < 1
        idle[-1].sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n")  # and not the end of it
        begun = time.monotonic()
        assert all(closed(connection, PATIENCE + 5) for connection in idle)
        assert time.monotonic() - begun < PATIENCE + 5
    assert healthy(quiet)


def test_connections_without_calls_are_closed_and_those_with_calls_are_not(quiet: testing.LocalServer) -> None:
    port = port_of(quiet.target)
    with ExitStack() as held:
        silent = [held.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5)) for _ in range(50)]
        greeted = [held.enter_context(http2.connect(port)) for _ in range(50)]
        channel = held.enter_context(grpc.insecure_channel(quiet.target))
        memory = memory_service_pb2_grpc.MemoryServiceStub(channel)
        watch = memory.Watch(pb.WatchRequest(), timeout=60)
        next(watch)
        assert all(closed(connection, 5) for connection in greeted)
        assert all(closed(connection, 15) for connection in silent)
        assert watch.is_active()
        assert next(watch).HasField("checkpoint")  # the next comes ten seconds after the first
        watch.cancel()
        time.sleep(4)
        memory.ListMemories(pb.ListMemoriesRequest(), timeout=5)  # over a new connection, as if nothing had been


def flood(port: int, stream_of: Callable[[int], bytes]) -> int:
    """Sends what `stream_of` makes of each stream's number over MANY connections for FLOOD seconds; how many."""
    sent = [0] * MANY

    def attack(number: int) -> None:
        end = time.monotonic() + FLOOD
        while time.monotonic() < end:
            with http2.connect(port) as connection:
                reader = threading.Thread(target=closed, args=(connection, FLOOD))
                reader.start()
                try:
                    for first in range(1, 400_000, 200):
                        if time.monotonic() >= end:
                            break
                        connection.sendall(b"".join(map(stream_of, range(first, first + 200, 2))))
                        sent[number] += 100
                except OSError:
                    pass  # the server has had enough of this connection
                finally:
                    connection.close()
                    reader.join()

    threads = [threading.Thread(target=attack, args=(number,)) for number in range(MANY)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return sum(sent)


def test_calls_that_are_cancelled_at_once_pile_up_nothing(server: testing.LocalServer, bystander: Any) -> None:
    block = http2.headers()
    with bystander(server.target, server.pid) as seen:
        before = seen.megabytes
        sent = flood(port_of(server.target), lambda stream: http2.begun_and_cancelled(stream, block))
    assert sent > 2_000
    assert seen.megabytes - before < 250  # 2.7 GB without a limit
    assert seen.longest < 5
    assert not seen.failures
    with server.client() as client:
        assert client.add("I like tea", user_id="after", infer=False)
    assert healthy(server)


def test_calls_without_a_key_pile_up_nothing(server: testing.LocalServer, bystander: Any) -> None:
    block = http2.headers()
    with server.client() as client:
        client.add("I like tea", user_id="before", infer=False)
    with bystander(server.target, server.pid) as seen:
        before = seen.megabytes
        sent = flood(
            port_of(server.target), lambda stream: http2.frame(http2.HEADERS, http2.END_HEADERS, stream, block)
        )
    assert sent > 1_000
    assert seen.megabytes - before < 250
    assert not seen.failures
    assert healthy(server)
