"""Runs the command line against a real server."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from recalld import testing

Done = subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def server() -> Iterator[testing.LocalServer]:
    """The server of all tests in this folder; each keeps to user ids of its own."""
    with testing.start_local() as running:
        yield running


@pytest.fixture(scope="session")
def recalld() -> Callable[..., Done]:
    """`recalld …`, run to its end. Settings of the surroundings do not reach it; `env` and `stdin` do."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECALLD_")}

    def run(*arguments: object, stdin: str = "", python: tuple[str, ...] = (), **env: str) -> Done:
        command: list[Any] = [sys.executable, *python, "-m", "recalld_server", *arguments]
        return subprocess.run(
            [str(part) for part in command],
            env={**inherited, "NO_COLOR": "1", "COLUMNS": "200", **env},
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.fixture
def beside(server: testing.LocalServer, recalld: Callable[..., Done]) -> Callable[..., Done]:
    """`recalld …` that talks to the common server."""
    return lambda *arguments, **options: recalld(*arguments, RECALLD_TARGET=server.target, **options)
