"""A PostgreSQL server for the tests, in a temporary folder on a free loopback port."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

START = 60.0  # seconds, on a busy machine
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "track_commit_timestamp": "on",
    "shared_buffers": "64MB",
    "logging_collector": "off",
}
# What a crash of the machine could take; one of PostgreSQL itself takes nothing.
QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}


def programs() -> Path:
    """Where initdb and postgres are: on the PATH, or where pg_config says."""
    found = shutil.which("initdb")
    if found:
        return Path(found).resolve().parent
    return Path(subprocess.check_output(["pg_config", "--bindir"], text=True).strip())


def ordinary() -> dict[str, Any]:
    """How to start a program as somebody: PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    names = {user.pw_name: user for user in pwd.getpwall()}
    user = names.get("postgres") or names["nobody"]
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


class PostgresServer:
    """Its port stays the same over `start` and `kill`. `url()` names a database as recalld takes it."""

    def __init__(self, **settings: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="recalld-postgres-"))
        self._settings = {**SETTINGS, **settings}
        self._as = ordinary()
        self._process: subprocess.Popen[bytes] | None = None
        self._made = 0
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        if self._as:
            os.chown(self._folder, self._as["user"], self._as["group"])
        # Not the "C" that recalld asks for itself: names are to come in its order under any locale.
        locale = ["--encoding=UTF8", "--locale=C.UTF-8", "--locale-provider=icu", "--icu-locale=en-US"]
        command = [str(programs() / "initdb"), "-D", str(self._folder / "data"), "-U", "recalld", "-A", "trust"]
        done = subprocess.run(
            [*command, "--no-sync", *locale], **self._as, cwd=self._folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        """Starts it and waits until it answers. After `kill` its predecessor's processes may be there for a moment."""
        deadline = time.monotonic() + START
        while not self._answers():
            if self._process is None or self._process.poll() is not None:
                self._process = self._launched()
            assert time.monotonic() < deadline, (self._folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def _launched(self) -> subprocess.Popen[bytes]:
        settings = {**self._settings, "port": str(self.port)}
        given = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        command = [str(programs() / "postgres"), "-D", str(self._folder / "data"), *given]
        with (self._folder / "log").open("ab") as log:
            return subprocess.Popen(command, **self._as, cwd=self._folder, stdout=log, stderr=log)

    def _answers(self) -> bool:
        if self._process is None:
            return False
        try:
            self.run("SELECT 1")
        except psycopg.OperationalError:
            return False
        return self._process.poll() is None

    def kill(self) -> None:
        """Ends all of it at once, as a crash would: the other processes see that the first one is gone."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Ends it; who is connected is told."""
        self._end(signal.SIGINT)

    def _end(self, number: int) -> None:
        process, self._process = self._process, None
        if process:
            process.send_signal(number)
            process.wait(START)

    def close(self) -> None:
        """Stops it and deletes its folder."""
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def url(self, database: str = "postgres") -> str:
        return f"postgresql://recalld@127.0.0.1:{self.port}/{database}"

    def connected(self, database: str) -> psycopg.Connection[Any]:
        """A connection that commits every statement; close it, or use it in `with`."""
        return psycopg.connect(self.url(database), autocommit=True)

    def run(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """What a statement gives, in a transaction of its own or in none."""
        with self.connected(database) as connection:
            cursor = connection.execute(statement)  # type: ignore[arg-type]
            return cursor.fetchall() if cursor.description else []

    @contextmanager
    def database(self, template: str = "template1") -> Iterator[str]:
        """The URL of a database made from a template, dropped afterwards whoever uses it."""
        self._made += 1
        name = f"test{self._made}"
        self.run(f"CREATE DATABASE {name} TEMPLATE {template}")
        try:
            yield self.url(name)
        finally:
            self.run(f"DROP DATABASE {name} WITH (FORCE)")
