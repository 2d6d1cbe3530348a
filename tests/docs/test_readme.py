"""Runs every command and program of the README as printed.

Only the address is replaced, since another server may use the documented port. NOT_RUN lists the commands that are not
run, with the reasons.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from recalld import testing

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
ADDRESS = "localhost:7420"
RUN = ("sh", "python")
SHOWN = ("", "text", "json", "proto", "toml")  # only to be read
# The first words of a line, and why it is not run here.
NOT_RUN = {
    "pip install": "tests/packaging installs the wheel, and .ci/run runs both set-up lines in a fresh environment",
    "recalld serve": "the server of this test is started that way by recalld.testing",
    "recalld bench": "takes minutes or needs data that is not part of the project; tests/bench runs it in small",
    "recalld migrate": "needs both engines; tests/cli moves a ledger",
    "pytest": "this is pytest",
    "recalld keys revoke": "KEY_ID stands for an id of the list; tests/cli revokes a real one",
}


def blocks() -> list[tuple[str, str]]:
    """Language and text of each fenced block, in order."""
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)
    assert README.count("```") == 2 * len(found)
    return found


def commands() -> list[str]:
    """The lines of all shell blocks; continued ones are joined."""
    text = "\n".join(text for language, text in blocks() if language == "sh").replace("\\\n", " ")
    return [line for line in map(str.strip, text.splitlines()) if line and not line.startswith("#")]


def programs() -> list[str]:
    """All Python blocks."""
    return [text for language, text in blocks() if language == "python"]


def run_here(line: str) -> bool:
    return not line.startswith(tuple(NOT_RUN))


def marked(line: str) -> Any:
    """A line as a parameter; those of grpcurl belong to the tests that need it."""
    return pytest.param(line, marks=[pytest.mark.needs_grpcurl] if line.startswith("grpcurl ") else [])


@pytest.fixture(scope="module")
def server() -> Iterator[testing.LocalServer]:
    """The server the README talks to."""
    with testing.start_local() as running:
        yield running


@pytest.fixture
def reader(server: testing.LocalServer, tmp_path: Path) -> dict[str, Any]:
    """How somebody runs what they read: `recalld` and `python` are on their PATH, and the server is theirs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "recalld"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m recalld_server "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECALLD_")}
    data = tmp_path / "data"  # never the folder of whoever runs the tests
    env = {**inherited, "PATH": path, "RECALLD_TARGET": server.target, "RECALLD_DATA_DIR": str(data)}
    return {"cwd": tmp_path, "env": env, "capture_output": True, "text": True, "timeout": 120, "check": False}


def test_every_block_is_run_or_only_to_be_read() -> None:
    assert {language for language, _ in blocks()} <= {*RUN, *SHOWN}
    assert programs()
    assert any(run_here(line) for line in commands())


@pytest.mark.parametrize("text", programs(), ids=lambda text: f"program {programs().index(text) + 1}")
def test_a_program_works_as_printed(text: str, server: testing.LocalServer, reader: dict[str, Any]) -> None:
    done = subprocess.run([sys.executable, "-c", text.replace(ADDRESS, server.target)], **reader)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout or "print(" not in text


@pytest.mark.parametrize("line", [marked(line) for line in commands() if run_here(line)])
def test_a_command_works_as_printed(
    line: str, server: testing.LocalServer, reader: dict[str, Any], request: pytest.FixtureRequest
) -> None:
    line = line.replace(ADDRESS, server.target)
    if line.startswith("grpcurl "):
        line = line.replace("grpcurl", f'"{request.getfixturevalue("grpcurl")}"', 1)
    if line.startswith("recalld keys "):  # beside a server on a folder, so a ledger is there; not this server's
        subprocess.run(["sh", "-c", "recalld keys create --new"], **{**reader, "check": True})
    done = subprocess.run(["sh", "-c", line], **reader)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    assert "Traceback" not in done.stderr


def test_what_is_not_run_is_listed_for_a_reason() -> None:
    skipped = [line for line in commands() if not run_here(line)]
    assert all(any(line.startswith(words) for words in NOT_RUN) for line in skipped)
    assert "pip install . && recalld serve" in skipped  # the first command of the page


def test_links_lead_somewhere() -> None:
    links = re.findall(r"\]\(([^)\s]+)\)", README)
    assert links
    headings = {re.sub(r"[^\w -]", "", line.lstrip("# ").lower()).replace(" ", "-") for line in README.splitlines()}
    for link in links:
        if link.startswith("#"):
            assert link[1:] in headings, link
        elif "://" not in link:
            assert (ROOT / link.partition("#")[0]).exists(), link
