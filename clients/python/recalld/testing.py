"""A real server for tests and demonstrations, in one call:

    with recalld.testing.start_local() as server:
        server.client().add("I'm a vegetarian", user_id="alex")

`async with` works too. The server is a separate process with a temporary data folder and free ports. The package
recalld_server must be installed in the running interpreter.
"""

from __future__ import annotations

import asyncio
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import grpc

from recalld.async_client import AsyncMemoryClient
from recalld.channel import Connection, Tls
from recalld.client import MemoryClient

READY = "recalld ready "
SERVING = b"\x08\x01"  # grpc.health.v1.HealthCheckResponse with status SERVING
LOG_TAIL = 4000  # characters of the server's log in an error


class ServerError(RuntimeError):
    """The server did not start or is not running. The message ends with the end of its log."""


class LocalServer:
    """A server process. `restart` keeps all addresses. `http_url` is empty if the server has no HTTP port."""

    def __init__(
        self, data_dir: Path | None, arguments: Sequence[str], env: Mapping[str, str], timeout: float, tls: Tls = False
    ) -> None:
        self.data_dir = data_dir or Path(tempfile.mkdtemp(prefix="recalld-"))
        self.target = ""
        self.http_url = ""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self._temporary = data_dir is None
        self._arguments = arguments
        # The caller's settings must not leak in: they may name a real ledger. GRPC_VERBOSITY is removed because
        # weaviate-client sets it in every process that imports it.
        own = ("RECALLD_", "GRPC_VERBOSITY")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(own)}
        self._env = {**inherited, **env}
        self._timeout = timeout
        self._tls = tls
        self._ports = {"grpc": "0", "http": "0"}
        self._process: subprocess.Popen[str] | None = None
        self._clients: list[MemoryClient] = []

    @property
    def pid(self) -> int:
        """The process id. Raises ServerError if the server is not running."""
        return self._running().pid

    @property
    def log(self) -> str:
        """The standard error of the server since its first start."""
        path = self._log_path
        return path.read_text(errors="replace") if path.exists() else ""

    def client(self, api_key: str | None = "", **options: Any) -> MemoryClient:
        """Create a client, which is closed with the server. Options as for MemoryClient."""
        client = MemoryClient(self.target, api_key, **{"tls": self._tls, **options})
        self._clients.append(client)
        return client

    def async_client(self, api_key: str | None = "", **options: Any) -> AsyncMemoryClient:
        """Create an asyncio client; the caller closes it. Options as for AsyncMemoryClient."""
        return AsyncMemoryClient(self.target, api_key, **{"tls": self._tls, **options})

    def start(self) -> Self:
        """Start the process and wait until it is healthy. Raises ServerError."""
        deadline = time.monotonic() + self._timeout
        ports = [f"--{name}-port={number}" for name, number in self._ports.items()]
        command = [sys.executable, "-m", "recalld_server", "serve", f"--data-dir={self.data_dir}", *ports]
        with self._log_path.open("a") as log:
            self._process = subprocess.Popen(  # noqa: S603  our own command
                [*command, *self._arguments],
                env=self._env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        try:
            self._read_ready(deadline)
            self._await_health(deadline)
        except BaseException:
            self.kill()
            raise
        return self

    def stop(self) -> None:
        """Stop the process with SIGTERM, and with SIGKILL after ten seconds."""
        process, self._process = self._process, None
        if process:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def kill(self) -> None:
        """Kill the process with SIGKILL, to simulate a crash. Acknowledged writes must survive."""
        process, self._process = self._process, None
        if process:
            process.kill()
            process.wait()

    def restart(self) -> None:
        """Stop the server, if it runs, and start it again with the same folder and ports."""
        self.stop()
        self.start()

    def close(self) -> None:
        """Stop the server, close the clients created by `client` and delete the temporary folder."""
        for client in self._clients:
            client.close()
        self.stop()
        if self._temporary:
            shutil.rmtree(self.data_dir, ignore_errors=True)

    def __enter__(self) -> Self:
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return await asyncio.to_thread(self.__enter__)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.to_thread(self.close)

    @property
    def _log_path(self) -> Path:
        return self.data_dir / "server.log"

    def _running(self) -> subprocess.Popen[str]:
        if self._process is None or self._process.poll() is not None:
            raise self._failed("The server is not running.")
        return self._process

    def _failed(self, message: str) -> ServerError:
        return ServerError(f"{message} Its log ends:\n{self.log[-LOG_TAIL:]}")

    def _read_ready(self, deadline: float) -> None:
        output: IO[str] | None = self._running().stdout
        lines: queue.Queue[str] = queue.Queue()
        threading.Thread(target=_drain, args=(output, lines), daemon=True).start()
        while True:
            try:
                line = lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise self._failed(f"The server was not ready within {self._timeout} s.") from None
            if not line:
                raise self._failed("The server exited before it was ready.")
            if line.startswith(READY):
                break
        faces = dict(part.split("=", 1) for part in line.removeprefix(READY).split() if "=" in part)
        self.target = faces["grpc"]
        http = faces.get("http", "")
        self.http_url = http if not http or "://" in http else f"http://{http}"
        for name, address in faces.items():
            if name in self._ports:
                self._ports[name] = address.rpartition(":")[2].rstrip("/")

    def _await_health(self, deadline: float) -> None:
        channel = Connection.of(self.target, "", None, self._tls).channel()
        check = channel.unary_unary(
            "/grpc.health.v1.Health/Check"
        )  # without serializers, requests and answers are bytes
        try:
            answer = check(b"", timeout=max(0.0, deadline - time.monotonic()), wait_for_ready=True)
        except grpc.RpcError as error:
            raise self._failed(f"The health check of the server failed: {error.details()}.") from error
        finally:
            channel.close()
        if answer != SERVING:
            raise self._failed("The server started but is not healthy.")


def start_local(
    data_dir: Path | str | None = None,
    *,
    arguments: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    timeout: float = 60.0,
    tls: Tls = False,
) -> LocalServer:
    """Create a server for `with` or `async with`, which start it. They raise ServerError after `timeout` seconds.

    `data_dir` is kept; by default a temporary folder is used and deleted at the end. `arguments` are passed to
    `recalld serve`. The server does not inherit RECALLD_... variables: pass settings in `env`. `tls` is the client's
    setting, as for MemoryClient, if `arguments` give the server a certificate.
    """
    return LocalServer(Path(data_dir) if data_dir else None, arguments, env or {}, timeout, tls)


def _drain(output: IO[str] | None, lines: queue.Queue[str]) -> None:
    # Read to the end, so that the server never blocks on a full pipe. An empty line marks the end.
    if output:
        with output:
            for line in output:
                lines.put(line)
    lines.put("")
