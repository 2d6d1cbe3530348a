"""The OpenAI embedder against a real HTTP server."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from recalld_server.adapters.embedders import openai
from recalld_server.adapters.embedders.openai import OpenAiEmbedder
from recalld_server.domain.errors import EmbedderUnavailable
from recalld_server.ports.embedder import Priority


class Endpoint(ThreadingHTTPServer):
    """Speaks POST /v1/embeddings. A text's vector is (3·length, 4); `answer` may spoil it."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), EndpointHandler)
        self.requests: list[dict] = []
        self.keys: list[str | None] = []
        self.failures: list[int] = []
        self.plain = False
        self.spoil: object = None
        self.delay = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"


class EndpointHandler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.requests.append({"path": self.path, **request})
        self.server.keys.append(self.headers.get("authorization"))
        time.sleep(self.server.delay)
        if self.server.failures:
            self._send(self.server.failures.pop(0), b'{"error": {"message": "secret engine text"}}')
            return
        data = []
        for index, text in enumerate(request["input"]):
            vector = np.array([3 * len(text), 4 * len(text)], dtype="<f4")
            packed = request.get("encoding_format") == "base64" and not self.server.plain
            embedding = base64.b64encode(vector.tobytes()).decode() if packed else vector.tolist()
            data.append({"object": "embedding", "index": index, "embedding": embedding})
        body: object = {"object": "list", "data": data, "model": request["model"], "usage": {}}
        if self.server.spoil:
            body = self.server.spoil(body)
        self._send(200, body if isinstance(body, bytes) else json.dumps(body).encode())

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.send_header("retry-after-ms", "1")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with Endpoint() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
async def remote(endpoint: Endpoint) -> AsyncIterator[OpenAiEmbedder]:
    embedder = await OpenAiEmbedder.start(model="m", base_url=endpoint.url, api_key="k", dimension=2, attempt_seconds=2)
    yield embedder
    await embedder.close()


@pytest.mark.parametrize("plain", [False, True])
async def test_openai_vectors_packed_or_plain(endpoint: Endpoint, plain: bool) -> None:
    endpoint.plain = plain
    embedder = await OpenAiEmbedder.start(model="m", base_url=endpoint.url, api_key="k")
    assert embedder.dimension == 2
    vectors = await embedder.embed(["a", "bbb"])
    assert vectors == pytest.approx(np.array([[0.6, 0.8], [0.6, 0.8]]))
    assert vectors.dtype == np.float32
    assert endpoint.requests[-1] == {
        "path": "/v1/embeddings", "input": ["a", "bbb"], "model": "m", "encoding_format": "base64"
    }  # fmt: skip
    assert endpoint.keys[-1] == "Bearer k"
    await embedder.close()


async def test_openai_batches_keep_the_order(endpoint: Endpoint, remote: OpenAiEmbedder) -> None:
    def marked(body: dict) -> dict:
        for item, text in zip(body["data"], endpoint.requests[-1]["input"], strict=True):
            item["embedding"] = [float(text), 1.0]
        body["data"].reverse()
        return body

    endpoint.plain, endpoint.spoil = True, marked
    vectors = await remote.embed([str(i) for i in range(300)])
    assert vectors[:, 0] / vectors[:, 1] == pytest.approx(np.arange(300), rel=1e-4)
    assert [len(request["input"]) for request in endpoint.requests] == [128, 128, 44]
    endpoint.spoil = None
    await remote.embed(["x" * 150_000] * 3)
    assert [len(request["input"]) for request in endpoint.requests[3:]] == [1, 1, 1]
    assert (await remote.embed([])).shape == (0, 2)


def vector(values: object) -> object:
    return lambda body: {**body, "data": [{**item, "embedding": values} for item in body["data"]]}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (vector([0.0, 0.0]), "zero or not finite"),
        (vector([1.0, float("nan")]), "zero or not finite"),
        (vector([1.0, 2.0, 3.0]), "another dimension"),
        (vector([]), "another dimension"),
        (vector(["x", "y"]), "no valid vectors"),
        (vector(None), "another dimension"),
        (lambda body: {**body, "data": body["data"][:1]}, "one vector per text"),
        (lambda body: {**body, "data": [body["data"][0], body["data"][0]]}, "one vector per text"),
        (lambda body: {**body, "data": []}, "no valid vectors"),
        (lambda body: {}, "no valid vectors"),
        (lambda body: b"<html>secret engine text</html>", "no valid vectors"),
        (lambda body: [1, 2], "no valid vectors"),
    ],
)
async def test_openai_nonsense_is_refused(
    endpoint: Endpoint, remote: OpenAiEmbedder, spoil: object, message: str
) -> None:
    endpoint.plain, endpoint.spoil = True, spoil
    with pytest.raises(EmbedderUnavailable, match=message) as refused:
        await remote.embed(["a", "b"])
    assert "secret" not in f"{refused.value} {refused.value.metadata}"


async def test_openai_refusals_tell_the_status_and_no_engine_text(endpoint: Endpoint, remote: OpenAiEmbedder) -> None:
    endpoint.failures = [401]
    with pytest.raises(EmbedderUnavailable) as refused:
        await remote.embed(["a"])
    assert refused.value.metadata == {"model": "m", "detail": "401"}
    assert "secret" not in str(refused.value)
    assert refused.value.__cause__ is None


async def test_openai_passing_failures_are_tried_again(endpoint: Endpoint, remote: OpenAiEmbedder) -> None:
    endpoint.failures = [503, 429]
    assert (await remote.embed(["a"])).shape == (1, 2)
    assert len(endpoint.requests) == 3


async def test_openai_that_is_slow_costs_a_search_less_than_an_import(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert openai.SECONDS[Priority.SEARCH] < openai.SECONDS[Priority.WRITE] < openai.SECONDS[Priority.BACKGROUND]
    monkeypatch.setattr(openai, "SECONDS", {Priority.SEARCH: 0.2, Priority.WRITE: 0.3, Priority.BACKGROUND: 30.0})
    embedder = await OpenAiEmbedder.start(model="m", base_url=endpoint.url, api_key="k", dimension=2)
    endpoint.delay = 1.0
    for priority in (Priority.SEARCH, Priority.WRITE):
        begun = time.monotonic()
        with pytest.raises(EmbedderUnavailable, match="did not answer within 0"):
            await embedder.embed(["a"], priority=priority)
        assert time.monotonic() - begun < 0.9
    assert (await embedder.embed(["a"], priority=Priority.BACKGROUND)).shape == (1, 2)
    await embedder.close()


async def test_openai_without_a_server_or_in_time(endpoint: Endpoint) -> None:
    endpoint.delay = 0.5
    slow = await OpenAiEmbedder.start(model="m", base_url=endpoint.url, api_key="k", dimension=2, attempt_seconds=0.05)
    with pytest.raises(EmbedderUnavailable, match="can't be reached"):
        await slow.embed(["a"])
    await slow.close()
    with pytest.raises(EmbedderUnavailable, match="can't be reached"):
        await OpenAiEmbedder.start(model="m", base_url="http://127.0.0.1:9/v1", api_key="k")
