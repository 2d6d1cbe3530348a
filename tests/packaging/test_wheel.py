"""The wheel: its contents, and that it works outside of the repository."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from recalld.v1 import memory_service_pb2

ROOT = Path(__file__).parents[2]
PROGRAM = """
import recalld, recalld_server, recalld.v1.memory_service_pb2 as pb
from recalld import testing
print(recalld.__file__, recalld_server.__file__, pb.__file__, sep="\\n")
with testing.start_local() as server, server.client() as client:
    client.add("Is a vegetarian", user_id="ann", infer=False)
    print(client.search("What does Ann eat?", user_id="ann")[0]["memory"])
"""


def run(*command: Any, **options: Any) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=300, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout."""
    folder = tmp_path_factory.mktemp("wheel")
    isolation = ["--no-build-isolation"] if importlib.util.find_spec("hatchling") else []
    run(sys.executable, "-m", "pip", "wheel", ROOT, "--no-deps", "--quiet", "--wheel-dir", folder, *isolation)
    [built] = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and nothing else in it."""
    folder = tmp_path_factory.mktemp("installed")
    run(sys.executable, "-m", "pip", "install", "--no-deps", "--quiet", "--target", folder, wheel)
    return folder


@pytest.fixture
def away(installed: Path, tmp_path: Path) -> dict[str, Any]:
    """How a program runs with the wheel and without the checkout. The wheel comes before what else is installed."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("RECALLD_")}
    return {"cwd": tmp_path, "env": {**env, "PYTHONPATH": str(installed)}}


def expected(folder: Path) -> set[str]:
    """The files of a package that users need, as the wheel names them."""
    return {
        str(file.relative_to(folder.parent))
        for file in folder.rglob("*")
        if file.is_file() and "__pycache__" not in file.parts and file.suffix != ".pyc"
    }


def test_it_holds_both_packages_and_nothing_else(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    packages = {name for name in names if ".dist-info/" not in name}
    assert packages == expected(ROOT / "server/recalld_server") | expected(ROOT / "clients/python/recalld")
    assert {
        "recalld/py.typed",
        "recalld/v1/memory_service_pb2.py",
        "recalld/v1/memory_service_pb2.pyi",
        "recalld_server/adapters/embedders/minilm-vocab.txt",
        "recalld_server/adapters/embedders/MINILM-LICENCE.md",
        "recalld_server/adapters/ledger/schema/migrations/env.py",
        "recalld_server/adapters/ledger/schema/migrations/script.py.mako",
        "recalld_server/adapters/ledger/schema/migrations/versions/0001_first.py",
    } <= packages
    assert not any(part in ("tests", "data", "bench_data") for name in names for part in Path(name).parts)
    assert {Path(name).name for name in names if "/licenses/" in name} == {"LICENSE", "NOTICE"}


def test_it_says_what_it_is(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/METADATA")]
        [points] = [archive.read(name).decode() for name in archive.namelist() if name.endswith("/entry_points.txt")]
    head = metadata.partition("\n\n")[0].splitlines()
    assert {"Name: recalld", "License-Expression: Apache-2.0", "Requires-Python: >=3.11"} <= set(head)
    assert "recalld = recalld_server.cli:main" in points
    assert metadata.partition("\n\n")[2].startswith("# recalld")


def test_it_serves_away_from_the_checkout(installed: Path, away: dict[str, Any]) -> None:
    *files, found = run(sys.executable, "-c", PROGRAM, **away).stdout.splitlines()
    assert found == "Is a vegetarian"
    assert all(Path(file).is_relative_to(installed) for file in files)
    assert not Path(memory_service_pb2.__file__).is_relative_to(installed)  # and this test ran from elsewhere


def test_its_command_works(installed: Path, away: dict[str, Any]) -> None:
    for command in ([sys.executable, "-m", "recalld_server"], [sys.executable, installed / "bin/recalld"]):
        assert "Commands:" in run(*command, "--help", **away).stdout
