"""Real Weaviate nodes on free loopback ports, each in its own folder and stopped by its process id.

The program is given by WEAVIATE, or is `weaviate-server` on the PATH.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

HOST = "127.0.0.1"
START = 60  # seconds until a node answers, on a busy machine
TRIES = 3  # starts, if a port was taken between looking for it and using it


@dataclass(frozen=True, slots=True)
class Ports:
    """The six ports of a node. `raft_rpc` is the one after `raft`: the others of a cluster expect it there."""

    http: int
    grpc: int
    gossip: int
    data: int
    raft: int

    @property
    def raft_rpc(self) -> int:
        return self.raft + 1


def program() -> str:
    """Where weaviate-server is. Raises AssertionError that says how to get it."""
    found = os.environ.get("WEAVIATE") or shutil.which("weaviate-server")
    how = "go install github.com/weaviate/weaviate/cmd/weaviate-server@v1.38.11"
    assert found, f"set WEAVIATE to the program, or put it on the PATH: {how}"
    return found


def free_ports() -> Ports:
    """Ports nobody uses now, with the one after `raft` free as well."""
    with ExitStack() as held:

        def take(port: int = 0) -> int:
            taken = held.enter_context(socket.socket())
            taken.bind((HOST, port))
            return int(taken.getsockname()[1])

        while True:
            raft = take()
            try:
                take(raft + 1)
            except (OSError, OverflowError):
                continue
            return Ports(http=take(), grpc=take(), gossip=take(), data=take(), raft=raft)


@dataclass
class Node:
    """One node. It keeps its ports and its folder when it is killed and started again."""

    folder: Path
    ports: Ports = field(default_factory=free_ports)
    name: str = "node1"
    more: dict[str, str] = field(default_factory=dict)
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """As `--index` takes it."""
        return f"weaviate://{HOST}:{self.ports.http}?grpc_port={self.ports.grpc}"

    def spawn(self) -> None:
        """Start the process and return at once."""
        assert self.process is None or self.process.poll() is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "PERSISTENCE_DATA_PATH": str(self.folder / "data"),
            "AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED": "true",
            "DEFAULT_VECTORIZER_MODULE": "none",
            "ENABLE_MODULES": "",
            "API_BASED_MODULES_DISABLED": "true",
            "DISABLE_TELEMETRY": "true",
            "GO_PROFILING_DISABLE": "true",
            "AUTOSCHEMA_ENABLED": "false",
            "RAFT_TIMEOUTS_MULTIPLIER": "1",
            "CLUSTER_HOSTNAME": self.name,
            "CLUSTER_BIND_ADDR": HOST,
            "CLUSTER_ADVERTISE_ADDR": HOST,
            "GRPC_PORT": str(self.ports.grpc),
            "CLUSTER_GOSSIP_BIND_PORT": str(self.ports.gossip),
            "CLUSTER_DATA_BIND_PORT": str(self.ports.data),
            "RAFT_PORT": str(self.ports.raft),
            "RAFT_INTERNAL_RPC_PORT": str(self.ports.raft_rpc),
            "LOG_LEVEL": "warning",
            **self.more,
        }
        arguments = [program(), "--host", HOST, "--port", str(self.ports.http), "--scheme", "http"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(arguments, env=environment, stdout=log, stderr=log, cwd=self.folder)

    def wait(self) -> None:
        """Return when it is ready. Raises AssertionError with the end of its log when it died."""
        assert self.process is not None
        until = time.monotonic() + START
        while time.monotonic() < until and self.process.poll() is None:
            try:
                with urllib.request.urlopen(f"http://{HOST}:{self.ports.http}/v1/.well-known/ready", timeout=1) as got:
                    if got.status == 200:
                        return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        state = "is not ready" if self.process.poll() is None else f"ended with {self.process.returncode}"
        raise AssertionError(f"{self.name} {state}: {(self.folder / 'log').read_text()[-2000:]}")

    def start(self) -> None:
        """Start it, or start it again, and return when it is ready."""
        self.spawn()
        self.wait()

    def kill(self) -> None:
        """As a power cut to the process: SIGKILL, and nothing is written any more."""
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


@contextmanager
def running(folder: Path) -> Iterator[Node]:
    """One node that is ready."""
    for attempt in range(TRIES):
        node = Node(folder)
        try:
            node.start()
        except AssertionError:
            node.stop()
            if attempt == TRIES - 1:
                raise
            continue
        try:
            yield node
        finally:
            node.stop()
        return


@contextmanager
def cluster(folder: Path, size: int = 3) -> Iterator[Sequence[Node]]:
    """Nodes that form a cluster and are ready."""
    for attempt in range(TRIES):
        nodes = [Node(folder / f"node{n}", name=f"node{n}") for n in range(1, size + 1)]
        join = ",".join(f"{node.name}:{node.ports.raft}" for node in nodes)
        for node in nodes:
            node.more |= {"CLUSTER_IN_LOCALHOST": "true", "RAFT_JOIN": join, "RAFT_BOOTSTRAP_EXPECT": str(size)}
            if node is not nodes[0]:
                node.more["CLUSTER_JOIN"] = f"{HOST}:{nodes[0].ports.gossip}"
        try:
            for node in nodes:
                node.spawn()
            for node in nodes:
                node.wait()
        except AssertionError:
            for node in nodes:
                node.stop()
            if attempt == TRIES - 1:
                raise
            continue
        try:
            yield nodes
        finally:
            for node in nodes:
                node.stop()
        return
