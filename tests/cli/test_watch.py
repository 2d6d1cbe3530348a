"""`recalld watch`: its output while others write, and how it resumes after Ctrl-C."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from recalld import MemoryClient, testing

SOON = 30.0  # seconds within which anything expected must have come, on a busy machine


def _hears_ctrl_c() -> None:
    # Tests that run in the background ignore it, and so would their children.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Watching:
    """A `recalld watch` that runs."""

    def __init__(self, server: testing.LocalServer, *arguments: str) -> None:
        env = {name: value for name, value in os.environ.items() if not name.startswith("RECALLD_")}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "recalld_server", "watch", *arguments],
            env={**env, "RECALLD_TARGET": server.target},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=_hears_ctrl_c,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def line(self, within: float = SOON) -> str:
        """The next line it prints. Raises queue.Empty."""
        return self._lines.get(timeout=within)

    def changes(self, count: int) -> list[dict[str, Any]]:
        """The next lines as JSON."""
        return [json.loads(self.line()) for _ in range(count)]

    def interrupt(self) -> tuple[int, str, list[str]]:
        """Ctrl-C: the exit code, what it said on standard error, and lines nobody had read."""
        self._process.send_signal(signal.SIGINT)
        code = self._process.wait(SOON)
        self._reading.join(SOON)
        assert self._process.stderr
        return code, self._process.stderr.read(), [self._lines.get() for _ in range(self._lines.qsize())]

    def close(self) -> None:
        """Ends it in any case."""
        self._process.kill()
        self._process.wait()
        self._reading.join(SOON)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream
            stream.close()

    def _read(self) -> None:
        assert self._process.stdout
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))


@pytest.fixture
def watch(server: testing.LocalServer) -> Iterator[Callable[..., Watching]]:
    """Starts `recalld watch …` on the common server."""
    started: list[Watching] = []

    def start(*arguments: str) -> Watching:
        started.append(Watching(server, *arguments))
        return started[-1]

    yield start
    for each in started:
        each.close()


@pytest.fixture
def user() -> str:
    """A user id nobody has had before."""
    return f"user-{uuid.uuid4()}"


@pytest.fixture
def client(server: testing.LocalServer) -> Iterator[MemoryClient]:
    with server.client() as client:
        yield client


def keep(client: MemoryClient, user: str, text: str, **fields: Any) -> str:
    [added] = client.add(text, user_id=user, infer=False, **fields)
    return str(added["id"])


def test_it_follows_and_goes_on_where_it_was_interrupted(
    watch: Callable[..., Watching], client: MemoryClient, user: str
) -> None:
    id = keep(client, user, "Likes tea")
    first = watch("--user", user, "--beginning", "--json")
    [change] = first.changes(1)
    assert (change["event"], change["memory_id"], change["new_memory"]) == ("ADD", id, "Likes tea")
    client.update(id, "Likes coffee")
    client.delete(id)
    seen = first.changes(2)
    assert [(each["event"], each["new_memory"]) for each in seen] == [("UPDATE", "Likes coffee"), ("DELETE", None)]
    assert [each["sequence"] for each in seen] == sorted(each["sequence"] for each in (change, *seen))[1:]
    code, said, unread = first.interrupt()
    assert (code, unread) == (0, [])
    assert "Traceback" not in said
    [token] = [line.rpartition(" ")[2] for line in said.splitlines() if line.startswith("resume with --resume ")]
    keep(client, user, "Likes rain")
    second = watch("--user", user, "--json", "--resume", token)
    assert [each["new_memory"] for each in second.changes(1)] == ["Likes rain"]
    assert second.interrupt()[::2] == (0, [])


def test_it_begins_now_and_shows_what_its_filter_lets_through(
    watch: Callable[..., Watching], client: MemoryClient, user: str
) -> None:
    keep(client, user, "Grew old figs", categories=["food"])
    watching = watch("--user", user, "--filters", json.dumps({"categories": {"in": ["food"]}}))
    deadline, line, count = time.monotonic() + SOON, "", 0
    while not line and time.monotonic() < deadline:  # nothing tells from outside when it stands
        count += 1
        keep(client, f"{user}-other", f"Grows figs of another {count}", categories=["food"])
        keep(client, user, f"Drives van {count}", categories=["cars"])
        keep(client, user, f"Grows\nfigs {count} {'ripe ' * 40}", categories=["food"])
        try:
            line = watching.line(0.3)
        except queue.Empty:
            continue
    sequence, event, id, text = line.split(maxsplit=3)
    assert (int(sequence) > 0, event, len(id)) == (True, "ADD", 36)
    assert text.startswith("Grows figs ")
    assert (len(text), text[-1]) == (100, "…")
    keep(client, user, "Grows last figs", categories=["food"])
    rest = [text]
    while "last" not in rest[-1]:
        rest.append(watching.line().split(maxsplit=3)[3])
    assert all(each.startswith("Grows figs ") for each in rest[:-1])
    assert watching.interrupt()[0] == 0


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--filters", "{"), 2, "--filters is not JSON"),
        (("--filters", '{"colour": "red"}'), 1, "colour"),
        (("--resume", "x"), 1, "RESUME_TOKEN_INVALID"),
        (("--resume", "x", "--beginning"), 1, "exclude each other"),
    ],
)
def test_what_is_refused(beside: Callable[..., Any], arguments: tuple[str, ...], code: int, message: str) -> None:
    done = beside("watch", *arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
