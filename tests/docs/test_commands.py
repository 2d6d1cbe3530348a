"""Every command and program of README and docs/, run as printed.

The commands of a block run in one shell, in order, in a folder and with a data folder of their own. Addresses and URLs
are replaced by those of the test's servers. What is not run is listed in pages.NOT_RUN, with the reason.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests import postgres as postgres_server
from tests.docs.pages import LINKING, NOT_RUN, PAGES, ROOT, RUN, SHOWN, Block, blocks, named, run_here, said_to_recalld

from recalld import testing

ADDRESS = "localhost:7420"
WEAVIATE_URL = "weaviate://host:8080?grpc_port=50051"
POSTGRES_URL = re.compile(r"postgresql://user:password@host:5432/(\w+)")
EMPTY = "restored"  # the database of this name has no ledger yet
READER = Path(__file__).with_name("reader_recalld.py")
OWN_SERVER = "export RECALLD_API_KEY="  # a key would lock out the other blocks
ALL = [block for page in PAGES for block in blocks(page)]


def marked(block: Block) -> Any:
    return pytest.param(block, marks=[getattr(pytest.mark, f"needs_{name}") for name in block.needs], id=block.name)


@pytest.fixture(scope="module")
def server() -> Iterator[testing.LocalServer]:
    """The server that the pages talk to."""
    with testing.start_local() as running:
        yield running


@pytest.fixture
def reader(server: testing.LocalServer, tmp_path: Path) -> dict[str, Any]:
    """How somebody runs what they read: `recalld` and `python` are on their PATH, and the server is theirs."""
    programs = tmp_path / "bin"
    programs.mkdir()
    command = programs / "recalld"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{READER}" "$@"\n')
    command.chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ["PATH"]])
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("RECALLD_")}
    own = {
        "PATH": path,
        "RECALLD_TARGET": server.target,
        "RECALLD_DATA_DIR": str(tmp_path / "data"),  # never the folder of whoever runs the tests
        "RECALLD_GRPC_PORT": "0",
        "RECALLD_HTTP_PORT": "0",
    }
    return {"cwd": tmp_path, "env": {**inherited, **own}, "capture_output": True, "text": True, "timeout": 240}


@pytest.fixture
def databases(request: pytest.FixtureRequest) -> Iterator[Callable[[re.Match[str]], str]]:
    """URLs of databases in place of those of the pages, the same for the same name."""
    with ExitStack() as opened:
        urls: dict[str, str] = {}

        def url(found: re.Match[str]) -> str:
            name = found[1]
            if name not in urls:
                template = "template1" if name == EMPTY else "ledger"
                server = request.getfixturevalue("postgres")
                urls[name] = opened.enter_context(server.database(template))
            return urls[name]

        yield url


def test_every_block_is_run_or_only_to_be_read() -> None:
    assert {block.language for block in ALL} <= {*RUN, *SHOWN}
    assert {block.page for block in ALL} >= {ROOT / "README.md", ROOT / "docs" / "operations.md"}
    first = next(line for block in ALL for line in block.commands if block.language == "sh")
    assert first == "pip install . && recalld serve"


@pytest.mark.parametrize("block", [marked(block) for block in ALL if block.language == "python"])
def test_a_program_works_as_printed(block: Block, server: testing.LocalServer, reader: dict[str, Any]) -> None:
    done = subprocess.run([sys.executable, "-c", block.text.replace(ADDRESS, server.target)], **reader, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout or "print(" not in block.text


@pytest.mark.parametrize("block", [marked(block) for block in ALL if block.language == "sh" and block.script])
def test_commands_work_as_printed(
    block: Block,
    server: testing.LocalServer,
    reader: dict[str, Any],
    databases: Callable[[re.Match[str]], str],
    request: pytest.FixtureRequest,
) -> None:
    script = POSTGRES_URL.sub(databases, block.script.replace(ADDRESS, server.target))
    if "weaviate" in block.needs:
        script = script.replace(WEAVIATE_URL, request.getfixturevalue("weaviate").url)
    if "grpcurl" in block.needs:
        script = re.sub("^grpcurl ", f'"{request.getfixturevalue("grpcurl")}" ', script, flags=re.MULTILINE)
    if "postgres" in block.needs:
        reader["env"]["PATH"] += os.pathsep + str(postgres_server.programs())
    with ExitStack() as opened:
        if OWN_SERVER in script:
            own = opened.enter_context(testing.start_local(Path(reader["env"]["RECALLD_DATA_DIR"])))
            reader["env"]["RECALLD_TARGET"] = own.target
        done = subprocess.run(["sh", "-ec", script], **reader, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout or "recalld" not in script
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("page", LINKING, ids=named)
def test_commands_that_are_only_named_exist(page: Path) -> None:
    for words in said_to_recalld(page):
        command = [sys.executable, "-m", "recalld_server", *words, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, (words, done.stderr)
        assert "Usage: " in done.stdout


@pytest.mark.parametrize("page", LINKING, ids=named)
def test_containers_are_started_from_files_that_are_there(page: Path) -> None:
    for line in (line for block in blocks(page) for line in block.commands if line.startswith("docker ")):
        assert line.startswith("docker compose -f "), line
        services: dict[str, Any] = {}
        for file in re.findall(r"-f (\S+)", line):
            services.update(yaml.safe_load((ROOT / file).read_text())["services"])
        for service in re.findall(r"run --rm (\S+)|--scale (\w+)=", line):
            assert next(filter(None, service)) in services, line


def test_what_is_not_run_is_listed_for_a_reason() -> None:
    skipped = [line for block in ALL if block.language == "sh" for line in block.commands if not run_here(line)]
    assert all(any(line.startswith(words) for line in skipped) for words in NOT_RUN)


def test_a_command_that_does_not_exist_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = tmp_path / "page.md"
    monkeypatch.setattr("tests.docs.pages.ROOT", tmp_path)
    page.write_text("`recalld bench load --speed 3`, `recalld keys …`\n\n```sh\ndocker x run recalld bench idle\n```\n")
    assert list(said_to_recalld(page)) == [["bench", "load", "--speed", "3"], ["bench", "idle"]]
    with pytest.raises(AssertionError, match="--speed"):
        test_commands_that_are_only_named_exist(page)
