"""An unusable Weaviate gets an error of one line: address, key, version or gRPC port."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from tests.congruence.small_world import OwnClock, opened
from tests.weaviate_node import Node, free_ports

from recalld_server.adapters.index.weaviate import client as weaviate_client
from recalld_server.adapters.index.weaviate.client import Address
from recalld_server.adapters.index.weaviate.store import WeaviateIndex
from recalld_server.domain.errors import IndexUnavailable, RecalldError, SettingMissing
from recalld_server.ports.index import Index


@contextmanager
def answering(status: int, body: bytes) -> Iterator[int]:
    """An HTTP server that says the same to everything; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


async def told(address: Address) -> RecalldError:
    index: Index = WeaviateIndex(address)
    try:
        with pytest.raises((SettingMissing, IndexUnavailable)) as raised:
            await index.check()
        return raised.value
    finally:
        await index.close()


async def test_nothing_there_may_pass() -> None:
    ports = free_ports()
    error = await told(Address("127.0.0.1", ports.http, ports.grpc))
    assert isinstance(error, IndexUnavailable)
    assert f"Nothing answers at http://127.0.0.1:{ports.http}" in str(error)


@pytest.mark.parametrize(
    ("status", "body", "key", "words"),
    [
        (200, b'{"version": "1.24.0"}', "", "is version 1.24.0; 1.38 or later is needed"),
        (200, b'{"version": "1.37.9"}', "", "is version 1.37.9; 1.38 or later is needed"),
        (200, b"<html>", "", "answers, but not as Weaviate does"),
        (404, b"{}", "", "answers, but not as Weaviate does"),
        (401, b"{}", "a-secret", "refuses the key in RECALLD_INDEX_KEY (HTTP 401)"),
        (401, b"{}", "", "needs a key in RECALLD_INDEX_KEY (HTTP 401)"),
        (200, b'{"version": "1.38.0"}', "", "nothing answers gRPC at 127.0.0.1:"),
    ],
)
async def test_what_only_another_setting_mends(status: int, body: bytes, key: str, words: str) -> None:
    with answering(status, body) as port:
        error = await told(Address("127.0.0.1", port, free_ports().grpc, key=key))
    assert isinstance(error, SettingMissing)
    assert words in str(error)
    assert "a-secret" not in str(error)
    assert "\n" not in str(error)


async def test_a_port_that_takes_connections_and_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weaviate_client, "CHECK", 1.0)
    with answering(200, b'{"version": "1.38.0"}') as port, socket.create_server(("127.0.0.1", 0)) as silent:
        error = await told(Address("127.0.0.1", port, silent.getsockname()[1]))
    assert "nothing answers gRPC" in str(error)


async def test_a_server_does_not_start_with_it(tmp_path: Path) -> None:
    with answering(200, b'{"version": "1.24.0"}') as port:
        url = f"weaviate://127.0.0.1:{port}?grpc_port={free_ports().grpc}"
        with pytest.raises(SettingMissing, match=r"version 1\.24\.0"):
            await opened(tmp_path, OwnClock(), "embedded", url)


@pytest.mark.needs_weaviate
async def test_a_good_one_passes(weaviate: Node) -> None:
    index: Index = WeaviateIndex(Address.parse(weaviate.url))
    try:
        await index.check()
        await index.ping()
    finally:
        await index.close()


@pytest.mark.needs_weaviate
async def test_a_wrong_grpc_port_of_a_good_one_is_said(weaviate: Node) -> None:
    error = await told(Address("127.0.0.1", weaviate.ports.http, free_ports().grpc))
    assert "?grpc_port=PORT" in str(error)


async def test_a_failure_is_logged_once_a_minute(caplog: pytest.LogCaptureFixture) -> None:
    """Not with each of the looks of a server that waits for it."""
    with answering(200, b'{"version": "1.24.0"}') as port:
        index = WeaviateIndex(Address("127.0.0.1", port, free_ports().grpc))
        client = index._client
        with caplog.at_level(logging.WARNING):
            for _ in range(20):
                client._unavailable(OSError())
            client._unavailable(TimeoutError())
        await index.close()
    assert [record.__dict__["error"] for record in caplog.records] == ["OSError", "TimeoutError"]
